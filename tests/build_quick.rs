//! The whole way through a real QEMU: from a spec to an image that was booted,
//! and every way in which an installer can go wrong on it.
//!
//! The installer is the quick one of `tests/quick-installer`, which
//! `make quick-installer` builds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A folder of one test, with a spec in it.
struct Work {
    folder: tempfile::TempDir,
}

impl Work {
    /// A spec for the quick installer; `more` goes behind it.
    fn new(variant: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = option_env!("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
        let fixture = target.join("quick-installer");
        assert!(fixture.join("linux").is_file(), "run `make quick-installer` first");
        let fixture = fixture.display();
        let spec = format!(
            r#"
version = 1
name = "quick"
os = "quick"

[variables.password]
type = "string"
sensitive = true

[source.kernel]
kernel = "{fixture}/linux"
initrd = "{fixture}/initrd.gz"
checksum-file = "{fixture}/SHA256SUMS"

[answer]
text = """
#imgbuild-quick
hostname = quickhost
marker = installed by imgbuild
password = {{{{ password }}}}
variant = {variant}
"""

[install]
disk = "256 MiB"
cpus = 1
timeout = "5m"
idle = "15s"
{more}
"#
        );
        fs_err::write(folder.path().join("quick.toml"), spec).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgbuild"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("IMGBUILD_WORK_DIR", self.path("work"))
            // What was found out about the accelerator is the same for all.
            .env("IMGBUILD_CACHE_DIR", std::env::temp_dir().join("imgbuild-test-cache"))
            .env(
                "IMGBUILD_OS_DIR",
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quick-installer"),
            )
            .env("IMGBUILD_VAR_password", SECRET)
            .env_remove("XDG_STATE_HOME")
            .stdin(Stdio::null());
        command
    }

    fn build(&self) -> Output {
        self.command(&["build", "quick.toml", "--format", "plain"]).output().unwrap()
    }

    /// Everything that was stored or printed.
    fn everything(&self, output: &Output) -> Vec<u8> {
        let mut all = [&output.stdout[..], &output.stderr[..]].concat();
        for file in files_below(self.folder.path()) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if !name.ends_with(".qcow2") && name != "quick.toml" {
                all.extend(fs_err::read(file).unwrap());
            }
        }
        all
    }

    /// What is in the run's folder, but for logs and reports.
    fn leftovers(&self) -> Vec<PathBuf> {
        let mut left = files_below(&self.path("work"));
        left.retain(|it| {
            let name = it.file_name().unwrap().to_string_lossy().into_owned();
            ![".log", ".html", ".png", ".jsonl", ".txt"].iter().any(|end| name.ends_with(end))
        });
        left
    }

    /// QEMU processes that use this folder.
    fn machines(&self) -> Vec<u32> {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs_err::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let Ok(id) = entry.file_name().to_string_lossy().parse() else { continue };
            let line = fs_err::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains("qemu-system") && line.contains(&folder) {
                found.push(id);
            }
        }
        found
    }
}

const SECRET: &str = "Tr0ub4dor+three";

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    entries
        .flat_map(|it| {
            let path = it.unwrap().path();
            if path.is_dir() { files_below(&path) } else { vec![path] }
        })
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Builds a variant that must fail, and returns what was said.
fn failure(variant: &str) -> String {
    let work = Work::new(variant, "[verify]\ntimeout = \"2m\"\n");
    let output = work.build();
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
    let output = work.build();
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

    // Nothing has changed: nothing is done, and the path is printed all the same.
    let began = Instant::now();
    let again = work.build();
    assert!(again.status.success());
    assert!(text(&again.stderr).contains("nothing has changed"), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout), printed);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn uefi_direct_boot_and_a_config_drive_work_as_well() {
    let work = Work::new(
        "ok",
        "firmware = \"uefi\"\nboot = \"direct\"\ndelivery = \"config-drive\"\n[verify]\nconsole = \"quickhost login:\"\n",
    );
    let output = work.build();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
}

#[test]
fn an_error_of_the_installer_is_told_in_its_words() {
    let said = failure("fail");
    assert!(said.contains("imgbuild-quick: error:"), "{said}");
    assert!(said.contains("base-system"), "{said}");
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
