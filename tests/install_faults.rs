//! What goes wrong with the real Debian installer, put wrong one by one: each
//! failure is seen soon after the installer has shown it, by its cause and with
//! a remedy, and nothing is left running.
//!
//! `make test-install` runs them, two machines at a time; under software
//! emulation that takes two hours. `IMGBUILD_MIRROR_CACHE` names a folder that the
//! mirror keeps its files in; `IMGBUILD_KEEP_CONSOLES` one that the consoles are
//! copied to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "the figures are for people")]

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Something that goes wrong.
struct Fault<'a> {
    name: &'a str,
    /// Faults of the mirror, for the guest alone.
    mirror: &'a [&'a str],
    /// The mirror that the guest is told instead.
    other_mirror: Option<&'a str>,
    /// Another source of kernel and initrd.
    source: Option<String>,
    /// Lines of `[install]`.
    install: &'a str,
    /// Lines to add to the answer file.
    with: &'a str,
    /// Whether the installer is to heed the mirror's signature, which the mirror
    /// for tests breaks.
    signed: bool,
    /// What the console shows when it has gone wrong; nothing where it is
    /// silent.
    shown: &'a str,
    /// The signature that must be what it was recognised by.
    signature: &'a str,
    /// More of what must be said.
    said: &'a [&'a str],
    /// How soon, after it was shown.
    within: Duration,
}

impl Default for Fault<'_> {
    fn default() -> Self {
        Self {
            name: "",
            mirror: &[],
            other_mirror: None,
            source: None,
            install: "",
            with: "",
            signed: false,
            shown: "",
            signature: "",
            said: &[],
            within: Duration::from_secs(15),
        }
    }
}

/// A mirror that runs as long as this.
struct Mirror {
    child: Child,
    port: String,
}

impl Drop for Mirror {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Mirror {
    fn start(faults: &[&str]) -> Self {
        let cache = std::env::var_os("IMGBUILD_MIRROR_CACHE")
            .map_or_else(|| std::env::temp_dir().join("imgbuild-test-mirror"), PathBuf::from);
        let mut child = Command::new("python3")
            .arg(format!("{ROOT}/tests/mirror/debian-mirror.py"))
            .args(["--port", "0", "--cache"])
            .arg(cache)
            .args(faults)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let (address, _) = line.strip_prefix("ready on ")?.split_once(',')?;
            Some(address.rsplit_once(':')?.1.to_owned())
        });
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, port: port.unwrap() }
    }
}

impl Fault<'_> {
    fn spec(&self, whole: &str, faulty: &str) -> String {
        let tree = || format!("[source.tree]\nurl = \"http://127.0.0.1:{whole}/debian\"\n");
        let source = self.source.clone().unwrap_or_else(tree);
        let mirror = self
            .other_mirror
            .map_or_else(|| format!("http://10.0.2.2:{faulty}/debian"), Into::into);
        let Self { install, with, signed, .. } = self;
        let unsigned = !signed;
        format!(
            r#"
version = 1
name = "fault"
os = "debian-13"

{source}
[answer]
text = '''
{{% include "debian/preseed.cfg.j2" %}}
{with}
'''
values = {{ mirror = "{mirror}", allow_unauthenticated = {unsigned} }}

[install]
timeout = "90m"
{install}
"#
        )
    }

    /// Lets it go wrong.
    fn happens(&self) {
        let whole = Mirror::start(&[]);
        let faulty = Mirror::start(self.mirror);
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("work");
        let spec = self.spec(&whole.port, &faulty.port);
        fs_err::write(folder.path().join("fault.toml"), spec).unwrap();
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_imgbuild"))
            .args(["build", "fault.toml", "--output", "fault.qcow2", "--work-dir"])
            .arg(&work)
            .current_dir(folder.path())
            .env("IMGBUILD_CACHE_DIR", std::env::temp_dir().join("imgbuild-test-cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs_err::File::create(folder.path().join("said")).unwrap().into_file())
            .spawn()
            .unwrap();
        let console = || {
            let file = files_below(&work).into_iter().find(|it| it.ends_with("console.log"))?;
            Some(String::from_utf8_lossy(&fs_err::read(file).ok()?).into_owned())
        };
        let mut shown_at = None;
        let status = loop {
            if shown_at.is_none()
                && !self.shown.is_empty()
                && console().is_some_and(|it| it.contains(self.shown))
            {
                shown_at = Some(began.elapsed());
            }
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::park_timeout(Duration::from_millis(200));
        };
        let ended_at = began.elapsed();
        let said = fs_err::read_to_string(folder.path().join("said")).unwrap();
        let console = console().unwrap_or_default();
        if let Some(keep) = std::env::var_os("IMGBUILD_KEEP_CONSOLES") {
            let keep = Path::new(&keep);
            fs_err::write(keep.join(format!("{}.log", self.name)), &console).unwrap();
            fs_err::write(keep.join(format!("{}.txt", self.name)), &said).unwrap();
        }
        eprintln!("{}: shown {shown_at:?}, ended {ended_at:?}\n{said}", self.name);

        assert_eq!(status.code(), Some(1), "{said}");
        // A terminal's width breaks lines anywhere.
        let flat: Vec<_> = said.split([' ', '\n', '│']).filter(|it| !it.is_empty()).collect();
        let flat = flat.join(" ");
        for expected in [&[self.signature], self.said].concat() {
            assert!(flat.contains(expected), "`{expected}` is not said: {flat}");
        }
        if !self.shown.is_empty() {
            let after = ended_at.saturating_sub(shown_at.unwrap());
            assert!(after <= self.within, "only after {after:?}");
        }
        assert!(!folder.path().join("fault.qcow2").exists());
        assert_eq!(machines(folder.path()), Vec::<String>::new());
    }
}

/// QEMU processes that use this folder.
fn machines(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy().into_owned();
    let lines = fs_err::read_dir("/proc").unwrap().filter_map(|it| {
        let line = fs_err::read(it.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).into_owned())
    });
    lines.filter(|it| it.contains("qemu-system") && it.contains(&folder)).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .flat_map(|it| if it.path().is_dir() { files_below(&it.path()) } else { vec![it.path()] })
        .collect()
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_mirror_whose_name_does_not_resolve() {
    Fault {
        name: "mirror-name",
        other_mirror: Some("http://no-such-mirror.invalid/debian"),
        shown: "Bad archive mirror",
        signature: "mirror/bad",
        said: &["no-such-mirror.invalid"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_mirror_without_a_release_file() {
    Fault {
        name: "release-404",
        mirror: &["--fail", "dists/[^/]*/(In)?Release$=404"],
        shown: "Bad archive mirror",
        signature: "mirror/bad",
        said: &["Release 404"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_mirror_without_a_component() {
    Fault {
        name: "component-404",
        mirror: &["--fail", "main/e/e2fsprogs/.*udeb=404"],
        shown: "failed to download a file",
        signature: "debian-installer/download-failed",
        said: &["udeb 404", "choose another mirror", "installer/syslog"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_mirror_that_never_answers() {
    Fault {
        name: "mirror-stalls",
        mirror: &["--stall", "debian-installer/binary-amd64/Packages"],
        install: "idle = \"2m\"",
        signature: "watch/unanswered",
        said: &["in vain for", "Packages.xz"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_download_that_is_cut_short() {
    Fault {
        name: "download-cut-short",
        // The installer asks for the rest, and gets half of that, for ever.
        mirror: &["--truncate", "main/e/e2fsprogs/.*udeb"],
        install: "idle = \"2m\"",
        signature: "watch/unanswered",
        said: &["bytes short", "in vain for"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_suite_that_the_mirror_does_not_have() {
    Fault {
        name: "wrong-suite",
        with: "d-i mirror/suite string nosuch",
        shown: "Go back and try a different mirror?",
        signature: "debian-installer/wrong-suite",
        said: &["dists/nosuch/Release 404", "nosuch"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_mirror_behind_a_page_that_wants_a_login() {
    Fault {
        name: "web-page",
        mirror: &["--page", "."],
        shown: "Bad archive mirror",
        signature: "mirror/bad",
        said: &["no release trixie", "log:", "choose-mirror"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_mirror_whose_signature_does_not_hold() {
    Fault {
        name: "bad-signature",
        signed: true,
        shown: "failed to download a file",
        signature: "debian-installer/download-failed",
        said: &[
            "not signed by a key",
            "allow_unauthenticated",
            "net-retriever: error: Bad signature",
        ],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn an_answer_file_that_cannot_be_reached() {
    Fault {
        name: "preseed-unreachable",
        install: "parameters = [\"url=http://10.0.2.2:9/preseed.cfg\"]",
        shown: "Failed to retrieve the preconfiguration file",
        signature: "debian-installer/preseed-unreachable",
        said: &["10.0.2.2:9", "refuses connections"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_machine_without_a_disk() {
    Fault {
        name: "no-disk",
        install: "parameters = [\"module_blacklist=virtio_blk\"]",
        shown: "No root file system",
        signature: "debian-installer/no-root",
        said: &["see that a disk is attached"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_machine_with_too_little_memory() {
    Fault {
        name: "low-memory",
        // The spec itself would not be let through with so little.
        install: "[platform.qemu]\narguments = [\"-m\", \"192M\"]",
        shown: "Initramfs unpacking failed",
        signature: "kernel/initrd-no-room",
        said: &["raise `install.memory`"],
        ..Fault::default()
    }
    .happens();
}

/// What the whole mirror serves as the netboot tree.
fn netboot(mirror: &Mirror, name: &str) -> Vec<u8> {
    let url = format!(
        "http://127.0.0.1:{}/debian/dists/trixie/main/installer-amd64/current/images/netboot/debian-installer/amd64/{name}",
        mirror.port
    );
    let script =
        "import sys,urllib.request as u;sys.stdout.buffer.write(u.urlopen(sys.argv[1]).read())";
    let output = Command::new("python3").args(["-c", script, &url]).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn an_initrd_that_is_damaged() {
    let (mirror, folder) = (Mirror::start(&[]), tempfile::tempdir().unwrap());
    let mut initrd = netboot(&mirror, "initrd.gz");
    let middle = initrd.len() / 2;
    // The kernel checks no sum: what can be unpacked is taken as it is. No block
    // of deflate begins like this (RFC 1951, 3.2.3).
    initrd[middle..middle + 65536].fill(0xff);
    fs_err::write(folder.path().join("linux"), netboot(&mirror, "linux")).unwrap();
    fs_err::write(folder.path().join("initrd.gz"), initrd).unwrap();
    Fault {
        name: "initrd-damaged",
        source: Some(kernel_and_initrd(folder.path())),
        shown: "Kernel panic",
        signature: "kernel/initrd-broken",
        said: &["fetch the initrd again"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_kernel_of_another_build_than_its_initrd() {
    let target = option_env!("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(ROOT).join("target"), PathBuf::from);
    let other = target.join("quick-installer/linux");
    assert!(other.is_file(), "run `make quick-installer` first");
    let (mirror, folder) = (Mirror::start(&[]), tempfile::tempdir().unwrap());
    fs_err::copy(other, folder.path().join("linux")).unwrap();
    fs_err::write(folder.path().join("initrd.gz"), netboot(&mirror, "initrd.gz")).unwrap();
    Fault {
        name: "wrong-kernel",
        source: Some(kernel_and_initrd(folder.path())),
        shown: "No network interfaces detected",
        signature: "debian-installer/no-network-card",
        said: &["take kernel and initrd from the same tree"],
        ..Fault::default()
    }
    .happens();
}

fn kernel_and_initrd(folder: &Path) -> String {
    let folder = folder.display();
    format!("[source.kernel]\nkernel = \"{folder}/linux\"\ninitrd = \"{folder}/initrd.gz\"\n")
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_question_that_nobody_answers() {
    Fault {
        name: "question-root-password",
        // What the preseed itself lacks is found before anything is started.
        with: "d-i preseed/early_command string debconf-set passwd/root-password-crypted \"\"",
        shown: "Root password:",
        signature: "passwd/root-password",
        said: &["d-i passwd/root-password"],
        within: Duration::from_secs(30),
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_disk_that_is_too_small() {
    Fault {
        name: "disk-too-small",
        install: "disk = \"2 GiB\"",
        with: "d-i partman-auto/expert_recipe string root :: 9000 10000 -1 ext4 $primary{ } $bootable{ } method{ format } format{ } use_filesystem{ } filesystem{ ext4 } mountpoint{ / } .",
        shown: "too small",
        signature: "disk-too-small",
        said: &["install.disk"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_mirror_without_a_package_of_the_base_system() {
    Fault {
        name: "package-404",
        mirror: &["--fail", "main/b/bash/bash_.*deb=404"],
        shown: "Failed to install the base system",
        signature: "base-installer/debootstrap-failed",
        said: &["bash_5", "404", "installer/syslog"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes minutes: make test-install"]
fn a_mirror_with_a_damaged_package() {
    Fault {
        name: "package-damaged",
        mirror: &["--damage", "main/b/bash/bash_.*deb"],
        shown: "corrupt",
        signature: "debian-installer/package-damaged",
        said: &["bash_5", "choose another mirror"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes a quarter of an hour: make test-install"]
fn a_disk_that_runs_full() {
    Fault {
        name: "disk-full",
        with: "d-i partman-auto/expert_recipe string root :: \
               500 500 600 ext4 $primary{ } $bootable{ } method{ format } format{ } use_filesystem{ } filesystem{ ext4 } mountpoint{ / } . \
               100 1000 -1 ext4 $primary{ } method{ format } format{ } use_filesystem{ } filesystem{ ext4 } mountpoint{ /srv } .",
        shown: "returned while trying to install",
        signature: "debian-installer/package-failed",
        said: &["the disk is full", "install.disk", "enough free space"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes half an hour: make test-install"]
fn a_package_that_does_not_exist() {
    Fault {
        name: "unknown-package",
        with: "d-i pkgsel/include string no-such-package",
        shown: "Installation step failed",
        signature: "debian-installer/pkgsel-failed",
        said: &["d-i pkgsel/include"],
        ..Fault::default()
    }
    .happens();
}

#[test]
#[ignore = "takes half an hour: make test-install"]
fn a_last_command_that_fails() {
    Fault {
        name: "late-command",
        with: "d-i preseed/late_command string in-target sh -c 'exit 7'",
        shown: "failed with exit code",
        signature: "debian-installer/preseed-command-failed",
        said: &["ended with 7", "exit 7"],
        ..Fault::default()
    }
    .happens();
}
