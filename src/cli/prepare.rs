//! From a checked spec to everything that is needed to run it.

use std::{collections::BTreeMap, sync::Arc};

use base16ct::lower;
use sha_crypt::{Algorithm, Params, PasswordHasher as _, ShaCrypt};
use sha2::{Digest as _, Sha256};

use super::{
    Surroundings, cloud,
    failure::{self, Failure, Plain, Status},
    load::Loaded,
};
use crate::{
    answer,
    installer::{self, CommandLine},
    model::secrets,
    model::{BootMethod, Build, Target, UserAction, VerifyCondition},
    openstack::Cloud,
    plan::{self, Action, Plan, Stage},
    redact::{Redactor, Secret},
    render::{Extras, Rendered},
    runner::{self, folder::RunFolder},
    source::Cache,
    spec::{
        SpecErrors,
        document::{Document, Node},
        structure::Schema,
    },
    units::Span,
};

/// What stands for the key of a build where none is made.
const KEY_PLACEHOLDER: &str = "ssh-ed25519 (a key is made for each build)";

/// A build that can be planned, shown or run.
pub(super) struct Prepared {
    /// The spec.
    pub loaded: Loaded,
    /// The answer file.
    pub rendered: Rendered,
    /// What the installer is started with.
    pub command_line: CommandLine,
    /// What the answer file is and what is wrong with it.
    pub findings: answer::Findings,
    /// The stages.
    pub plan: Plan,
    /// Knows every secret.
    pub redactor: Redactor,
    /// The digest of everything that goes into the image.
    pub inputs: String,
}

/// Renders, checks and plans.
pub(super) async fn prepare(loaded: Loaded, cx: &Surroundings) -> Result<Prepared, Failure> {
    let extras = Extras { ssh_public_key: Some(KEY_PLACEHOLDER.to_owned()) };
    let rendered = loaded.render(&extras)?;
    let build = loaded.build();
    let redactor = redactor(build, &rendered);
    let findings = answer::check_build(build, rendered.expose());
    let command_line = installer::kernel_command_line(build, &installer::context(build))
        .map_err(Failure::invalid)?;
    if build.install.boot == BootMethod::Direct && redactor.is_in(&command_line.text()) {
        return Err(Failure::invalid(Plain::new(
            "the kernel command line holds a secret, which others could read: users of this machine, or whoever sees the boot image",
            "hand it over in the answer file, or boot with `boot = \"disk\"`",
        )));
    }
    let plan = match (cloud::settings(build), &build.target) {
        (Some(settings), target) => {
            plan::openstack::plan(build, settings, target, &command_line.text())
        }
        (None, Target::File(target)) => plan::qemu::plan(build, target, &command_line.text()),
        (None, Target::Glance(_) | Target::Volume(_)) => {
            return Err(Failure::usage(Plain::new(
                "this target is made in a cloud, but the platform is QEMU on this machine",
                "add `[platform.openstack]` to the spec, or --platform openstack",
            )));
        }
    };
    check_runners(&loaded, &plan, cx).await?;
    let inputs = inputs(build, &rendered, &redactor);
    Ok(Prepared { loaded, rendered, command_line, findings, plan, redactor, inputs })
}

impl Prepared {
    /// Prints what is wrong with the answer file; mistakes end the command.
    pub(super) fn print_findings(&self, colours: bool) -> Result<(), Failure> {
        let name = answer_name(self.loaded.build());
        let report = self.findings.report(&name, &self.rendered.masked);
        if let Some(report) = report {
            failure::print(&report, colours);
        }
        if self.findings.is_fatal() {
            return Err(Failure::silent(Status::Invalid));
        }
        Ok(())
    }

    /// Lets no stage take longer than the whole build may.
    pub(super) fn limit(&mut self, timeout: Span) {
        for stage in &mut self.plan.stages {
            stage.timeout = stage.timeout.min(timeout);
            match &mut stage.action {
                Action::Install(it) => it.install.timeout = it.install.timeout.min(timeout),
                Action::InstallServer(it) => it.install.timeout = it.install.timeout.min(timeout),
                _ => {}
            }
        }
    }

    /// What the stages of this build share. Where guests have to be reached a key
    /// is made, and the answer file gets it.
    pub(super) async fn context(
        &self,
        cx: &Surroundings,
        folder: &RunFolder,
        run: &str,
        cloud: Option<Cloud>,
    ) -> Result<runner::Context, Failure> {
        let mut key = None;
        let mut rendered = None;
        if self.needs_key() {
            let made =
                runner::BuildKey::make(folder.path(), &cx.guard).await.map_err(Failure::failed)?;
            let extras = Extras { ssh_public_key: Some(made.public.clone()) };
            rendered = Some(self.loaded.render(&extras)?);
            key = Some(made);
        }
        let answers = rendered.as_ref().unwrap_or(&self.rendered).expose().to_owned();
        let spec_folder = &self.loaded.folder;
        Ok(runner::Context {
            build: Arc::new(self.loaded.build().clone()),
            answers: answers.into(),
            redactor: self.redactor.clone(),
            release: runner::Release { guard: cx.guard.clone(), cloud },
            cache: Cache::new(cx.home.cache.clone()),
            folder: folder.clone(),
            spec_folder: spec_folder.canonicalize_utf8().unwrap_or_else(|_| spec_folder.clone()),
            run: run.to_owned(),
            inputs: self.inputs.clone(),
            digests: digests(self),
            key,
            screenshots: false,
        })
    }

    /// Whether a key has to be made to reach guests.
    pub(super) fn needs_key(&self) -> bool {
        self.plan.stages.iter().any(|it| match &it.action {
            Action::Verify { verify, .. } | Action::VerifyServer { verify, .. } => {
                matches!(verify.condition, VerifyCondition::Ssh(_))
            }
            Action::User { action, .. } => {
                matches!(action, UserAction::Ssh { .. } | UserAction::Ansible { .. })
            }
            _ => false,
        })
    }
}

/// The name of the answer file, for messages.
pub(super) fn answer_name(build: &Build) -> String {
    use crate::model::AnswerOrigin;
    match &build.answer.origin {
        AnswerOrigin::Template(name) | AnswerOrigin::File(name) => format!("{name} (rendered)"),
        AnswerOrigin::Text(_) => "answer.text (rendered)".to_owned(),
    }
}

/// What masks the secrets of a build.
pub(super) fn redactor(build: &Build, rendered: &Rendered) -> Redactor {
    let mut found: Vec<Secret> = secrets(&build.variables);
    found.extend(rendered.secrets.iter().cloned());
    Redactor::new(&found)
}

/// Asks each runner program what it takes, so that a mistake in a stage's input
/// is found before anything runs.
async fn check_runners(loaded: &Loaded, plan: &Plan, cx: &Surroundings) -> Result<(), Failure> {
    let external = |stage: &Stage| match &stage.action {
        Action::User { action: UserAction::External { runner, input }, .. } => {
            Some((stage.name.clone(), runner.clone(), input.clone()))
        }
        _ => None,
    };
    for (stage, runner, input) in plan.stages.iter().filter_map(external) {
        let description = crate::runner::external::describe(&runner, &cx.guard)
            .await
            .map_err(Failure::invalid)?;
        let document = &loaded.checked.document;
        let Some(node) = input_node(document, &stage) else { continue };
        let mut errors = Vec::new();
        Schema::new(&description.input).check("input", node, &mut errors);
        if !errors.is_empty() {
            _ = (runner, input);
            return Err(Failure::invalid(SpecErrors::of_warnings(document, errors)));
        }
    }
    Ok(())
}

/// Where the spec has the input of a stage.
fn input_node<'a>(document: &'a Document, stage: &str) -> Option<&'a Node> {
    (0..)
        .map(|n: usize| n.to_string())
        .map_while(|n| document.find(&["stages", &n]).map(|_| n))
        .find(|n| document.find(&["stages", n, "name"]).and_then(Node::as_str) == Some(stage))
        .and_then(|n| document.find(&["stages", &n, "external", "input"]))
}

/// The digest of everything that goes into the image. Secrets go in through a
/// slow hash, so that nobody can guess a password from a manifest.
fn inputs(build: &Build, rendered: &Rendered, redactor: &Redactor) -> String {
    let described = serde_json::json!({
        "imgbuild": env!("CARGO_PKG_VERSION"),
        "name": build.name,
        "os": *build.os,
        "arch": build.arch,
        "source": build.source,
        "answer": rendered.masked,
        "install": build.install,
        "platform": build.platform,
        "target": build.target,
        "verify": build.verify,
        "stages": build.stages,
    });
    let mut digest = Sha256::digest(described.to_string());
    if !redactor.is_empty() {
        let secret = Sha256::digest(rendered.expose());
        let hash = ShaCrypt::new(Algorithm::Sha512Crypt, Params::RECOMMENDED)
            .hash_password_with_salt(
                lower::encode_string(&secret).as_bytes(),
                digest.get(..12).unwrap_or_default(),
            )
            .map(|it| it.as_str().to_owned())
            .unwrap_or_default();
        digest = Sha256::digest(format!("{}{hash}", lower::encode_string(&digest)));
    }
    format!("sha256:{}", lower::encode_string(&digest))
}

/// What a manifest says of digests beside those of the installer.
pub(super) fn digests(prepared: &Prepared) -> BTreeMap<String, String> {
    let document = Sha256::digest(&prepared.loaded.checked.document.text);
    let answer = Sha256::digest(&prepared.rendered.masked);
    BTreeMap::from([
        ("spec".to_owned(), format!("sha256:{}", lower::encode_string(&document))),
        ("answer (secrets masked)".to_owned(), format!("sha256:{}", lower::encode_string(&answer))),
    ])
}
