//! Every row of the catalogue, from its spec to the kernel that reads its
//! parameters: rendered, planned, fetched from a loopback tree or a medium with
//! that system's layout, put on a boot disk, and booted.
//!
//! The kernel is the quick installer's: what is proved is that the very command
//! line of each row arrives, not what that system's own kernel makes of it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "what was measured is shown")]

#[expect(dead_code, reason = "the rows need no faults")]
mod source_server;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use imgbuild::{
    CancellationToken, answer,
    catalogue::{Catalogue, Os},
    engine::Teller,
    guard::Guard,
    installer,
    media::{
        boot_disk::{BootDisk, assemble},
        loaders::Loaders,
    },
    model::{Arch, Build, Firmware, Target},
    plan,
    render::{self, Extras},
    source::{Cache, FetchCx, fetch},
    spec::{Mode, check_text, document::Syntax, variables::Inputs},
};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use sha2::{Digest as _, Sha256};
use source_server::Server;

/// What every row shares.
struct Stand {
    folder: tempfile::TempDir,
    server: Server,
    kernel: Vec<u8>,
    loaders: Loaders,
}

struct Templates;

impl render::TemplateLoader for Templates {
    fn load(&self, name: &str) -> Option<String> {
        fs_err::read_to_string(format!("{}/templates/{name}", env!("CARGO_MANIFEST_DIR"))).ok()
    }
}

const INITRD: &[u8] = b"no initrd: the kernel prints its parameters before it looks";

impl Stand {
    async fn new() -> Self {
        let target = option_env!("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
        let kernel = target.join("quick-installer/linux");
        let kernel = fs_err::read(kernel).unwrap_or_else(|_| panic!("run `make quick-installer`"));
        let cache = std::env::var_os("IMGBUILD_TEST_CACHE").unwrap_or_default();
        Self {
            folder: tempfile::tempdir().unwrap(),
            server: Server::start().await,
            kernel,
            loaders: Loaders::find(Arch::X86_64, Path::new(&cache)),
        }
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.folder.path()).unwrap().join(name)
    }

    /// A spec for a row whose installer is on this stand.
    fn spec(&self, os: &Os) -> String {
        let source = if os.tree.is_some() { self.tree(os) } else { self.medium(os) };
        format!("version = 1\nname = \"row\"\nos = \"{}\"\n{source}", os.id)
    }

    /// A tree with the layout of the row.
    fn tree(&self, os: &Os) -> String {
        let layout = os.tree.as_ref().unwrap();
        let (kernel, initrd) = (filled(&layout.kernel, os), filled(&layout.initrd, os));
        for (path, body) in [(&kernel, &self.kernel[..]), (&initrd, INITRD)] {
            self.server.put(&format!("{}/{path}", os.id), body);
        }
        for sums in &layout.checksums {
            let sums = filled(sums, os);
            let text = if sums.ends_with("treeinfo") {
                self.treeinfo(os, &kernel, &initrd)
            } else {
                let base = sums.rsplit_once('/').map_or("", |it| it.0);
                let mut text = String::new();
                for (path, body) in [(&kernel, &self.kernel[..]), (&initrd, INITRD)] {
                    let Some(below) = path.strip_prefix(base) else { continue };
                    let below = below.trim_start_matches('/');
                    writeln!(text, "{}  ./{below}", hex(body)).unwrap();
                }
                text
            };
            if sums.ends_with("treeinfo") || sums.ends_with("SHA256SUMS") {
                self.server.put(&format!("{}/{sums}", os.id), text);
            }
        }
        format!("[source.tree]\nurl = \"{}\"\n", self.server.url(&os.id))
    }

    fn treeinfo(&self, os: &Os, kernel: &str, initrd: &str) -> String {
        let layout = os.tree.as_ref().unwrap();
        let family = sample(layout.treeinfo_family.as_deref().unwrap_or("Some Linux"));
        let version = sample(layout.treeinfo_version.as_deref().unwrap_or(&os.version));
        format!(
            "[general]\nfamily = {family}\nversion = {version}\narch = x86_64\n\
             [images-x86_64]\nkernel = {kernel}\ninitrd = {initrd}\n\
             [stage2]\nmainimage = images/install.img\n\
             [checksums]\n{kernel} = sha256:{}\n{initrd} = sha256:{}\n",
            hex(&self.kernel),
            hex(INITRD)
        )
    }

    /// A medium with the layout of the row.
    fn medium(&self, os: &Os) -> String {
        let layout = os.iso.as_ref().unwrap_or_else(|| panic!("{} has no medium", os.id));
        let folder = self.path(&os.id);
        let (kernel, initrd) = (filled(&layout.kernel[0], os), filled(&layout.initrd[0], os));
        for (path, body) in [(&kernel, &self.kernel[..]), (&initrd, INITRD)] {
            let path = folder.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, body).unwrap();
        }
        let iso = self.path(&format!("{}.iso", os.id));
        let volume = sample(layout.volume_id.as_deref().unwrap_or("INSTALL"));
        let made = Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-R", "-V"])
            .args([&volume.chars().take(32).collect::<String>(), "-o", iso.as_str()])
            .arg(&folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs_err::remove_dir_all(folder).unwrap();
        format!("[source.iso]\nlocation = \"{iso}\"\n")
    }

    /// Renders, plans, fetches and makes the boot disk; returns it with the
    /// command line that has to arrive.
    async fn boot_disk(&self, os: &Os, catalogue: &Catalogue) -> (Utf8PathBuf, String) {
        let text = self.spec(os);
        let build = build(&text, catalogue, os);
        let loader: Arc<dyn render::TemplateLoader> = Arc::new(Templates);
        let rendered =
            render::answer_file(&build, &loader, &Extras { ssh_public_key: None }).unwrap();
        let findings = answer::check_build(&build, rendered.expose());
        assert!(!findings.is_fatal(), "{}: {findings:?}", os.id);
        let line = installer::kernel_command_line(&build, &installer::context(&build)).unwrap();
        let line = line.text();
        let Target::File(target) = &build.target else { panic!("a file") };
        let plan = plan::qemu::plan(&build, target, &line);
        assert_eq!(plan.stages.len(), 6, "{}", os.id);
        assert!(plan.to_string().contains(&line), "{}", os.id);

        let guard = Guard::new(env!("CARGO_BIN_EXE_imgbuild").into());
        let cancel = CancellationToken::new();
        let mut cx = FetchCx::new(guard.clone(), Teller::default(), cancel.clone()).unwrap();
        cx.keyrings.clear();
        let cache = Cache::new(self.path("cache"));
        let files = fetch(&build.source, os, Arch::X86_64, &cache, &cx)
            .await
            .unwrap_or_else(|it| panic!("{}: {it}", os.id));
        assert_eq!(files.kernel.sha256, hex(&self.kernel), "{}", os.id);
        assert_eq!(files.initrd.sha256, hex(INITRD), "{}", os.id);

        let out = self.path(&format!("{}.img", os.id));
        let disk = BootDisk {
            arch: Arch::X86_64,
            firmware: Firmware::Bios,
            kernel: files.kernel.path.as_std_path(),
            initrd: &[files.initrd.path.as_std_path()],
            command_line: &line,
        };
        assemble(&disk, &self.loaders, out.as_std_path(), &guard, &cancel).await.unwrap();
        fs_err::remove_file(self.path(&format!("{}.iso", os.id))).ok();
        (out, line)
    }
}

fn build(text: &str, catalogue: &Catalogue, os: &Os) -> Build {
    let inputs = Inputs::default();
    match check_text("row.toml", text, Syntax::Toml, &inputs, catalogue, Mode::Build) {
        Ok(checked) => checked.build,
        Err(errors) => panic!("{}: {:?}", os.id, errors.reports()),
    }
}

fn filled(text: &str, os: &Os) -> String {
    text.replace("{arch}", "x86_64")
        .replace("{debarch}", "amd64")
        .replace("{version}", &os.version)
        .replace("{codename}", os.codename.as_deref().unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}

/// Some text that a regular expression matches.
fn sample(pattern: &str) -> String {
    let plain = pattern.replace(['^', '$'], "").replace("\\d", "[0-9]").replace(".*", "");
    let strategy = proptest::string::string_regex(&plain).unwrap();
    strategy.new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

/// Boots a disk until the kernel says what its command line is.
fn command_line_of(disk: &Utf8Path) -> String {
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-machine", "q35", "-cpu", "max", "-accel", "tcg", "-m", "512", "-nodefaults"])
        .args(["-display", "none", "-serial", "stdio", "-no-reboot"])
        .args(["-drive", &format!("if=none,id=disk,format=raw,readonly=on,file={disk}")])
        .args(["-device", "virtio-blk-pci,drive=disk"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = qemu.stdout.take().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = output.read(&mut buffer) {
            if sender.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + Duration::from_mins(2);
    let mut seen = Vec::new();
    let found = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(bytes) = receiver.recv_timeout(left) else { break None };
        seen.extend(bytes);
        let text = String::from_utf8_lossy(&seen);
        let found = text.find("Command line: ").and_then(|at| {
            let line = &text[at + "Command line: ".len()..];
            Some(line[..line.find(['\r', '\n'])?].to_owned())
        });
        if found.is_some() {
            break found;
        }
    };
    qemu.kill().unwrap();
    qemu.wait().unwrap();
    found.unwrap_or_else(|| panic!("no command line: {}", String::from_utf8_lossy(&seen)))
}

async fn boot(stand: &Stand, os: &Os, catalogue: &Catalogue) {
    let (disk, line) = stand.boot_disk(os, catalogue).await;
    let began = Instant::now();
    let seen = command_line_of(&disk);
    fs_err::remove_file(disk).unwrap();
    // The boot loader puts the names of its files around it.
    assert_eq!(seen, format!("BOOT_IMAGE=linux {line} initrd=initrd.img"), "{}", os.id);
    eprintln!("{:<24} {:>5.1} s  {line}", os.id, began.elapsed().as_secs_f32());
}

fn rows(catalogue: &Catalogue) -> Vec<Arc<Os>> {
    let on_pcs = catalogue.systems().into_iter().filter(|it| it.arches.contains(&Arch::X86_64));
    on_pcs.collect()
}

#[tokio::test]
async fn every_row_gets_as_far_as_its_boot_disk() {
    let (stand, catalogue) = (Stand::new().await, Catalogue::built_in());
    let rows = rows(&catalogue);
    assert!(rows.len() > 150);
    for os in &rows {
        let (disk, _) = stand.boot_disk(os, &catalogue).await;
        fs_err::remove_file(disk).unwrap();
    }
}

#[tokio::test]
async fn the_newest_of_each_family_and_installer_boots_with_its_command_line() {
    let (stand, catalogue) = (Stand::new().await, Catalogue::built_in());
    let mut seen = BTreeSet::new();
    for os in rows(&catalogue) {
        if seen.insert((os.family.clone(), format!("{:?}", os.installer))) {
            boot(&stand, &os, &catalogue).await;
        }
    }
    assert!(seen.len() >= 10, "{seen:?}");
}

#[tokio::test]
#[ignore = "some minutes: `make test-rows`"]
async fn every_row_boots_with_its_command_line() {
    let (stand, catalogue) = (Stand::new().await, Catalogue::built_in());
    for os in rows(&catalogue) {
        boot(&stand, &os, &catalogue).await;
    }
}
