//! A whole `imgbuild build` beside the same installer under a bare QEMU command
//! line, in turn: the same kernel, initrd, boot parameters, answer file and disk.
//!
//! `make quick-installer` comes first. `cargo bench --bench overhead [-- N]`
//! installs N "packages" of the quick installer (2,000 if left out), and prints the
//! medians, their ratio and imgbuild's own peak memory. imgbuild's time includes
//! everything but the proof by a boot, which the bare run does not do either.

use std::{
    error::Error,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use imgbuild::{
    CancellationToken,
    guard::Guard,
    media::{
        boot_disk::{BootDisk, assemble},
        config_drive::{self, ConfigDrive},
        loaders::Loaders,
    },
    model::{Arch, Firmware},
};

const ROUNDS: usize = 3;
const DISK: u64 = 1 << 30;
/// As `tests/quick-installer/os.toml` has them.
const PARAMETERS: &str = "tsc=reliable cryptomgr.notests \
    initcall_blacklist=crypto_kdf108_init,init_kprobe_trace console=ttyS0,115200n8 answer=config-drive";

fn main() -> Result<(), Box<dyn Error>> {
    let packages = std::env::args().skip(1).find_map(|it| it.parse().ok()).unwrap_or(2000_u32);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var("CARGO_TARGET_DIR").map_or_else(|_| root.join("target"), Into::into);
    let fixture: PathBuf = target.join("quick-installer");
    let answers = format!("#imgbuild-quick\nhostname = quickhost\npackages = {packages}\n");
    let folder = tempfile::tempdir()?;
    write_spec(folder.path(), &fixture, &answers)?;
    let (mut ours, mut theirs, mut memory) = (vec![], vec![], 0);
    let mut out = std::io::stdout();
    for round in 0..ROUNDS {
        let (took, peak) = build(folder.path(), root)?;
        ours.push(took);
        memory = memory.max(peak);
        let took = bare(folder.path(), &fixture, &answers)?;
        theirs.push(took);
        if let (Some(ours), Some(theirs)) = (ours.last(), theirs.last()) {
            writeln!(out, "round {round}: imgbuild {ours:.2?}, bare QEMU {theirs:.2?}")?;
        }
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    writeln!(out, "imgbuild {ours:.2?}, bare QEMU {theirs:.2?}, ratio {ratio:.3}")?;
    writeln!(out, "peak memory of imgbuild: {} MiB", memory / 1024)?;
    Ok(())
}

fn write_spec(folder: &Path, fixture: &Path, answers: &str) -> Result<(), Box<dyn Error>> {
    let fixture = fixture.display();
    let spec = format!(
        "version = 1\nname = \"quick\"\nos = \"quick\"\n\
         [source.kernel]\nkernel = \"{fixture}/linux\"\ninitrd = \"{fixture}/initrd.gz\"\n\
         [answer]\ntext = '''\n{answers}'''\n\
         [install]\ndisk = \"1 GiB\"\ncpus = 1\ndelivery = \"config-drive\"\n\
         [platform.qemu]\naccelerator = \"tcg\"\n[verify]\nskip = true\n"
    );
    fs_err::write(folder.join("quick.toml"), spec)?;
    Ok(())
}

/// One build: its time, and the most memory that imgbuild had, in KiB.
fn build(folder: &Path, root: &Path) -> Result<(Duration, u64), Box<dyn Error>> {
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_imgbuild"))
        .args(["build", "quick.toml", "--force", "--format", "plain", "--work-dir", "work"])
        .current_dir(folder)
        .env("IMGBUILD_CACHE_DIR", folder.join("cache"))
        .env("IMGBUILD_OS_DIR", root.join("tests/quick-installer"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs_err::File::create(folder.join("build.log"))?.into_parts().0)
        .spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        peak = peak.max(high_water(&status));
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let took = start.elapsed();
    if !ended.success() {
        return Err(fs_err::read_to_string(folder.join("build.log"))?.into());
    }
    Ok((took, peak))
}

/// `VmHWM` of a process that may have ended.
fn high_water(status: &str) -> u64 {
    let text = fs_err::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    line.and_then(|it| it.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// One run under QEMU alone. Making its disks is not part of its time.
fn bare(folder: &Path, fixture: &Path, answers: &str) -> Result<Duration, Box<dyn Error>> {
    let (disk, drive) = (folder.join("bare.img"), folder.join("config.img"));
    let loaders = Loaders::find(Arch::X86_64, folder);
    let guard = Guard::new(env!("CARGO_BIN_EXE_imgbuild").into());
    let cancel = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wanted = BootDisk {
        arch: Arch::X86_64,
        firmware: Firmware::Bios,
        kernel: &fixture.join("linux"),
        initrd: &[&fixture.join("initrd.gz")],
        command_line: PARAMETERS,
    };
    runtime.block_on(assemble(&wanted, &loaders, &disk, &guard, &cancel))?;
    fs_err::OpenOptions::new().write(true).open(&disk)?.set_len(DISK)?;
    let none = serde_json::json!({});
    let user_data = answers.to_owned().into();
    let data = ConfigDrive {
        user_data: &user_data,
        meta_data: &none,
        ec2_meta_data: &none,
        network_data: None,
    };
    config_drive::write(&data, &drive, &cancel)?;
    let start = Instant::now();
    let ended = Command::new("qemu-system-x86_64")
        .args(["-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"])
        .args(["-smp", "1", "-m", "512", "-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-device", "virtio-rng-pci", "-netdev", "user,id=card"])
        .args(["-device", "virtio-net-pci,netdev=card,romfile="])
        .arg("-serial")
        .arg(format!("file:{}", folder.join("console.log").display()))
        .arg("-drive")
        .arg(format!("if=virtio,format=raw,cache=unsafe,file={}", disk.display()))
        .arg("-drive")
        .arg(format!("if=virtio,format=raw,readonly=on,file={}", drive.display()))
        .stdin(Stdio::null())
        .status()?;
    let took = start.elapsed();
    let console = fs_err::read(folder.join("console.log"))?;
    if !ended.success() || !String::from_utf8_lossy(&console).contains("IMGBUILD-DONE") {
        return Err(String::from_utf8_lossy(&console).into_owned().into());
    }
    fs_err::remove_file(&disk)?;
    fs_err::remove_file(&drive)?;
    Ok(took)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
