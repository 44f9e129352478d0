//! What a kernel's own header says of it.
//!
//! For x86: Linux, "The Linux/x86 Boot Protocol".

use std::{io::Read as _, path::Path};

use super::super::MediaError;
use crate::model::Arch;

/// What has to be known of a kernel before it can be put on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Whether UEFI can start it.
    pub(super) has_efi_stub: bool,
    /// Bytes of parameters that it reads.
    pub(super) longest_command_line: usize,
}

/// Enough for the header of every kernel.
const HEADER: u64 = 1024;
/// `COMMAND_LINE_SIZE` of both architectures, without the final zero.
const LONGEST: usize = 2047;
/// What kernels read before protocol 2.06 told the length.
const LONGEST_BEFORE_2_06: usize = 255;
/// Places of the x86 header's magic number, protocol version and length of the
/// parameters.
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const COMMAND_LINE_SIZE: usize = 0x238;

impl Kernel {
    /// Reads the header of the kernel at `path`.
    pub(super) fn read(path: &Path, arch: Arch) -> Result<Self, MediaError> {
        let file = fs_err::File::open(path).map_err(|it| MediaError::read(path, it))?;
        let mut header = vec![];
        file.take(HEADER).read_to_end(&mut header).map_err(|it| MediaError::read(path, it))?;
        Ok(Self::of(&header, arch))
    }

    fn of(header: &[u8], arch: Arch) -> Self {
        let is_x86_header = header.get(MAGIC..MAGIC + 4) == Some(b"HdrS");
        let longest_command_line = match arch {
            Arch::X86_64 if is_x86_header => x86_command_line(header),
            _ => LONGEST,
        };
        Self { has_efi_stub: header.starts_with(b"MZ"), longest_command_line }
    }
}

fn x86_command_line(header: &[u8]) -> usize {
    let version = header.get(VERSION..VERSION + 2).map(|it| u16::from_le_bytes([it[0], it[1]]));
    let size = header.get(COMMAND_LINE_SIZE..COMMAND_LINE_SIZE + 4);
    match (version, size) {
        (Some(0x206..), Some(it)) => {
            let size = u32::from_le_bytes([it[0], it[1], it[2], it[3]]);
            usize::try_from(size).map_or(LONGEST, |it| it.min(LONGEST))
        }
        _ => LONGEST_BEFORE_2_06,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x86(version: u16, size: u32) -> Vec<u8> {
        let mut header = vec![0; 1024];
        header[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        header[VERSION..VERSION + 2].copy_from_slice(&version.to_le_bytes());
        header[COMMAND_LINE_SIZE..COMMAND_LINE_SIZE + 4].copy_from_slice(&size.to_le_bytes());
        header
    }

    #[test]
    fn the_header_says_how_long_parameters_may_be() {
        for (version, size, longest) in
            [(0x020F, 2047, 2047), (0x0206, 511, 511), (0x0204, 0, 255), (0x0206, u32::MAX, 2047)]
        {
            let it = Kernel::of(&x86(version, size), Arch::X86_64);
            assert_eq!(it.longest_command_line, longest, "{version:x}");
            assert!(!it.has_efi_stub);
        }
    }

    #[test]
    fn an_efi_program_is_recognised_and_a_short_file_read() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            assert!(Kernel::of(b"MZ", arch).has_efi_stub);
            assert!(!Kernel::of(b"\x1f\x8b", arch).has_efi_stub);
            assert_eq!(Kernel::of(b"", arch).longest_command_line, LONGEST);
        }
    }
}
