//! The specs and templates that come with imgbuild, rendered as a build would.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use imgbuild::{
    answer::{End, check, inspect},
    catalogue::Catalogue,
    installer::{context, kernel_command_line},
    model::Build,
    render::{Extras, Rendered, TemplateLoader, answer_file},
    spec::{Mode, check_text, document::Syntax, variables::Inputs},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

struct BuiltIn;

impl TemplateLoader for BuiltIn {
    fn load(&self, name: &str) -> Option<String> {
        fs_err::read_to_string(format!("{ROOT}/templates/{name}")).ok()
    }
}

fn build(text: &str, arguments: &[&str]) -> Build {
    let mut inputs = Inputs::default();
    for argument in arguments {
        inputs.add_argument(argument).unwrap();
    }
    let catalogue = Catalogue::built_in();
    let checked = check_text("x.toml", text, Syntax::Toml, &inputs, &catalogue, Mode::Build);
    checked.unwrap_or_else(|it| panic!("{:?}", miette::Report::new(it))).build
}

fn rendered(build: &Build) -> Rendered {
    let loader: Arc<dyn TemplateLoader> = Arc::new(BuiltIn);
    let extras = Extras { ssh_public_key: Some("ssh-ed25519 AAAA build".to_owned()) };
    answer_file(build, &loader, &extras)
        .unwrap_or_else(|it| panic!("{}: {:?}", build.os.id, miette::Report::new(it)))
}

fn assert_is_clean(build: &Build) -> String {
    let rendered = rendered(build);
    let text = rendered.expose().to_owned();
    let findings = check(&build.os, &text);
    // Anaconda of RHEL 4 wants `zerombr yes`, which pykickstart warns of.
    let may_warn = build.os.version.starts_with("4.");
    if let Some(report) = findings.report(&build.os.id, &text)
        && (findings.is_fatal() || !may_warn)
    {
        panic!("{:?}\n{text}", miette::Report::new(report));
    }
    let found = inspect("answers", &text, &Catalogue::built_in());
    assert_eq!(found.dialect, Some(build.os.dialect), "{}", build.os.id);
    assert_eq!(found.end.unwrap().value, End::Poweroff, "{}", build.os.id);
    kernel_command_line(build, &context(build)).unwrap();
    text
}

#[test]
fn every_spec_is_valid_and_its_answer_file_clean() {
    let mut n_specs = 0;
    for entry in fs_err::read_dir(format!("{ROOT}/specs")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs_err::read_to_string(&path).unwrap();
        assert_is_clean(&build(&text, &[]));
        n_specs += 1;
    }
    assert!(n_specs > 0);
}

#[test]
fn every_system_with_a_template_renders_it_without_any_variable() {
    let mut n_systems = 0;
    for os in Catalogue::built_in().systems() {
        if os.template.is_none() {
            continue;
        }
        n_systems += 1;
        let source = if os.tree.is_some() {
            "[source.tree]\nurl = \"http://mirror.example/tree\"\n"
        } else {
            "[source.iso]\nlocation = \"a.iso\"\n"
        };
        let text = format!("version = 1\nname = \"x\"\nos = \"{}\"\n{source}", os.id);
        assert_is_clean(&build(&text, &[]));
    }
    assert!(n_systems > 100, "{n_systems}");
}

/// A spec whose variables are all set, so that every branch of a template runs.
fn with_everything(os: &str, firmware: &str) -> Build {
    let text = format!(
        "version = 1\nname = \"web\"\nos = \"{os}\"\n\
         [variables.root_password]\nsensitive = true\n\
         [source.tree]\nurl = \"http://10.0.2.2:3142/debian\"\n\
         [install]\nfirmware = \"{firmware}\"\n\
         [answer.values]\n\
         proxy = \"http://proxy:3128\"\nlocale = \"de_DE.UTF-8\"\nkeymap = \"de\"\n\
         timezone = \"Europe/Berlin\"\nhostname = \"web\"\ndomain = \"example.org\"\n\
         packages = [\"vim\", \"htop\"]\ncloud_init = true\nguest_agent = true\n\
         ssh_authorized_keys = [\"ssh-ed25519 AAAA it's me\"]\n\
         allow_unauthenticated = true\nlate_commands = [\"echo 'a b' > /etc/motd\"]\n"
    );
    build(&text, &["root_password=hunter22 \"'$x"])
}

#[test]
fn debian_takes_every_variable() {
    let build = with_everything("debian-13", "uefi");
    let text = assert_is_clean(&build);
    for line in [
        "d-i mirror/http/hostname string 10.0.2.2:3142",
        "d-i mirror/http/directory string /debian",
        "d-i mirror/http/proxy string http://proxy:3128",
        "d-i time/zone string Europe/Berlin",
        "d-i pkgsel/include string openssh-server cloud-init cloud-guest-utils qemu-guest-agent vim htop",
        "d-i debian-installer/allow_unauthenticated boolean true",
        "d-i grub-installer/force-efi-extra-removable boolean true",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    assert!(!text.contains("hunter22"));
    assert!(!rendered(&build).masked.contains("$6$"));
}

#[test]
fn the_end_of_a_debian_install_is_a_shell_program() {
    for firmware in ["bios", "uefi"] {
        let text = assert_is_clean(&with_everything("debian-13", firmware));
        let start = text.find("d-i preseed/late_command string ").unwrap();
        let command = text[start..].split("\n\n").next().unwrap();
        let command = command.strip_prefix("d-i preseed/late_command string ").unwrap();
        // As the installer's debconf-set-selections joins it.
        let joined = command.replace("\\\n", " ");
        let checked =
            std::process::Command::new("sh").args(["-n", "-c", &joined]).output().unwrap();
        assert!(checked.status.success(), "{}\n{joined}", String::from_utf8_lossy(&checked.stderr));
        assert!(joined.trim_end().ends_with("echo IMGBUILD-DONE > /dev/ttyS0"), "{joined}");
    }
}

#[test]
fn the_command_line_of_debian_is_the_one_that_was_tried() {
    let text = fs_err::read_to_string(format!("{ROOT}/specs/debian-13.toml")).unwrap();
    let build = build(&text, &[]);
    let line = kernel_command_line(&build, &context(&build)).unwrap().text();
    assert_eq!(
        line,
        "auto=true priority=critical DEBIAN_FRONTEND=text TERM=dumb \
         url=http://169.254.169.254/latest/user-data console=ttyS0 --- console=ttyS0"
    );
}

#[test]
fn every_install_script_is_known_as_its_own_system_and_clean() {
    let catalogue = Catalogue::built_in();
    let mut n_scripts = 0;
    for entry in fs_err::read_dir(format!("{ROOT}/install_scripts")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs_err::read_to_string(&path).unwrap();
        let wanted = name.split("-jeos").next().unwrap();
        // Its text alone has to be enough, whatever the file is called.
        let found = inspect("answers", &text, &catalogue);
        let os = found.system(&catalogue).unwrap_or_else(|| panic!("{name}: {found:?}"));
        assert_eq!(os.id, wanted, "{name}: {:?}", found.os);
        assert_eq!(found.end.unwrap().value, End::Poweroff, "{name}");
        let has_tree = found.tree.is_some();
        assert!(has_tree || os.tree_url(imgbuild::model::Arch::X86_64).is_none(), "{name}");
        if let Some(report) = check(&os, &text).report(&name, &text) {
            panic!("{:?}", miette::Report::new(report));
        }
        n_scripts += 1;
    }
    assert!(n_scripts >= 18, "{n_scripts}");
}
