//! What people do by mistake, told before a machine starts: an output that is
//! something else, a run that is not there, a time that is too short.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared by several test programs")]
mod quick;

use std::process::Output;

use quick::{Work, text};

/// Builds with further arguments; what it said is checked not to be of a run.
fn refused(work: &Work, arguments: &[&str]) -> String {
    let output = build(work, arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!work.path("work/runs").exists(), "a run has begun: {said}");
    said
}

fn build(work: &Work, arguments: &[&str]) -> Output {
    let arguments = [&["build", "quick.toml", "--format", "plain"], arguments].concat();
    work.command(&arguments).output().unwrap()
}

#[test]
fn only_a_disk_image_is_replaced_by_an_image() {
    let work = Work::new("ok", "");
    let spec = fs_err::read(work.path("quick.toml")).unwrap();
    let said = refused(&work, &["--output", "quick.toml"]);
    assert!(said.contains("`quick.toml` is there already, and it is no disk image"), "{said}");
    assert!(said.contains("--force"), "{said}");
    assert_eq!(fs_err::read(work.path("quick.toml")).unwrap(), spec);

    // Neither is what the installer comes from, although it begins like a disk.
    let fixture = fs_err::read_to_string(work.path("quick.toml")).unwrap();
    let kernel = fixture.lines().find_map(|it| it.strip_prefix("kernel = ")).unwrap();
    fs_err::copy(kernel.trim_matches('"'), work.path("kernel.raw")).unwrap();
    let said = refused(&work, &["--output", "kernel.raw"]);
    assert!(said.contains("no disk image"), "{said}");

    let said = refused(&work, &["--output", "/dev/null", "--force"]);
    assert!(said.contains("`/dev/null` is no file"), "{said}");
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_the_install() {
    let work = Work::new("ok", "");
    fs_err::create_dir(work.path("images")).unwrap();
    let said = refused(&work, &["--output", "images"]);
    assert!(said.contains("`images` is a folder") && said.contains("images/quick.qcow2"), "{said}");
    let said = refused(&work, &["--output", "quick.toml/image.qcow2"]);
    assert!(said.contains("`quick.toml` is no folder"), "{said}");
    let said = refused(&work, &["--output", ""]);
    assert!(said.contains("no path"), "{said}");
}

#[test]
fn a_run_that_is_not_there_is_not_begun_by_going_on_with_it() {
    let work = Work::new("ok", "");
    for run in ["nope", "../nope"] {
        let said = refused(&work, &["--resume", run]);
        assert!(said.contains(&format!("there is no run `{run}`")), "{said}");
    }
    assert!(!work.path("work").exists());
}

#[test]
fn a_build_whose_time_is_up_has_failed_and_was_not_interrupted() {
    let work = Work::new("slow", "");
    let output = build(&work, &["--timeout", "3s"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the build was not done within 3s"), "{said}");
    assert!(said.contains("--timeout"), "{said}");
    assert!(!said.contains("interrupted"), "{said}");
    assert_eq!(work.leftovers(), Vec::<std::path::PathBuf>::new());
    assert_eq!(work.machines(), Vec::<u32>::new());
    let runs = work.command(&["runs"]).output().unwrap();
    assert!(text(&runs.stdout).contains("failed"), "{}", text(&runs.stdout));
}
