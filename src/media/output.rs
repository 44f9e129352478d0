//! A file that appears under its name only once it is complete.
//!
//! Until then it is a hidden file beside it with mode 0600, which goes away
//! when it is dropped.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempDir};

use super::MediaError;
use crate::CancellationToken;

/// Bytes that are copied or hashed at a time: large enough for full disk speed,
/// small beside imgbuild's memory limit.
pub(super) const CHUNK: usize = 1 << 20;

/// A file that is being made.
#[derive(Debug)]
pub(super) struct Output {
    file: NamedTempFile,
    path: PathBuf,
}

/// What became of an [`Output`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complete {
    /// The file's length in bytes.
    pub(super) size: u64,
    /// Bytes it takes on the disk; holes take none.
    pub(super) allocated: u64,
}

impl Output {
    /// Starts a file that will be called `path`.
    pub(super) fn create(path: &Path) -> Result<Self, MediaError> {
        let file = part().tempfile_in(folder_of(path)).map_err(|it| MediaError::write(path, it))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// The file to write to.
    pub(super) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Where it is until it is complete, for programs that write to it.
    pub(super) fn temporary_path(&self) -> &Path {
        self.file.path()
    }

    /// A folder beside it for what a program leaves behind, which goes away when
    /// it is dropped.
    pub(super) fn folder_beside(&self) -> Result<TempDir, MediaError> {
        part().tempdir_in(folder_of(&self.path)).map_err(|it| self.error(it))
    }

    /// A failed write to it.
    pub(super) fn error(&self, source: std::io::Error) -> MediaError {
        MediaError::write(&self.path, source)
    }

    /// Syncs it and gives it its name.
    pub(super) fn complete(self, cancel: &CancellationToken) -> Result<Complete, MediaError> {
        let failed = |source| MediaError::write(&self.path, source);
        self.file.as_file().sync_data().map_err(failed)?;
        if cancel.is_cancelled() {
            return Err(MediaError::Cancelled);
        }
        let metadata = self.file.as_file().metadata().map_err(failed)?;
        let path = self.path.clone();
        self.file.persist(&self.path).map_err(|it| MediaError::write(path, it.error))?;
        Ok(Complete { size: metadata.len(), allocated: metadata.blocks() * 512 })
    }
}

/// How unfinished files are called.
fn part() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".imgbuild-").suffix(".part");
    builder
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(it) if it != Path::new("") => it,
        _ => Path::new("."),
    }
}

/// The SHA-256 digest of a whole file, in hex.
pub(super) fn sha256(path: &Path, cancel: &CancellationToken) -> Result<String, MediaError> {
    let mut file = fs_err::File::open(path).map_err(|it| MediaError::read(path, it))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        if cancel.is_cancelled() {
            return Err(MediaError::Cancelled);
        }
        match file.read(&mut buffer).map_err(|it| MediaError::read(path, it))? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(base16ct::lower::encode_string(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_appears_complete_and_private_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut dropped = Output::create(&path).unwrap();
        dropped.file.write_all(b"half").unwrap();
        drop(dropped);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);

        let mut kept = Output::create(&path).unwrap();
        kept.file.write_all(b"abc").unwrap();
        let cancel = CancellationToken::new();
        let complete = kept.complete(&cancel).unwrap();
        assert_eq!(
            sha256(&path, &cancel).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(complete.size, 3);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_interrupted_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::create(&folder.path().join("out")).unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(matches!(output.complete(&cancel), Err(MediaError::Cancelled)));
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
