//! Which accelerator works here: tried, not assumed.
//!
//! A `/dev/kvm` can be there, open, make machines, and then hang in every stock
//! kernel (nested, paravirtual KVM does). So a real kernel is booted as far as it
//! comes without an initrd, where it panics and restarts. What came of it is
//! remembered until QEMU, the host's kernel or its processor change; a failure
//! for a day only, because a machine that is very busy looks like one that hangs.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use crate::{guard::Guard, model::Arch};

/// A working KVM needs about a second for this.
const TRIAL: Duration = Duration::from_secs(20);
/// How long a failure is believed.
const BELIEVED: Duration = Duration::from_hours(24);
/// What a kernel says when it finds no root file system: `panic()` in
/// `init/do_mounts.c`. It has brought up all processors and devices by then.
const REACHED: &[&str] = &["Kernel panic - not syncing: VFS", "Unable to mount root fs"];

/// The accelerator of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// `kvm` or `tcg`.
    pub name: String,
    /// The processor model that goes with it.
    pub cpu: String,
    /// Why, for people.
    pub why: String,
}

/// What a trial found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Finding {
    Works,
    /// `at` is in seconds since 1970.
    Fails {
        why: String,
        #[serde(default)]
        at: u64,
    },
}

impl Finding {
    fn fails(why: String) -> Self {
        Self::Fails { why, at: seconds_since_1970() }
    }

    /// Whether it need not be tried again.
    fn holds(&self, now: u64) -> bool {
        match self {
            Self::Works => true,
            // One from the future was found by a clock that was wrong.
            Self::Fails { at, .. } => {
                now.checked_sub(*at).is_some_and(|age| age < BELIEVED.as_secs())
            }
        }
    }
}

fn seconds_since_1970() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |it| it.as_secs())
}

/// What is needed to choose.
pub struct Question<'a> {
    /// The QEMU program, and its version.
    pub program: &'a str,
    /// See `program`.
    pub version: (u32, u32),
    /// The guest's architecture.
    pub arch: Arch,
    /// The x86-64 level the guest's programs need.
    pub x86_64_level: u8,
    /// A kernel to try with; without one nothing can be proved.
    pub kernel: Option<&'a Utf8Path>,
    /// Where findings are remembered.
    pub cache: &'a Utf8Path,
    /// Starts QEMU.
    pub guard: &'a Guard,
}

/// Chooses the accelerator; `wanted` is what the spec names.
pub async fn choose(question: &Question<'_>, wanted: Option<&str>) -> Choice {
    let choice = |name: &str, why: &str| Choice {
        name: name.to_owned(),
        cpu: processor(question, name),
        why: why.to_owned(),
    };
    match wanted {
        Some("auto") | None => {}
        Some(name) => return choice(name, "the spec names it"),
    }
    if question.arch.as_str() != std::env::consts::ARCH {
        return choice("tcg", "the guest has another processor than this machine");
    }
    if fs_err::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return choice("tcg", "there is no /dev/kvm that may be opened");
    }
    match finding(question).await {
        Some(Finding::Works) => choice("kvm", "a kernel was booted with it"),
        Some(Finding::Fails { why, .. }) => {
            choice("tcg", &format!("/dev/kvm does not work: {why}"))
        }
        None => choice("tcg", "/dev/kvm is there, but there is no kernel to prove it with"),
    }
}

/// The processor model.
fn processor(question: &Question<'_>, accelerator: &str) -> String {
    match (accelerator, question.arch) {
        ("tcg", Arch::X86_64) if question.version.0 < 8 && question.x86_64_level < 2 => {
            // QEMU 7.2 miscomputes cmpxchg16b, and Debian's kernels panic of it;
            // systems that were compiled for x86-64-v2 cannot do without it.
            "max,cx16=off".to_owned()
        }
        ("tcg", _) => "max".to_owned(),
        _ => "host".to_owned(),
    }
}

async fn finding(question: &Question<'_>) -> Option<Finding> {
    let path = question.cache.join("accelerators.json");
    let mut known: BTreeMap<String, Finding> = fs_err::read(&path)
        .ok()
        .and_then(|it| serde_json::from_slice(&it).ok())
        .unwrap_or_default();
    let key = key(question);
    if let Some(finding) = known.get(&key).filter(|it| it.holds(seconds_since_1970())) {
        return Some(finding.clone());
    }
    let kernel = question.kernel?;
    let finding = try_out(question, kernel).await;
    known.insert(key, finding.clone());
    remember(&path, &known);
    Some(finding)
}

/// What must not have changed since: another QEMU, kernel, processor or device
/// is another question.
fn key(question: &Question<'_>) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
    let release = read("/proc/sys/kernel/osrelease");
    let information = read("/proc/cpuinfo");
    let model = information
        .lines()
        .find(|it| it.starts_with("model name") || it.starts_with("CPU part"))
        .unwrap_or_default();
    let device = fs_err::metadata("/dev/kvm").map(|it| it.rdev()).unwrap_or_default();
    let (major, minor) = question.version;
    format!("QEMU {major}.{minor}; {}; {}; device {device}", release.trim(), model.trim())
}

/// Boots the kernel without an initrd and waits for its last words.
async fn try_out(question: &Question<'_>, kernel: &Utf8Path) -> Finding {
    let fails = Finding::fails;
    let machine = if question.arch == Arch::X86_64 { "q35" } else { "virt" };
    let console = if question.arch == Arch::X86_64 { "ttyS0" } else { "ttyAMA0" };
    let child = question
        .guard
        .command(question.program)
        .args(["-machine", machine, "-accel", "kvm", "-cpu", "host", "-smp", "2", "-m", "512M"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-kernel", kernel.as_str(), "-append"])
        .arg(format!("console={console} panic=-1"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return fails(error.to_string()),
    };
    let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return fails("QEMU has no output".to_owned());
    };
    let mut console = Vec::new();
    let mut errors = Vec::new();
    let talk = async {
        let reached = async {
            loop {
                let read = out.read_buf(&mut console).await;
                let text = String::from_utf8_lossy(&console);
                if REACHED.iter().any(|it| text.contains(it)) {
                    return true;
                }
                if !read.is_ok_and(|it| it > 0) {
                    return false;
                }
            }
        };
        let (reached, _) = tokio::join!(reached, err.read_to_end(&mut errors));
        reached
    };
    let ended = tokio::time::timeout(TRIAL, talk).await;
    _ = child.kill().await;
    match ended {
        Ok(true) => Finding::Works,
        Ok(false) => {
            let errors = String::from_utf8_lossy(&errors).trim().to_owned();
            let first = errors.lines().next().unwrap_or("QEMU ended without a word").to_owned();
            fails(first)
        }
        Err(_) => fails(format!(
            "a kernel hangs with it ({} bytes of console in {} s)",
            console.len(),
            TRIAL.as_secs()
        )),
    }
}

/// Stores what was found. A cache that cannot be written costs time, no more.
fn remember(path: &Utf8PathBuf, known: &BTreeMap<String, Finding>) {
    let Some(folder) = path.parent() else { return };
    if fs_err::create_dir_all(folder).is_err() {
        return;
    }
    if let (Ok(mut file), Ok(text)) =
        (tempfile::NamedTempFile::new_in(folder), serde_json::to_vec_pretty(known))
    {
        use std::io::Write as _;
        if file.write_all(&text).is_ok() {
            _ = file.persist(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_believed_for_a_day_and_success_until_something_changes() {
        let day = 24 * 60 * 60;
        let fails = Finding::Fails { why: "hangs".to_owned(), at: 1_000_000 };
        for (finding, now, holds) in [
            (&Finding::Works, u64::MAX, true),
            (&fails, 1_000_000, true),
            (&fails, 1_000_000 + day - 1, true),
            (&fails, 1_000_000 + day, false),
            (&fails, 999_999, false),
        ] {
            assert_eq!(finding.holds(now), holds, "{finding:?} at {now}");
        }
    }

    #[test]
    fn what_an_earlier_version_remembered_is_tried_again() {
        let old = r#"{"QEMU 7.2": {"fails": {"why": "hangs"}}}"#;
        let known: BTreeMap<String, Finding> = serde_json::from_str(old).unwrap();
        assert!(!known["QEMU 7.2"].holds(seconds_since_1970()));
    }
}
