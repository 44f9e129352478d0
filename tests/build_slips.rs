//! What people do by mistake, told before a machine starts: an output that is
//! something else, a run that is not there, a time that is too short.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared by several test programs")]
mod quick;

use std::{
    io::Write as _,
    process::{Output, Stdio},
};

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

/// A command in the folder of a spec, with what it printed and said.
fn said(work: &Work, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = work
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who refuses before reading closes the pipe.
    _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_could_not_be_printed_is_no_success() {
    let work = Work::new("ok", "");
    for arguments in [&["schema"][..], &["completions", "bash"], &["man"], &["os", "list"]] {
        let full = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = work.command(arguments).stdout(full.into_parts().0).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("cannot write to standard output"), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");

        // A reader who wants no more, as `head` does, is no error.
        let mut child =
            work.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn a_spec_comes_on_standard_input_or_with_others_of_its_folder() {
    let work = Work::new("ok", "");
    let spec = fs_err::read_to_string(work.path("quick.toml")).unwrap();
    let (status, printed, said_) = said(&work, &["validate", "-"], &spec);
    assert_eq!((status, printed.as_str()), (Some(0), "-: valid\n"), "{said_}");
    let (status, _, said_) = said(&work, &["validate", "-"], &spec.replace("disk =", "dsik ="));
    assert_eq!(status, Some(3));
    assert!(said_.contains("did you mean `disk`?"), "{said_}");
    let (status, _, said_) = said(&work, &["plan", "-"], "not a spec\n");
    assert_eq!(status, Some(2));
    assert!(said_.contains("standard input is no spec"), "{said_}");
    let (status, _, said_) = said(&work, &["lint", "--fix", "-"], "d-i a/b string c\n");
    assert_eq!(status, Some(2), "{said_}");

    fs_err::copy(work.path("quick.toml"), work.path("other.toml")).unwrap();
    let (status, printed, said_) = said(&work, &["validate", "."], "");
    assert_eq!(status, Some(0), "{said_}");
    assert_eq!(printed, "./other.toml: valid\n./quick.toml: valid\n");
}

#[test]
fn files_that_are_not_there_are_named_in_plain_words_and_at_their_lines() {
    let work = Work::new("ok", "");
    let (_, _, said_) = said(&work, &["validate", "none.toml"], "");
    assert!(said_.contains("cannot read `none.toml`: there is no such file"), "{said_}");
    let (_, _, said_) = said(&work, &["plan", "quick.toml", "--var-file", "none.toml"], "");
    assert!(said_.contains("there is no such file") && !said_.contains("init"), "{said_}");
    let (status, _, said_) = said(&work, &["os", "list", "--os-dir", "none"], "");
    assert_eq!(status, Some(2));
    assert!(said_.contains("cannot read the catalogue folder `none`"), "{said_}");

    let spec = fs_err::read_to_string(work.path("quick.toml")).unwrap();
    let (before, rest) = spec.split_once("text = \"\"\"").unwrap();
    let (_, after) = rest.split_once("\"\"\"\n").unwrap();
    let line = before.lines().count() + 1;
    let with = |name: &str| format!("{before}template = \"{name}\"\n{after}");
    std::os::unix::fs::symlink("/etc/hostname", work.path("link.j2")).unwrap();
    for (name, why) in [
        ("none.j2", "there is no such file"),
        ("work", "it is a folder"),
        ("link.j2", "it is a link out of the spec's folder"),
    ] {
        fs_err::create_dir_all(work.path("work")).unwrap();
        fs_err::write(work.path("with.toml"), with(name)).unwrap();
        let (status, _, said_) = said(&work, &["validate", "with.toml"], "");
        assert_eq!(status, Some(3), "{said_}");
        assert!(said_.contains(&format!("cannot read `{name}`: {why}")), "{said_}");
        assert!(said_.contains(&format!("with.toml:{line}:")), "{said_}");
    }
}

#[test]
fn where_there_is_nothing_that_is_said() {
    let work = Work::new("ok", "");
    let (status, printed, said_) = said(&work, &["runs"], "");
    assert_eq!((status, printed.as_str()), (Some(0), ""));
    assert!(said_.contains("there is no run yet"), "{said_}");
    let (status, printed, said_) = said(&work, &["cleanup"], "");
    assert_eq!((status, printed.as_str()), (Some(0), ""));
    assert_eq!(said_, "nothing was left behind\n");
}
