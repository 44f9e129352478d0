//! Stages of the user's own in a build through a real QEMU: commands on the
//! host, runner programs, and work in the guest over SSH and with Ansible.
//!
//! The installed system lets in who has the key that the answer file named.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod quick;

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Output,
};

use quick::{Work, text};

/// Lets the build's key in.
const KEY: &str = "authorized_key = {{ build.ssh_public_key }}";

/// A build with programs on the PATH that only it has.
fn build_with(work: &Work, programs: &[&Path]) -> Output {
    let folder = work.path("bin");
    fs_err::create_dir_all(&folder).unwrap();
    for program in programs {
        fs_err::copy(program, folder.join(program.file_name().unwrap())).unwrap();
    }
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    work.command(&["build", "quick.toml", "--format", "plain"]).env("PATH", path).output().unwrap()
}

fn build(work: &Work) -> std::process::Output {
    work.command(&["build", "quick.toml", "--format", "plain"]).output().unwrap()
}

fn runner(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runners").join(name)
}

#[test]
fn commands_and_runner_programs_are_given_the_plans_values() {
    let work = Work::new(
        "ok",
        r#"
[verify]
skip = true

[[stages]]
name = "measure"
after = "convert"
command = { run = ["sh", "-c", "wc -c < \"$IMGBUILD_IMAGE\" > measured; echo $IMGBUILD_NAME $WHO >> measured"], environment = { WHO = "me" } }

[[stages]]
name = "checksum"
after = "measure"
external = { runner = "checksum", input = { algorithm = "sha256", to = "{folder}/quick.sha256" } }

[[stages]]
name = "note"
after = "checksum"
external = { runner = "note", input = { text = "for the workshop", to = "{folder}/quick.note" } }
"#,
    );
    let output =
        build_with(&work, &[&runner("imgbuild-runner-checksum"), &runner("imgbuild-runner-note")]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let bytes = fs_err::metadata(work.path("quick.qcow2")).unwrap().len();
    assert_eq!(
        fs_err::read_to_string(work.path("measured")).unwrap(),
        format!("{bytes}\nquick me\n")
    );
    assert!(fs_err::read_to_string(work.path("quick.note")).unwrap().contains("for the workshop"));
    let sum = fs_err::read_to_string(work.path("quick.sha256")).unwrap();
    assert_eq!(sum.split(' ').next().unwrap().len(), 64, "{sum}");
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn what_a_runner_program_made_is_undone_when_a_later_stage_fails() {
    let work = Work::new(
        "ok",
        r#"
[verify]
skip = true

[[stages]]
name = "note"
after = "boot-disk"
external = { runner = "note", input = { text = "soon gone", to = "{folder}/quick.note" } }

[[stages]]
name = "refuse"
after = "note"
command = { run = ["sh", "-c", "test -s quick.note && echo the note is there; exit 3"] }
"#,
    );
    let output = build_with(&work, &[&runner("imgbuild-runner-note")]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the note is there"), "{said}");
    assert!(said.contains("refuse"), "{said}");
    assert!(!work.path("quick.note").exists(), "{said}");
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
}

/// Stands in for `ansible-playbook`, which is a large thing to install for
/// a test: enters the guest by what it was given, as the real one would.
const ANSIBLE: &str = r#"#!/bin/sh
set -eu
while [ $# -gt 1 ]; do
    case $1 in
    -i) [ "$2" = guest, ]; shift 2 ;;
    -e) for pair in $2; do eval "$pair"; done; shift 2 ;;
    --ssh-common-args=*) common=${1#*=}; shift ;;
    *) break ;;
    esac
done
grep -q 'hosts: all' "$1"
eval "ssh $common -p $ansible_port $ansible_user@$ansible_host 'echo played by ansible > /etc/played; sync'"
"#;

#[test]
fn a_guest_is_changed_and_proved_over_ssh_and_by_a_playbook() {
    let work = Work::with(
        "ok",
        KEY,
        r#"
[verify]
ssh = { user = "root", command = "grep -qx changed /etc/stage && cat /etc/played && echo proved" }

[[stages]]
name = "change"
after = "install"
ssh = { run = ["echo changed > /etc/stage", "sync"], keep = true }

[[stages]]
name = "configure"
after = "change"
ansible = { playbook = "site.yml", keep = true }

[[stages]]
name = "look"
after = "convert"
ssh = { run = ["cat /etc/stage", "echo spoilt > /etc/stage"] }
"#,
    );
    fs_err::write(work.path("site.yml"), "- hosts: all\n  tasks: []\n").unwrap();
    let program = work.path("ansible-playbook");
    fs_err::write(&program, ANSIBLE).unwrap();
    fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = build_with(&work, &[&program]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("played by ansible") && said.contains("proved"), "{said}");
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
    assert_eq!(work.machines(), Vec::<u32>::new());
    assert!(!text(&work.everything(&output)).contains("PRIVATE KEY"), "the key was left");
}

/// Makes programs in the guest that stand in for those of a larger system.
const STAND_INS: &str = r##"
printf "#!/bin/sh\necho install ok installed 1.2-3\n" >/bin/dpkg-query
printf "#!/bin/sh\ncase \$1 in show) ;; is-active) echo active ;; *) echo running ;; esac\n" >/bin/systemctl
chmod 755 /bin/dpkg-query /bin/systemctl
"##;

#[test]
fn files_packages_and_services_are_checked_and_each_is_told() {
    let proved = |files: &str| {
        let verify = format!(
            "[verify.ssh]\nuser = \"root\"\ncommand = '''{STAND_INS}'''\nfiles = {files}\n\
             packages = [\"tool\"]\nservices = [\"tool.service\"]\n"
        );
        let work = Work::with("ok", KEY, &verify);
        let output = build(&work);
        let report = fs_err::read_to_string(work.run().join("report.html")).unwrap();
        (output.status.code(), text(&output.stderr), report.replace("&#x2f;", "/"))
    };
    let (status, said, report) = proved("[\"/etc/passwd\"]");
    assert_eq!(status, Some(0), "{said}");
    for (name, result) in [
        ("file /etc/passwd", "is there"),
        ("package tool", "is installed, 1.2-3"),
        ("service tool.service", "is active"),
    ] {
        assert!(said.contains(&format!("{name} {result}")), "{said}");
        assert!(report.contains(&format!("<td>{name}</td><td>{result}</td>")), "{name}");
    }
    let (status, said, report) = proved("[\"/etc/passwd\", \"/etc/no such file\"]");
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("file /etc/no such file is not there"), "{said}");
    assert!(report.contains("<td class=\"bad\">is not there</td>"));
    assert!(report.contains("is active"), "the others are checked all the same");
}

#[test]
fn a_command_that_fails_in_the_guest_ends_the_build_with_what_it_said() {
    let work = Work::with(
        "ok",
        KEY,
        r#"
[[stages]]
name = "look"
after = "convert"
ssh = { run = ["echo there is no such unit >&2; exit 4"] }
"#,
    );
    let output = build(&work);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("there is no such unit") && said.contains("look"), "{said}");
    assert!(!work.path("quick.qcow2").exists());
    assert_eq!(work.machines(), Vec::<u32>::new());
}
