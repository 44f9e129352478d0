//! Standard output, which remembers what it could not say: what a command prints is
//! often its result, and a full disk must not look like success.

use std::{
    io::{self, Write},
    sync::OnceLock,
};

/// The first error of a write, from whichever command it was.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Standard output. Writing to it never fails; [`lost`] tells in the end.
#[derive(Debug)]
pub(crate) struct Output(io::Stdout);

/// Standard output.
pub(crate) fn stdout() -> Output {
    Output(io::stdout())
}

/// Why something could not be said; nothing where all was, or where the reader
/// wanted no more, as `head` does.
pub(crate) fn lost() -> Option<io::Error> {
    _ = stdout().flush();
    let lost = LOST.get().filter(|it| it.kind() != io::ErrorKind::BrokenPipe)?;
    Some(lost.raw_os_error().map_or_else(|| lost.kind().into(), io::Error::from_raw_os_error))
}

fn remember(error: io::Error) {
    // Only the first counts: the others follow from it.
    _ = LOST.set(error);
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                remember(error);
                Ok(bytes.len())
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Err(error) = self.0.flush() {
            remember(error);
        }
        Ok(())
    }
}
