//! The specs and templates that come with imgbuild, rendered as a build would.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, process::Command, sync::Arc};

use imgbuild::{
    answer::{End, check, inspect},
    catalogue::{Catalogue, Dialect, Os},
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

/// A spec whose variables are all set, so that every branch of a template runs.
fn with_everything(os: &str, firmware: &str) -> Build {
    let system = Catalogue::built_in().get(os).unwrap();
    let text = format!(
        "version = 1\nname = \"web\"\nos = \"{os}\"\n\
         [variables.root_password]\nsensitive = true\n{}\
         [install]\nfirmware = \"{firmware}\"\n\
         [answer.values]\n\
         proxy = \"http://proxy:3128\"\nlocale = \"de_DE.UTF-8\"\nkeymap = \"de\"\n\
         timezone = \"Europe/Berlin\"\nhostname = \"web\"\ndomain = \"example.org\"\n\
         packages = [\"vim\", \"htop\"]\ncloud_init = true\nguest_agent = true\n\
         ssh_authorized_keys = [\"ssh-ed25519 AAAA it's me\"]\n\
         allow_unauthenticated = true\nlate_commands = [\"echo 'a b' > /etc/motd\"]\n",
        source_of(&system),
    );
    build(&text, &["root_password=hunter22 \"'$x"])
}

fn source_of(os: &Os) -> &'static str {
    if os.tree.is_some() {
        "[source.tree]\nurl = \"http://10.0.2.2:3142/debian\"\n"
    } else {
        "[source.iso]\nlocation = \"a.iso\"\n"
    }
}

/// Every system, with its defaults and with every variable.
fn every_answer_file() -> Vec<(Arc<Os>, Build, String)> {
    let mut all = Vec::new();
    for os in &Catalogue::built_in().systems() {
        let least = format!("version = 1\nname = \"x\"\nos = \"{}\"\n{}", os.id, source_of(os));
        for build in [build(&least, &[]), with_everything(&os.id, "bios")] {
            let text = assert_is_clean(&build);
            all.push((Arc::clone(os), build, text));
        }
    }
    all
}

#[test]
fn every_system_ends_in_an_image_for_clouds() {
    let all = every_answer_file();
    assert!(all.len() > 400, "{}", all.len());
    for (os, build, text) in all {
        let takes = |it: &str| assert!(text.contains(it), "{}: {it}\n{text}", os.id);
        for wanted in ["/etc/ssh/ssh_host_*", "machine-id", "fstrim", "IMGBUILD-DONE > /dev/ttyS0"]
        {
            takes(wanted);
        }
        let is_full = build.name == "web";
        match os.dialect {
            // Its images have cloud-init in any case.
            Dialect::Autoinstall => {}
            _ if is_full => takes("cloud-init"),
            _ => takes("/usr/local/sbin/grow-root"),
        }
        // debian-installer keeps the console of its own command line.
        if !matches!(os.dialect, Dialect::Preseed | Dialect::Autoinstall) {
            takes("console=tty0 console=ttyS0,115200");
        }
        if is_full {
            for wanted in ["Europe/Berlin", "vim", "qemu-guest-agent", "/etc/motd"] {
                takes(wanted);
            }
            takes("AAAA it");
            assert!(!text.contains("hunter22") || os.version.starts_with("4."), "{}", os.id);
        }
    }
}

#[test]
fn a_disk_layout_of_ones_own_takes_the_place_of_the_one_partition() {
    for (id, name, value, wanted, gone) in [
        ("rocky-9", "layout", "'autopart --type=lvm'", "\nautopart --type=lvm\n", "part / "),
        ("fedora-17", "layout", "'autopart'", "\nautopart\n", "biosboot"),
        ("rhel-5.9", "layout", "'autopart'", "\nautopart\n", "part / "),
        ("debian-13", "recipe", "'one :: 1 2 -1 xfs .'", "recipe string one :: ", "root :: "),
        ("ubuntu-12.04", "recipe", "'one :: 1 2 -1 xfs .'", "recipe string one :: ", "root :: "),
        ("ubuntu-24.04", "layout", "{ layout = { name = 'lvm' } }", "\"lvm\"", "direct"),
        (
            "sles-12",
            "layout",
            "'<drive><use>all</use></drive>'",
            "<use>all</use></drive>",
            "<size>",
        ),
        ("sles-16.0", "layout", "{ drives = [] }", "\"drives\":[]", "search"),
    ] {
        let os = Catalogue::built_in().get(id).unwrap();
        let text = format!(
            "version = 1\nname = \"x\"\nos = \"{id}\"\n{}[answer.values]\n{name} = {value}\n",
            source_of(&os)
        );
        let rendered = rendered(&build(&text, &[]));
        let text = rendered.expose();
        assert!(text.contains(wanted), "{id}: {wanted}\n{text}");
        assert!(!text.contains(gone), "{id}: {gone}\n{text}");
    }
}

/// Debian's and libxml's own, where this machine has them.
#[test]
fn every_preseed_and_profile_passes_the_validators_of_this_machine() {
    let has = |it: &str| Command::new(it).arg("--version").output().is_ok();
    let folder = tempfile::tempdir().unwrap();
    for (os, build, text) in every_answer_file() {
        let (program, arguments): (_, &[&str]) = match os.dialect {
            Dialect::Preseed => ("debconf-set-selections", &["-c"]),
            Dialect::Autoyast => ("xmllint", &["--noout"]),
            _ => continue,
        };
        // `make setup` installs them where the distribution has them.
        if !has(program) {
            continue;
        }
        let path = folder.path().join("answers");
        fs_err::write(&path, &text).unwrap();
        let output = Command::new(program).args(arguments).arg(&path).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success() && said.is_empty(),
            "{} {}: {}\n{text}",
            os.id,
            build.name,
            String::from_utf8_lossy(&said)
        );
    }
}

/// `python3 -m jsonschema` of the reference implementation.
#[test]
#[ignore = "needs Python's jsonschema, which `make test-pykickstart` installs"]
fn every_autoinstall_and_agama_profile_passes_its_published_schema() {
    let Ok(python) = std::env::var("IMGBUILD_PYTHON") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut of_schema: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (i, (os, _, text)) in every_answer_file().into_iter().enumerate() {
        let (schema, value) = match os.dialect {
            Dialect::Autoinstall => {
                let value: serde_json::Value = serde_yaml::from_str(&text).unwrap();
                ("autoinstall.json", value["autoinstall"].clone())
            }
            Dialect::Agama => ("agama.json", serde_json::from_str(&text).unwrap()),
            _ => continue,
        };
        let path = folder.path().join(format!("{i}-{}.json", os.id));
        fs_err::write(&path, value.to_string()).unwrap();
        of_schema.entry(schema).or_default().push(path.to_str().unwrap().to_owned());
    }
    assert_eq!(of_schema.len(), 2);
    for (schema, files) in of_schema {
        let mut command = Command::new(&python);
        command.args(["-W", "ignore", "-m", "jsonschema"]);
        command.args(files.iter().flat_map(|it| ["-i", it.as_str()]));
        let output = command.arg(format!("{ROOT}/data/answer/{schema}")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
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
        let checked = Command::new("sh").args(["-n", "-c", &joined]).output().unwrap();
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
         url=http://169.254.169.254/latest/user-data log_host=169.254.169.254 console=ttyS0 --- \
         console=ttyS0"
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
    assert!(n_scripts >= 20, "{n_scripts}");
}
