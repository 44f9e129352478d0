//! The whole way through a real QEMU: from a spec to an image that was booted,
//! and every way in which an installer can go wrong on it.
//!
//! The installer is the quick one of `tests/quick-installer`, which
//! `make quick-installer` builds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod quick;

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use quick::{SECRET, Work, text};

fn build(work: &Work) -> std::process::Output {
    work.command(&["build", "quick.toml", "--format", "plain"]).output().unwrap()
}

/// Builds a variant that must fail, and returns what was said.
fn failure(variant: &str) -> String {
    let work = Work::new(variant, "[verify]\ntimeout = \"2m\"\n");
    let output = build(&work);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(text(&output.stdout).is_empty(), "{said}");
    assert!(!work.path("quick.qcow2").exists(), "{said}");
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new(), "{said}");
    assert_eq!(work.machines(), Vec::<u32>::new());
    assert!(said.contains("kept: ") && said.contains("screenshot"), "{said}");
    said
}

#[test]
fn a_spec_becomes_an_image_that_was_booted() {
    let work =
        Work::new("ok", "[verify]\nconsole = \"quick-system: marker: installed by imgbuild\"\n");
    let output = build(&work);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let image = work.path("quick.qcow2");
    let printed = text(&output.stdout);
    assert_eq!(Path::new(printed.trim_end()), image.canonicalize().unwrap());

    let manifest = fs_err::read(work.path("quick.qcow2.manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["image"]["disk"], "256 MiB");
    assert_eq!(manifest["image"]["bytes"], fs_err::metadata(&image).unwrap().len());
    let phases: Vec<_> =
        manifest["phases"].as_array().unwrap().iter().map(|it| it[0].as_str().unwrap()).collect();
    assert_eq!(
        phases,
        ["network", "components", "partitioning", "base-system", "packages", "boot-loader", "end"]
    );
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
    assert_eq!(work.machines(), Vec::<u32>::new());
    let all = text(&work.everything(&output));
    assert!(!all.contains(SECRET), "the password is somewhere");
    let log = fs_err::read_to_string(work.run().join("installer/syslog")).unwrap();
    assert!(log.lines().any(|it| it.ends_with("imgbuild-quick: phase packages")), "{log}");

    // Nothing has changed: nothing is done, and the path is printed all the same.
    let began = Instant::now();
    let again = build(&work);
    assert!(again.status.success());
    assert!(text(&again.stderr).contains("nothing has changed"), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout), printed);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_answer_file_alone_is_for_other_tools_to_read() {
    let work = Work::new("ok", "");
    let shown = |arguments: &[&str]| {
        let output = work.command(arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let all = shown(&["render", "quick.toml"]);
    let answer = shown(&["render", "quick.toml", "--answer"]);
    assert!(answer.starts_with("#imgbuild-quick\nhostname = quickhost\n"), "{answer}");
    assert!(answer.contains("password = <sensitive:password>"), "{answer}");
    assert!(!answer.contains("kernel command line"), "{answer}");
    assert!(all.contains(&answer) && all.contains("# kernel command line"), "{all}");
}

#[test]
fn pictures_of_each_phase_are_taken_on_request() {
    let work = Work::new("ok", "[verify]\nconsole = \"quickhost login:\"\n");
    let arguments = ["build", "quick.toml", "--format", "plain", "--screenshots"];
    let output = work.command(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let run = work.run();
    let names =
        ["network", "components", "partitioning", "packages", "boot-loader", "end", "verify"]
            .map(|it| format!("screenshot-{it}"));
    let report = fs_err::read_to_string(run.join("report.html")).unwrap();
    let mut places = Vec::new();
    for name in names {
        let picture = fs_err::read(run.join(format!("{name}.png"))).unwrap();
        assert!(picture.starts_with(b"\x89PNG"), "{name}");
        places.push(report.find(&format!("alt=\"{name}\"")).unwrap());
    }
    assert!(places.is_sorted(), "in the order in which they were taken: {places:?}");
}

#[test]
fn uefi_direct_boot_and_a_config_drive_work_as_well() {
    let work = Work::new(
        "ok",
        "firmware = \"uefi\"\nboot = \"direct\"\ndelivery = \"config-drive\"\n[verify]\nconsole = \"quickhost login:\"\n",
    );
    let output = build(&work);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn an_error_of_the_installer_is_told_in_its_words() {
    let said = failure("fail");
    assert!(said.contains("imgbuild-quick: error:"), "{said}");
    assert!(said.contains("base-system"), "{said}");
    assert!(said.contains("installer/syslog"), "its own log is kept: {said}");
}

#[test]
fn a_log_that_is_written_to_a_port_is_kept_without_the_secrets_in_it() {
    // It complains of the number of packages, which it repeats.
    let work = Work::with("ok", "packages = {{ password }}", "");
    let spec = fs_err::read_to_string(work.path("quick.toml")).unwrap();
    let spec = spec.replace("os = \"quick\"", "os = \"quick-port\"");
    fs_err::write(work.path("quick.toml"), spec).unwrap();
    let output = build(&work);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("installer/syslog"), "{said}");
    let log = fs_err::read_to_string(work.run().join("installer/syslog")).unwrap();
    let complaint = "is not a whole number: <sensitive:password>";
    assert!(log.lines().any(|it| it.ends_with(complaint)), "{log}");
    assert!(!text(&work.everything(&output)).contains(SECRET), "the password is somewhere");
}

#[test]
fn a_question_that_nobody_answers_is_a_failure() {
    let said = failure("ask");
    assert!(said.contains("which disk is to be erased"), "{said}");
}

#[test]
fn silence_without_work_is_a_failure() {
    let said = failure("hang");
    assert!(said.contains("base-system"), "{said}");
}

#[test]
fn a_reboot_instead_of_a_poweroff_is_a_failure() {
    assert!(failure("reboot").contains("reboot"));
}

#[test]
fn a_halt_instead_of_a_poweroff_is_a_failure_although_the_machine_runs_on() {
    let said = failure("halt");
    assert!(said.contains("watch/halted"), "{said}");
}

#[test]
fn a_machine_that_goes_off_too_early_is_no_success() {
    assert!(failure("early-poweroff").contains("partitioning"));
}

#[test]
fn a_kernel_panic_is_seen() {
    assert!(failure("panic").contains("panic"));
}

#[test]
fn an_image_that_does_not_boot_is_never_published() {
    let said = failure("unbootable");
    assert!(said.contains("stage `verify` failed"), "{said}");
    // By what the firmware says, not by the two minutes that it would have had.
    assert!(said.contains("firmware/nothing-after-boot"), "{said}");
}

/// Starts a build and waits until its installer has reached a phase.
fn building(work: &Work) -> Child {
    #[expect(clippy::zombie_processes, reason = "the caller waits, and a test that fails ends")]
    let mut child = work
        .command(&["build", "quick.toml", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let reader = BufReader::new(child.stdout.take().unwrap());
    for line in reader.lines() {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] == "phase-reached" {
            return child;
        }
    }
    panic!("the installer reached no phase");
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn whatever_kills_imgbuild_its_machine_dies_with_it() {
    let work = Work::new("slow", "");
    let mut child = building(&work);
    assert_eq!(work.machines().len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("QEMU is gone", || work.machines().is_empty());
    assert!(!work.leftovers().is_empty());

    let cleaned = work.command(&["cleanup"]).output().unwrap();
    assert!(cleaned.status.success(), "{}", text(&cleaned.stderr));
    assert!(text(&cleaned.stdout).contains("given back"));
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn an_interruption_undoes_everything() {
    let work = Work::new("slow", "");
    let child = building(&work);
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
    assert_eq!(work.machines(), Vec::<u32>::new());
}

#[test]
fn a_run_whose_remains_were_given_back_can_be_gone_on_with() {
    let work = Work::new("slow", "");
    let mut child = building(&work);
    child.kill().unwrap();
    child.wait().unwrap();
    let cleaned = work.command(&["cleanup"]).output().unwrap();
    assert!(cleaned.status.success(), "{}", text(&cleaned.stderr));
    let run = work.run().file_name().unwrap().to_string_lossy().into_owned();

    let resume = || {
        let arguments = ["build", "quick.toml", "--format", "plain", "--resume", &run];
        work.command(&arguments).output().unwrap()
    };
    let output = resume();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(work.path("quick.qcow2").is_file());
    // There is nothing more to go on with, even where the image is gone.
    fs_err::remove_file(work.path("quick.qcow2")).unwrap();
    let output = resume();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("has succeeded"), "{}", text(&output.stderr));
}
