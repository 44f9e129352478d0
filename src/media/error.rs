//! What can go wrong while a disk or a volume is made.

use std::{io, path::PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use crate::model::{Arch, Firmware};

/// Why a disk or a volume could not be made.
#[derive(Debug, Error, Diagnostic)]
pub enum MediaError {
    /// An input could not be read.
    #[error("cannot read `{}`", path.display())]
    #[diagnostic(code(imgbuild::media::read))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The output could not be written.
    #[error("cannot write `{}`", path.display())]
    #[diagnostic(code(imgbuild::media::write))]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file system that the output is on is full.
    #[error("no space left for `{}`", path.display())]
    #[diagnostic(
        code(imgbuild::media::no_space),
        help("free some space there, or name a work folder on another file system")
    )]
    NoSpace {
        /// The output.
        path: PathBuf,
    },
    /// An input changed while it was read.
    #[error("`{}` had {expected} bytes, then {found}", path.display())]
    #[diagnostic(
        code(imgbuild::media::changed),
        help("something else writes to this file; build again once that is done")
    )]
    Changed {
        /// Which.
        path: PathBuf,
        /// Bytes at first.
        expected: u64,
        /// Bytes that could be read.
        found: u64,
    },
    /// A file is larger than FAT can hold.
    #[error("`{name}` has {size} bytes, more than a file on FAT can have")]
    #[diagnostic(
        code(imgbuild::media::too_large),
        help("use an installer with a smaller initrd, or `boot = \"direct\"`")
    )]
    TooLarge {
        /// Its name in the volume.
        name: String,
        /// Its size in bytes.
        size: u64,
    },
    /// No loader for this firmware is installed.
    #[error("no boot loader for {arch} under {} was found", firmware_name(*firmware))]
    #[diagnostic(code(imgbuild::media::no_loader), help("{remedy}"))]
    NoLoader {
        /// The guest's architecture.
        arch: Arch,
        /// Its firmware.
        firmware: Firmware,
        /// What to install, by distribution.
        remedy: String,
    },
    /// The kernel has no EFI entry point.
    #[error("the kernel `{}` cannot be started by UEFI", path.display())]
    #[diagnostic(
        code(imgbuild::media::no_efi_stub),
        help("kernels before Linux 3.3 have no EFI stub: use `firmware = \"bios\"`")
    )]
    NoEfiStub {
        /// The kernel.
        path: PathBuf,
    },
    /// The kernel parameters do not fit.
    #[error("the kernel parameters have {length} bytes, and {limit} is the most that arrives")]
    #[diagnostic(
        code(imgbuild::media::command_line_too_long),
        help("move settings from the kernel parameters to the answer file")
    )]
    CommandLineTooLong {
        /// Bytes there are.
        length: usize,
        /// Bytes there may be.
        limit: usize,
    },
    /// The kernel parameters cannot be written to a loader's configuration.
    #[error("the kernel parameters hold a line break or another control character")]
    #[diagnostic(
        code(imgbuild::media::command_line_control),
        help("kernel parameters are one line; put longer texts into the answer file")
    )]
    CommandLineControl,
    /// GRUB, the only loader at hand, would change the kernel parameters.
    #[error("quotes and backslashes in the kernel parameters do not get through GRUB")]
    #[diagnostic(
        code(imgbuild::media::command_line_quotes),
        help("install systemd-boot, which leaves them as they are:\n{remedy}")
    )]
    CommandLineQuotes {
        /// What to install, by distribution.
        remedy: String,
    },
    /// A label that FAT cannot hold.
    #[error("`{label}` cannot be a volume's label")]
    #[diagnostic(
        code(imgbuild::media::label),
        help("a label has 1 to 11 letters, digits, `-`, `_` or blanks")
    )]
    Label {
        /// What was asked for.
        label: String,
    },
    /// A file name that cannot be used.
    #[error("`{name}` cannot be a file's name here")]
    #[diagnostic(
        code(imgbuild::media::file_name),
        help(
            "use a relative path of plain names, without `..`, blanks at the end or `\\ : * ? \" < > |`"
        )
    )]
    FileName {
        /// What was asked for.
        name: String,
    },
    /// A program is not installed.
    #[error("the program `{program}` was not found")]
    #[diagnostic(code(imgbuild::media::no_program), help("{remedy}"))]
    NoProgram {
        /// Its name.
        program: String,
        /// What to install, by distribution.
        remedy: String,
    },
    /// A program failed.
    #[error("`{program}` failed ({status}): {message}")]
    #[diagnostic(code(imgbuild::media::program_failed))]
    ProgramFailed {
        /// Its name.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        message: String,
    },
    /// A program said something that could not be understood.
    #[error("`{program}` answered something unexpected")]
    #[diagnostic(
        code(imgbuild::media::program_output),
        help("its version may be too old; `imgbuild doctor` says which one is needed")
    )]
    ProgramOutput {
        /// Its name.
        program: String,
        /// What was wrong.
        source: serde_json::Error,
    },
    /// A program did not end.
    #[error("`{program}` showed no progress for {seconds} s")]
    #[diagnostic(
        code(imgbuild::media::program_hangs),
        help("look for a disk or network file system that does not answer")
    )]
    ProgramHangs {
        /// Its name.
        program: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The user interrupted.
    #[error("interrupted")]
    #[diagnostic(code(imgbuild::media::cancelled))]
    Cancelled,
}

impl MediaError {
    /// A failed write, or a full disk where that is the reason.
    pub(super) fn write(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Write { path, source },
        }
    }

    /// A failed read.
    pub(super) fn read(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Read { path: path.into(), source }
    }
}

const fn firmware_name(firmware: Firmware) -> &'static str {
    match firmware {
        Firmware::Bios => "BIOS",
        Firmware::Uefi => "UEFI",
    }
}
