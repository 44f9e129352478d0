//! Logs of a machine on disk, its console's and its system's: as they came, but for secrets.

use std::io::{self, Write as _};

use camino::{Utf8Path, Utf8PathBuf};

use crate::redact::Redactor;

/// Bytes without a line break that are held back at most.
const LONGEST_LINE: usize = 64 << 10;

/// A console's log.
pub(super) struct ConsoleLog {
    file: fs_err::File,
    redactor: Redactor,
    /// The beginning of a line that may become a secret.
    held: Vec<u8>,
}

impl ConsoleLog {
    /// Begins a log at `path`, for its owner only.
    pub(super) fn create(path: &Utf8Path, redactor: Redactor) -> io::Result<Self> {
        use fs_err::os::unix::fs::OpenOptionsExt as _;
        let file = fs_err::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self { file, redactor, held: Vec::new() })
    }

    /// Writes what came.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.redactor.is_empty() {
            return self.file.write_all(bytes);
        }
        self.held.extend_from_slice(bytes);
        let end = match self.held.iter().rposition(|it| *it == b'\n') {
            Some(at) => at + 1,
            None if self.held.len() > LONGEST_LINE => {
                self.held.len().saturating_sub(self.redactor.longest())
            }
            None => return Ok(()),
        };
        let rest = self.held.split_off(end);
        let whole = std::mem::replace(&mut self.held, rest);
        self.masked(&whole)
    }

    /// Writes the rest.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.held);
        self.masked(&rest)?;
        self.file.flush()
    }

    fn masked(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Ok(text) = std::str::from_utf8(bytes) {
            self.file.write_all(self.redactor.mask(text).as_bytes())
        } else {
            let text = String::from_utf8_lossy(bytes);
            if self.redactor.is_in(&text) {
                return self.file.write_all(self.redactor.mask(&text).as_bytes());
            }
            self.file.write_all(bytes)
        }
    }
}

/// What was held back is not lost, however the machine's watch ends.
impl Drop for ConsoleLog {
    fn drop(&mut self) {
        _ = self.finish();
    }
}

/// Where an installer's own log is kept, below a run's folder.
pub const SYSTEM_LOG: &str = "installer/syslog";

/// The log of an installer that sends it. There is no file until it does.
pub(super) struct SystemLog {
    path: Utf8PathBuf,
    redactor: Redactor,
    log: Option<ConsoleLog>,
}

impl SystemLog {
    /// A log that will be at `path`.
    pub(super) fn new(path: Utf8PathBuf, redactor: &Redactor) -> Self {
        Self { path, redactor: redactor.clone(), log: None }
    }

    /// Writes a message.
    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        let log = self.log()?;
        log.write(line.as_bytes())?;
        log.write(b"\n")
    }

    /// Writes a part of it, which may begin and end anywhere.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.log()?.write(bytes)
    }

    fn log(&mut self) -> io::Result<&mut ConsoleLog> {
        match &mut self.log {
            Some(log) => Ok(log),
            none => {
                if let Some(folder) = self.path.parent() {
                    fs_err::create_dir_all(folder)?;
                }
                Ok(none.insert(ConsoleLog::create(&self.path, self.redactor.clone())?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_however_it_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::try_from(folder.path().join("log")).unwrap();
        let text = b"\x1b[0mpassword hunter22 set\r\nnext hunter22";
        for step in 1..text.len() {
            let redactor = Redactor::default();
            redactor.add("pw", "hunter22");
            let mut log = ConsoleLog::create(&path, redactor).unwrap();
            for chunk in text.chunks(step) {
                log.write(chunk).unwrap();
            }
            log.finish().unwrap();
            let stored = fs_err::read_to_string(&path).unwrap();
            assert_eq!(
                stored, "\x1b[0mpassword <sensitive:pw> set\r\nnext <sensitive:pw>",
                "in steps of {step}"
            );
        }
    }
}
