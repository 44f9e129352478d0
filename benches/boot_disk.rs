//! Boot disk assembly beside `cp` of the same bytes, both synced, in turn.
//!
//! `cargo bench --bench boot_disk [-- FOLDER]` works in `FOLDER`, or in the
//! folder for temporary files, and prints the medians and their ratio.

use std::{
    error::Error,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use imgbuild::{
    CancellationToken,
    guard::Guard,
    media::{
        boot_disk::{BootDisk, assemble},
        loaders::Loaders,
    },
    model::{Arch, Firmware},
};

const ROUNDS: usize = 9;
/// Like those of debian-installer, and like those of Anaconda.
const SIZES: [(&str, usize, usize); 2] =
    [("debian-installer", 12 << 20, 40 << 20), ("anaconda", 14 << 20, 190 << 20)];

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds an argument of its own.
    let folder = std::env::args().skip(1).find(|it| !it.starts_with('-'));
    let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder)?;
    let loaders = Loaders::find(Arch::X86_64, folder.path());
    let guard = Guard::new(env!("CARGO_BIN_EXE_imgbuild").into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = std::io::stdout();
    for (name, kernel_size, initrd_size) in SIZES {
        let kernel = filled(folder.path(), "linux", kernel_size)?;
        let initrd = filled(folder.path(), "initrd", initrd_size)?;
        let disk = BootDisk {
            arch: Arch::X86_64,
            firmware: Firmware::Bios,
            kernel: &kernel,
            initrd: &[&initrd],
            command_line: "console=ttyS0",
        };
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            let to = folder.path().join("disk");
            let cancel = CancellationToken::new();
            let start = Instant::now();
            runtime.block_on(assemble(&disk, &loaders, &to, &guard, &cancel))?;
            ours.push(start.elapsed());
            fs_err::remove_file(&to)?;

            let to = folder.path().join("copy");
            fs_err::create_dir(&to)?;
            let start = Instant::now();
            run(Command::new("cp").arg(&kernel).arg(&initrd).arg(&to))?;
            run(Command::new("sync").arg(to.join("linux")).arg(to.join("initrd")))?;
            theirs.push(start.elapsed());
            fs_err::remove_dir_all(&to)?;
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        writeln!(out, "{name}: assemble {ours:.3?}, cp and sync {theirs:.3?}, ratio {ratio:.2}")?;
    }
    Ok(())
}

/// A file of bytes that are neither zeros nor the same twice.
fn filled(folder: &Path, name: &str, size: usize) -> std::io::Result<PathBuf> {
    let path = folder.join(name);
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut bytes = b"MZ".to_vec();
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    fs_err::write(&path, &bytes)?;
    fs_err::File::open(&path)?.sync_all()?;
    Ok(path)
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    if command.status()?.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
