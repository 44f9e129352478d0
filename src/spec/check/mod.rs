//! Checks that know what a spec means: references, contradictions, limits.
//!
//! Every rule is applied, so that one run reports every mistake; a part that is
//! wrong goes on with a value that does no harm.

mod answer;
mod in_cloud;
mod machine;
mod outcome;
mod source;
mod stages;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use serde_json::Value as Json;

use super::{
    Checked, Mode, OsLookup, Outcome,
    document::Document,
    error::SpecError,
    file::{SpecFile, VariableTable},
    names,
    strings::{Filled, Filler},
    unused_variable,
    variables::{self, Inputs, Resolved},
};
use crate::{
    catalogue::Os,
    model::{AnswerOrigin, Arch, BootMethod, Build, Target},
    render,
};

/// Where templates are filled in.
const TEMPLATED: &[&[&str]] = &[
    &["source"],
    &["install", "parameters"],
    &["install", "target-parameters"],
    &["platform"],
    &["target"],
    &["verify", "ssh"],
    &["stages"],
];

/// What all the checks share.
struct Checker<'a> {
    document: &'a Document,
    os: Option<Arc<Os>>,
    arch: Arch,
    filled: Filled,
    errors: Vec<SpecError>,
    warnings: Vec<SpecError>,
}

/// Checks a spec that has the right structure, but for its `damaged` sections,
/// which `json` is without.
pub(super) fn check(
    document: &Document,
    mut json: Json,
    damaged: &BTreeSet<String>,
    inputs: &Inputs,
    lookup: &dyn OsLookup,
    mode: Mode,
) -> Result<Outcome, Vec<SpecError>> {
    let mut checker = Checker {
        document,
        os: None,
        arch: Arch::default(),
        filled: Filled::default(),
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    checker.system(&json, lookup);
    if damaged.contains("variables") || damaged.contains("os") {
        // Everything else depends on them.
        return Err(checker.errors);
    }
    let name = json.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();

    let tables: BTreeMap<String, VariableTable> = json
        .get("variables")
        .and_then(|it| serde_json::from_value(it.clone()).ok())
        .unwrap_or_default();
    let resolved = variables::resolve(
        document,
        &tables,
        inputs,
        mode,
        &mut checker.errors,
        &mut checker.warnings,
    );
    let masked_values = checker.fill_in(&mut json, &name, &resolved);

    let file: SpecFile = match serde_json::from_value(json) {
        Ok(file) => file,
        Err(err) => {
            // The schema comes from the same types, so this is never reached
            // but where serde is stricter than a schema can say.
            checker.errors.push(SpecError::new("structure", err.to_string()));
            return Err(checker.errors);
        }
    };

    let source = if damaged.contains("source") {
        None
    } else {
        checker.source(file.source.as_ref(), file.install.boot.unwrap_or_default())
    };
    let install = checker.install(&file.install, file.source.as_ref());
    let answer = checker.answer(&file.answer, masked_values, &tables, damaged.contains("answer"));
    let platform = checker.platform(file.platform.as_ref());
    let target = file.target.as_ref().filter(|_| !damaged.contains("platform"));
    let target = checker.target(&name, target, &platform);
    let verify = checker.verify(&file.verify, &install);
    let stages = checker.stages(&file.stages, verify.is_some());
    checker.secrets(install.boot);

    let unused: BTreeSet<_> =
        tables.keys().filter(|it| !checker.filled.used.contains(*it)).cloned().collect();
    // A template elsewhere may use them; who renders it knows.
    let unused = if matches!(answer.origin, AnswerOrigin::Template(_)) {
        unused
    } else {
        checker.warnings.extend(unused.iter().map(|it| unused_variable(document, it)));
        BTreeSet::new()
    };

    match (checker.os, source) {
        (Some(os), Some(source)) if checker.errors.is_empty() => {
            let build = Build {
                name,
                os,
                arch: checker.arch,
                variables: resolved.values,
                source,
                answer,
                install,
                platform,
                target,
                verify,
                stages,
                console: file.console.into_iter().map(Json::Object).collect(),
            };
            Ok((build, checker.warnings, unused))
        }
        _ => Err(checker.errors),
    }
}

/// Builds of one spec must not become the same image.
pub(super) fn apart(document: &Document, builds: &[Checked], errors: &mut Vec<SpecError>) {
    let mut names: BTreeMap<&str, &Checked> = BTreeMap::new();
    for checked in builds {
        if let Some(other) = names.insert(&checked.build.name, checked) {
            errors.push(
                SpecError::new(
                    "same-name",
                    format!("two builds of the matrix are called `{}`", checked.build.name),
                )
                .at(document.span(&["name"]), "the name of each")
                .help(format!(
                    "they are {} and {}; write a template, such as \
                     `name = \"web-{{{{ os.id }}}}-{{{{ arch }}}}\"`",
                    chosen_text(other),
                    chosen_text(checked)
                )),
            );
            return;
        }
    }
    let mut paths: BTreeMap<&camino::Utf8Path, &Checked> = BTreeMap::new();
    for checked in builds {
        let Target::File(target) = &checked.build.target else { continue };
        if let Some(other) = paths.insert(&target.path, checked) {
            errors.push(
                SpecError::new(
                    "same-name",
                    format!("two builds of the matrix are written to `{}`", target.path),
                )
                .at(document.span(&["target", "file", "path"]), "the path of each")
                .help(format!(
                    "they are {} and {}; leave the path out, or use `{{{{ name }}}}` in it",
                    chosen_text(other),
                    chosen_text(checked)
                )),
            );
            return;
        }
    }
}

fn chosen_text(checked: &Checked) -> String {
    let chosen: Vec<_> = checked.chosen.iter().map(|it| format!("{}={}", it.0, it.1)).collect();
    format!("`{}`", chosen.join(" "))
}

impl Checker<'_> {
    /// The operating system and its architecture.
    fn system(&mut self, json: &Json, lookup: &dyn OsLookup) {
        let id = json.get("os").and_then(Json::as_str).unwrap_or_default();
        self.os = lookup.get(id);
        if self.os.is_none() {
            let ids = lookup.ids();
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            let family: Vec<_> = id
                .split(|c: char| !c.is_alphabetic())
                .next()
                .filter(|it| it.len() >= 3)
                .map(|family| ids.iter().copied().filter(|it| it.starts_with(family)).collect())
                .unwrap_or_default();
            let help = match (family.as_slice(), names::nearest(id, &ids)) {
                ([], Some(near)) => format!("did you mean `{near}`?"),
                ([], None) => "`imgbuild os list` shows all that there are".to_owned(),
                (family, _) => format!("there is {}", names::list(family)),
            };
            self.error(
                "unknown-os",
                format!("no operating system is called `{id}`"),
                &["os"],
                "unknown",
                help,
            );
        }
        let arch = json.get("arch").and_then(|it| serde_json::from_value(it.clone()).ok());
        let Some(os) = self.os.clone() else {
            self.arch = arch.unwrap_or_default();
            return;
        };
        self.arch = match arch {
            Some(arch) => arch,
            None if os.arches.contains(&Arch::default()) => Arch::default(),
            None => os.arches.first().copied().unwrap_or_default(),
        };
        if !os.arches.contains(&self.arch) {
            let known: Vec<_> = os.arches.iter().map(|it| it.as_str()).collect();
            let error =
                SpecError::new("arch", format!("`{}` is not known on {}", os.id, self.arch))
                    .at(self.span(&["arch"]), "not known")
                    .and(self.exact(&["os"]), "for this system")
                    .help(format!("it is known on {}", names::list(&known)));
            self.errors.push(error);
        }
    }

    /// Fills in all templates; returns the masked answer values.
    fn fill_in(&mut self, json: &mut Json, name: &str, resolved: &Resolved) -> Json {
        let context = |masked| {
            render::spec_context(name, self.os.as_ref(), self.arch, &resolved.values, masked)
        };
        let mut filler = Filler {
            document: self.document,
            values: context(false).into(),
            context: context(false),
            masked: context(true).into(),
            resolved,
            inline: render::Inline::new(name),
            errors: Vec::new(),
            filled: Filled::default(),
        };
        for path in TEMPLATED {
            filler.fill(path, json);
        }
        let masked = filler.fill(&["answer", "values"], json);
        if let Some(node) = self.document.find(&["answer", "text"])
            && let Some(text) = node.as_str()
        {
            let values = self.document.find(&["answer", "values"]);
            let values = values.map(super::document::Node::entries).unwrap_or_default();
            let more: Vec<_> = values
                .iter()
                .map(|it| it.key.as_str())
                .chain(render::BUILT_IN_NAMES.iter().copied())
                .collect();
            filler.names(node, text, &more);
        }
        self.errors.append(&mut filler.errors);
        self.filled = filler.filled;
        masked
    }

    /// Secrets must not become arguments of processes, nor names.
    fn secrets(&mut self, boot: BootMethod) {
        let found = std::mem::take(&mut self.filled.secrets);
        for (path, span, name) in &found {
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            let (becomes, help) = match path.as_slice() {
                ["answer", ..]
                | ["stages", _, "external", "input", ..]
                | ["stages", _, "command", "environment", ..] => {
                    continue;
                }
                ["source" | "install", ..] if boot != BootMethod::Direct => continue,
                ["source" | "install", ..] => (
                    "a kernel parameter, and with `boot = \"direct\"` an argument of QEMU or a property of an image",
                    "use `boot = \"disk\"`, or put it into the answer file",
                ),
                ["stages", _, "command", ..] => {
                    ("an argument of a process", "pass it on through the stage's `environment`")
                }
                ["stages" | "verify", ..] => (
                    "an argument of a process",
                    "have the answer file write it into the guest, and read it there",
                ),
                _ => ("a name that others can read", "use it in the answer file only"),
            };
            self.errors.push(
                SpecError::new(
                    "exposed-secret",
                    format!("the secret `{name}` would become {becomes}"),
                )
                .at(span.clone(), "a secret")
                .help(help),
            );
        }
    }

    /// Where to point for a path, or for what encloses it.
    fn span(&self, path: &[&str]) -> Option<Range<usize>> {
        self.document.span(path)
    }

    /// Where to point for a path that is there.
    fn exact(&self, path: &[&str]) -> Option<Range<usize>> {
        self.document.find(path).and_then(|_| self.document.span(path))
    }

    /// Whether a string's value is not known yet.
    fn is_open(&self, path: &[&str]) -> bool {
        self.filled.open.iter().any(|it| it.iter().map(String::as_str).eq(path.iter().copied()))
    }

    fn error(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        path: &[&str],
        label: &str,
        help: impl Into<String>,
    ) {
        let error = SpecError::new(code, message).at(self.span(path), label).help(help);
        self.errors.push(error);
    }

    fn warn(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        path: &[&str],
        label: &str,
        help: impl Into<String>,
    ) {
        let warning = SpecError::warning(code, message).at(self.span(path), label).help(help);
        self.warnings.push(warning);
    }

    /// Two places that cannot both be meant.
    fn contradiction(
        &mut self,
        message: impl Into<String>,
        first: (&[&str], &str),
        second: (&[&str], &str),
        help: impl Into<String>,
    ) {
        let error = SpecError::new("contradiction", message)
            .at(self.span(first.0), first.1)
            .and(self.exact(second.0), second.1)
            .help(help);
        self.errors.push(error);
    }
}
