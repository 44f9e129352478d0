//! The part of a disk file that holds a volume, as `fatfs` wants to see it.
//!
//! `fatfs` touches its tables for every cluster, two to four bytes at a time, so
//! they are kept in memory until the end, and what follows them is gathered into
//! large writes. Large files are not written through `fatfs` at all: it reserves
//! clusters for them, which on a fresh volume follow each other, and the window
//! tells where. Where nothing is written the disk stays sparse.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt as _,
    rc::Rc,
};

use super::{super::output::CHUNK, Layout};

/// A page of the host's cache and a block of its file systems.
const BLOCK: usize = 4096;

/// A volume within a disk file.
pub(super) struct Window<'f> {
    disk: &'f File,
    /// Where in the disk the volume starts, and its length.
    start: u64,
    length: u64,
    position: u64,
    /// The volume's first bytes.
    head: Vec<u8>,
    /// Bytes that are still to be written, and where in the volume.
    pending: Vec<u8>,
    pending_at: u64,
    reservation: Rc<Cell<Reservation>>,
}

/// Space for a file that is not written yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reservation {
    /// Everything is written.
    #[default]
    None,
    /// What is written from this place of the volume on is taken as reserved.
    From(u64),
    /// This much is reserved.
    Range {
        /// Its first byte.
        start: u64,
        /// The byte after it.
        end: u64,
    },
    /// The clusters did not follow each other.
    Broken,
}

impl<'f> Window<'f> {
    /// The volume that `layout` describes, all zeros.
    pub(super) fn new(disk: &'f File, layout: &Layout) -> Self {
        Self {
            disk,
            start: layout.lead(),
            length: layout.disk_size() - layout.lead(),
            position: 0,
            head: vec![0; usize::try_from(layout.head_size()).unwrap_or(usize::MAX)],
            pending: Vec::with_capacity(CHUNK),
            pending_at: 0,
            reservation: Rc::default(),
        }
    }

    /// Where a reservation is asked for and told.
    pub(super) fn reservation(&self) -> Rc<Cell<Reservation>> {
        Rc::clone(&self.reservation)
    }

    /// Goes back to the first byte.
    pub(super) fn rewind_to_start(&mut self) {
        self.position = 0;
    }

    /// Writes all that is still in memory.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.write_pending()?;
        for (i, block) in self.head.chunks(BLOCK).enumerate() {
            if block.iter().any(|it| *it != 0) {
                self.disk.write_all_at(block, self.start + (i * BLOCK) as u64)?;
            }
        }
        Ok(())
    }

    /// Reads at a place of the volume.
    pub(super) fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.position = position;
        self.read_exact(buffer)
    }

    /// Writes at a place of the volume.
    pub(super) fn write_at(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.position = position;
        self.write_all(bytes)
    }

    fn write_pending(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.disk.write_all_at(&self.pending, self.start + self.pending_at)?;
        }
        self.pending.clear();
        Ok(())
    }

    /// Reserves instead of writing, where that was asked for.
    fn reserve(&self, n: usize) -> Option<usize> {
        let (start, at) = match self.reservation.get() {
            Reservation::From(start) if self.position >= start => (self.position, self.position),
            Reservation::Range { start, end } if self.position >= start => (start, end),
            _ => return None,
        };
        let left = usize::try_from(self.length - self.position).unwrap_or(usize::MAX);
        let n = n.min(left);
        self.reservation.set(if at == self.position {
            Reservation::Range { start, end: at + n as u64 }
        } else {
            Reservation::Broken
        });
        Some(n)
    }

    /// The part of the head that starts at the position and has at most `most` bytes.
    fn in_head(&self, most: usize) -> Option<std::ops::Range<usize>> {
        let from = usize::try_from(self.position).ok().filter(|it| *it < self.head.len())?;
        Some(from..self.head.len().min(from + most))
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = if let Some(range) = self.in_head(buffer.len()) {
            buffer[..range.len()].copy_from_slice(&self.head[range.clone()]);
            range.len()
        } else {
            self.write_pending()?;
            let left = usize::try_from(self.length - self.position).unwrap_or(usize::MAX);
            let most = left.min(buffer.len());
            self.disk.read_at(&mut buffer[..most], self.start + self.position)?
        };
        self.position += n as u64;
        Ok(n)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = if let Some(n) = self.reserve(bytes.len()) {
            n
        } else if let Some(range) = self.in_head(bytes.len()) {
            let n = range.len();
            self.head[range].copy_from_slice(&bytes[..n]);
            n
        } else {
            let left = usize::try_from(self.length - self.position).unwrap_or(usize::MAX);
            if left == 0 {
                return Ok(0);
            }
            if self.pending_at + self.pending.len() as u64 != self.position
                || self.pending.len() >= CHUNK
            {
                self.write_pending()?;
            }
            if self.pending.is_empty() {
                self.pending_at = self.position;
            }
            let n = bytes.len().min(left).min(CHUNK - self.pending.len());
            self.pending.extend_from_slice(&bytes[..n]);
            n
        };
        self.position += n as u64;
        Ok(n)
    }

    /// Does nothing: `fatfs` calls it after every file. See [`Window::finish`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(it) => Some(it),
            SeekFrom::End(it) => self.length.checked_add_signed(it),
            SeekFrom::Current(it) => self.position.checked_add_signed(it),
        };
        self.position = position
            .filter(|it| *it <= self.length)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "outside of the volume"))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read_and_stored(
            writes in prop::collection::vec((0u64..4_000_000, 1usize..200_000, 1u8..), 1..20),
        ) {
            let disk = tempfile::tempfile().unwrap();
            let layout = Layout::of(vec![], 1 << 20, 0);
            disk.set_len(layout.disk_size()).unwrap();
            let size = usize::try_from(layout.disk_size() - layout.lead()).unwrap();
            let mut expected = vec![0; size];
            let mut window = Window::new(&disk, &layout);
            for (at, n, byte) in writes {
                let at = at % size as u64;
                let from = usize::try_from(at).unwrap();
                let n = n.min(size - from);
                window.write_at(at, &vec![byte; n]).unwrap();
                expected[from..from + n].fill(byte);
            }
            let mut read = vec![0; size];
            window.read_at(0, &mut read).unwrap();
            prop_assert!(read == expected);
            window.finish().unwrap();
            disk.read_exact_at(&mut read, layout.lead()).unwrap();
            prop_assert!(read == expected);
        }
    }

    #[test]
    fn zeros_take_no_space() {
        let disk = tempfile::tempfile().unwrap();
        let layout = Layout::of(vec![3 << 30], 0, 0);
        disk.set_len(layout.disk_size()).unwrap();
        let mut window = Window::new(&disk, &layout);
        window.write_at(0, b"x").unwrap();
        window.finish().unwrap();
        assert!(disk.metadata().unwrap().blocks() * 512 <= 64 << 10);
    }

    #[test]
    fn nothing_is_written_behind_the_end() {
        let disk = tempfile::tempfile().unwrap();
        let layout = Layout::of(vec![], 0, 0);
        disk.set_len(layout.disk_size()).unwrap();
        let mut window = Window::new(&disk, &layout);
        assert!(window.write_at(layout.disk_size() - 1, b"ab").is_err());
        assert!(window.seek(SeekFrom::End(1)).is_err());
    }
}
