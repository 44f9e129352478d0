//! Our verdicts on kickstarts beside pykickstart's, the reference.
//!
//! Opt-in: `IMGBUILD_KSVALIDATOR=…/bin/ksvalidator cargo test --test lint_pykickstart -- --ignored`,
//! with `IMGBUILD_KICKSTARTS=folder` for a corpus of one's own.

use std::{process::Command, sync::Arc};

use imgbuild::{
    answer::{Finding, FindingSeverity, check},
    catalogue::{Catalogue, Dialect},
    render::{Extras, TemplateLoader, answer_file},
    spec::{Mode, check_text, document::Syntax, variables::Inputs},
};

struct BuiltIn;

impl TemplateLoader for BuiltIn {
    fn load(&self, name: &str) -> Option<String> {
        fs_err::read_to_string(format!("{}/templates/{name}", env!("CARGO_MANIFEST_DIR"))).ok()
    }
}

/// What pykickstart calls a release.
fn version_of(id: &str) -> Option<String> {
    let (family, version) = id.rsplit_once('-')?;
    let major = version.split('.').next()?;
    Some(match family {
        "fedora" if version == "rawhide" => "F46".to_owned(),
        "fedora" => format!("F{version}"),
        _ => format!("RHEL{major}"),
    })
}

#[test]
#[ignore = "needs pykickstart, which `make test-pykickstart` installs"]
fn pykickstart_accepts_the_templates_for_each_release() {
    let Ok(validator) = std::env::var("IMGBUILD_KSVALIDATOR") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut complaints = Vec::new();
    for os in Catalogue::built_in().systems() {
        if os.dialect != Dialect::Kickstart {
            continue;
        }
        let text = format!(
            "version = 1\nname = \"x\"\nos = \"{}\"\n[source.tree]\n\
             url = \"http://mirror.example/BaseOS/tree\"\n[answer.values]\ncloud_init = true\n\
             guest_agent = true\nssh_authorized_keys = [\"ssh-ed25519 AAAA\"]\n\
             proxy = \"http://proxy:3128\"\nhostname = \"web\"\n",
            os.id
        );
        let catalogue = Catalogue::built_in();
        let inputs = Inputs::default();
        let build = check_text("x", &text, Syntax::Toml, &inputs, &catalogue, Mode::Build).unwrap();
        let loader: Arc<dyn TemplateLoader> = Arc::new(BuiltIn);
        let rendered = answer_file(&build.build, &loader, &Extras::default()).unwrap();
        let path = folder.path().join(format!("{}.ks", os.id));
        fs_err::write(&path, rendered.expose()).unwrap();
        let version = version_of(&os.id).unwrap();
        let output = Command::new(&validator).args(["-v", &version]).arg(&path).output().unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let said: String = said
            .lines()
            .filter(|it| !it.trim().is_empty() && !it.starts_with("Checking kickstart file"))
            .collect();
        // The validator fails on warnings too: what it says decides.
        if !said.is_empty() {
            complaints.push(format!("{} ({version}): {said}", os.id));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// What `tests/lint/verdicts.py` prints.
#[derive(serde::Deserialize)]
struct Verdict {
    release: String,
    file: String,
    lines: Vec<usize>,
    unplaced: Vec<String>,
    messages: std::collections::BTreeMap<String, String>,
    stopped: Option<String>,
}

#[test]
#[ignore = "needs pykickstart and a folder of kickstarts: `make test-pykickstart KICKSTARTS=FOLDER`"]
fn verdicts_are_those_of_pykickstart() {
    let (Ok(python), Ok(folder)) =
        (std::env::var("IMGBUILD_PYTHON"), std::env::var("IMGBUILD_KICKSTARTS"))
    else {
        return;
    };
    let catalogue = Catalogue::built_in();
    let systems: Vec<_> = [
        "fedora-18",
        "fedora-40",
        "rhel-4",
        "rhel-5",
        "rhel-6",
        "rhel-7",
        "rhel-8",
        "rhel-9",
        "rhel-10",
    ]
    .iter()
    .map(|it| catalogue.get(it).unwrap())
    .collect();
    let releases: Vec<_> = systems.iter().filter_map(|it| it.dialect_version.clone()).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lint/verdicts.py");
    let files: Vec<_> = fs_err::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    let output =
        Command::new(python).args([script, &releases.join(",")]).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut n_all, mut n_same) = (0, 0);
    let mut differences = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let verdict: Verdict = serde_json::from_str(line).unwrap();
        let Ok(text) = fs_err::read_to_string(&verdict.file) else { continue };
        let os = systems.iter().find(|it| it.dialect_version.as_ref() == Some(&verdict.release));
        let findings = check(os.unwrap(), &text);
        // pykickstart's validator fails on what is merely deprecated, too.
        let counts = |it: &&Finding| {
            it.code.starts_with("kickstart::deprecated")
                || it.code == "kickstart::doubtful"
                || (it.code.starts_with("kickstart::") && it.severity == FindingSeverity::Error)
        };
        let mut ours: Vec<_> = findings.iter().filter(counts).map(|it| it.line).collect();
        ours.dedup();
        n_all += 1;
        let is_bad = !verdict.lines.is_empty() || !verdict.unplaced.is_empty();
        let is_same = if verdict.stopped.is_some() || !verdict.unplaced.is_empty() {
            (is_bad || verdict.stopped.is_some()) != ours.is_empty()
        } else {
            ours == verdict.lines
        };
        if is_same {
            n_same += 1;
            continue;
        }
        let file = verdict.file.rsplit('/').next().unwrap();
        let at = |it: usize| text.lines().nth(it - 1).unwrap_or_default().to_owned();
        let ours_alone: Vec<_> = findings
            .iter()
            .filter(counts)
            .filter(|it| !verdict.lines.contains(&it.line))
            .map(|it| format!("  + {}: {} ({})", it.line, at(it.line), it.message))
            .collect();
        let theirs_alone: Vec<_> = verdict
            .lines
            .iter()
            .filter(|it| !ours.contains(it))
            .map(|it| {
                format!(
                    "  - {it}: {} ({})",
                    at(*it),
                    verdict.messages[&it.to_string()].replace('\n', " ")
                )
            })
            .collect();
        differences.push(format!(
            "{} {file} {:?} {:?}\n{}\n{}",
            verdict.release,
            verdict.stopped,
            verdict.unplaced,
            ours_alone.join("\n"),
            theirs_alone.join("\n")
        ));
    }
    let share = f64::from(n_same) / f64::from(n_all);
    let said = format!("{n_same} of {n_all} verdicts agree\n{}\n", differences.join("\n"));
    fs_err::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/pykickstart.txt"), &said).unwrap();
    assert!(share > 0.99, "{said}");
}
