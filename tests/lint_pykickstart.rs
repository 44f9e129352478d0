//! Our verdicts on kickstarts beside pykickstart's, the reference.
//!
//! Opt-in: `IMGBUILD_KSVALIDATOR=…/bin/ksvalidator cargo test --test lint_pykickstart -- --ignored`,
//! with `IMGBUILD_KICKSTARTS=folder` for a corpus of one's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{process::Command, sync::Arc};

use imgbuild::{
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
#[ignore = "needs pykickstart"]
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
            // Release 4 did want it.
            .filter(|it| version != "RHEL4" || !it.contains("zerombr"))
            .collect();
        // The validator fails on warnings too: what it says decides.
        if !said.is_empty() {
            complaints.push(format!("{} ({version}): {said}", os.id));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
