//! Folders of an ISO image: records, and the names that extensions give them.

use crate::source::SourceError;

use super::{Iso, SECTOR, SECTOR_LENGTH};

/// A file or folder, as its record in a folder has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Record {
    /// Where its bytes are, in order.
    pub(in crate::source) extents: Vec<Extent>,
    pub(super) is_folder: bool,
    /// Its bytes have gaps, which nothing in use has.
    pub(super) is_interleaved: bool,
    /// Where it leads, where it is a symbolic link.
    pub(super) link: Option<String>,
}

/// A run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Extent {
    sector: u32,
    pub(in crate::source) length: u32,
}

/// How names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// `VMLINUZ.;1`
    Plain,
    /// In UCS-2.
    Joliet,
    /// As on Unix, after `skip` bytes of each record's system use area.
    RockRidge { skip: u8 },
}

/// What the system use area of a record says.
#[derive(Default)]
struct Extension {
    name: Vec<u8>,
    link: Vec<String>,
    link_part: Vec<u8>,
    is_link: bool,
    child: Option<u32>,
}

/// A folder with more entries than this is no installer's.
const LARGEST_FOLDER: u64 = 16 << 20;
/// A file in more parts than this would have 4 TiB.
const MOST_EXTENTS: usize = 1024;
/// Areas that the extensions of one record continue in.
const MOST_AREAS: usize = 16;

/// More of a file follows in the next record.
const MORE: u8 = 0x80;
const FOLDER: u8 = 0x02;
const ASSOCIATED: u8 = 0x04;

impl Extent {
    pub(in crate::source) fn offset(self) -> u64 {
        u64::from(self.sector) * SECTOR
    }
}

impl Record {
    /// Reads a record; `None` where it is not one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let flags = *bytes.get(25)?;
        let attributes = u32::from(*bytes.get(1)?);
        let extent = Extent { sector: number(2)?.checked_add(attributes)?, length: number(10)? };
        Some(Self {
            extents: vec![extent],
            is_folder: flags & FOLDER != 0,
            is_interleaved: *bytes.get(26)? != 0 || *bytes.get(27)? != 0,
            link: None,
        })
    }

    /// Its length in bytes.
    pub(in crate::source) fn size(&self) -> u64 {
        self.extents.iter().map(|it| u64::from(it.length)).sum()
    }
}

impl Iso {
    /// Whether names are written as Rock Ridge has them, and how many bytes are
    /// to be skipped before.
    pub(super) async fn rock_ridge(&mut self, root: &Record) -> Result<Option<u8>, SourceError> {
        let Some(extent) = root.extents.first().copied() else { return Ok(None) };
        let Some(sector) = self.sector(u64::from(extent.sector)).await? else { return Ok(None) };
        let Some((record, _)) = split_record(&sector) else { return Ok(None) };
        // The "SP" entry of SUSP is always the first, and its bytes are known.
        Ok(match system_use(record) {
            [b'S', b'P', 7, _, 0xBE, 0xEF, skip, ..] => Some(*skip),
            _ => None,
        })
    }

    /// The entry of this name in a folder: of that very name, or else of one
    /// that differs in case only.
    pub(super) async fn look_up(
        &mut self,
        folder: &Record,
        naming: Naming,
        name: &str,
    ) -> Result<Option<Record>, SourceError> {
        let Some(extent) = folder.extents.first().copied() else { return Ok(None) };
        let length = u64::from(extent.length);
        if length > LARGEST_FOLDER {
            return Err(self.damaged(format!("a folder of {length} bytes")));
        }
        let mut similar = None;
        // A file in several extents: its name so far, and what belongs to it.
        let mut unfinished: Option<(Vec<u8>, Record)> = None;
        for n in 0..length.div_ceil(SECTOR) {
            let Some(sector) = self.sector(u64::from(extent.sector) + n).await? else {
                return Err(
                    self.damaged("a folder lies beyond its end; is it complete?".to_owned())
                );
            };
            let mut rest = &sector[..];
            while let Some((bytes, after)) = split_record(rest) {
                rest = after;
                let identifier = identifier(bytes);
                let flags = bytes[25];
                if matches!(identifier, [0 | 1]) || flags & ASSOCIATED != 0 {
                    continue;
                }
                let Some(mut record) = Record::parse(bytes) else { continue };
                match unfinished.take() {
                    Some((same, mut begun)) if same == identifier => {
                        if begun.extents.len() >= MOST_EXTENTS {
                            return Err(self.damaged("a file of too many extents".to_owned()));
                        }
                        begun.extents.append(&mut record.extents);
                        record = begun;
                    }
                    _ => {}
                }
                if flags & MORE != 0 {
                    unfinished = Some((identifier.to_vec(), record));
                    continue;
                }
                let extension = match naming {
                    Naming::RockRidge { skip } => self.extension(bytes, skip).await?,
                    _ => Extension::default(),
                };
                let found = Match::of(name, naming, identifier, &extension.name);
                if found == Match::No {
                    continue;
                }
                if let Some(sector) = extension.child {
                    record = self.relocated(sector).await?;
                } else if extension.is_link {
                    record.link = Some(extension.target());
                }
                if found == Match::Exact {
                    return Ok(Some(record));
                }
                similar.get_or_insert(record);
            }
        }
        Ok(similar)
    }

    /// A folder whose place is given by another record: deep folders are moved
    /// up, since plain ISO 9660 allows eight levels.
    async fn relocated(&mut self, sector: u32) -> Result<Record, SourceError> {
        let own = self.sector(u64::from(sector)).await?;
        own.as_ref()
            .and_then(|it| Record::parse(split_record(it)?.0))
            .filter(|it| it.is_folder)
            .ok_or_else(|| self.damaged("a folder was moved to where there is none".to_owned()))
    }

    async fn extension(&mut self, record: &[u8], skip: u8) -> Result<Extension, SourceError> {
        let mut extension = Extension::default();
        let area = system_use(record).get(usize::from(skip)..).unwrap_or_default();
        let mut next = extension.read(area);
        for _ in 0..MOST_AREAS {
            let Some((sector, offset, length)) = next else { break };
            let Some(bytes) = self.sector(u64::from(sector)).await? else { break };
            let area = bytes.get(offset as usize..).unwrap_or_default();
            next = extension.read(area.get(..length as usize).unwrap_or(area));
        }
        Ok(extension)
    }

    /// One sector; `None` beyond the end.
    async fn sector(&mut self, number: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let at = number * SECTOR;
        if at + SECTOR > self.image.size() {
            return Ok(None);
        }
        self.budget = self
            .budget
            .checked_sub(1)
            .ok_or_else(|| self.damaged("its folders lead in circles".to_owned()))?;
        let mut bytes = vec![0; SECTOR_LENGTH];
        self.image.read_at(at, &mut bytes).await?;
        Ok(Some(bytes))
    }
}

impl Extension {
    /// Reads the entries of one area, and returns where they continue: sector,
    /// offset in it, length.
    fn read(&mut self, mut area: &[u8]) -> Option<(u32, u32, u32)> {
        let mut next = None;
        while let [a, b, length, _, ..] = *area {
            let length = usize::from(length);
            let (Some(entry), true) = (area.get(4..length), length >= 4) else { break };
            area = &area[length..];
            let number =
                |at: usize| Some(u32::from_le_bytes(entry.get(at..at + 4)?.try_into().ok()?));
            match &[a, b] {
                b"CE" => {
                    next = number(0).zip(number(8)).zip(number(16)).map(|((a, b), c)| (a, b, c));
                }
                b"NM" => self.name.extend_from_slice(entry.get(1..).unwrap_or_default()),
                b"SL" => self.read_link(entry.get(1..).unwrap_or_default()),
                b"CL" => self.child = number(0),
                b"ST" => break,
                _ => {}
            }
        }
        next
    }

    fn read_link(&mut self, mut parts: &[u8]) {
        self.is_link = true;
        while let [flags, length, ..] = *parts {
            let end = 2 + usize::from(length);
            let Some(text) = parts.get(2..end) else { break };
            parts = &parts[end..];
            match flags & !1 {
                2 => self.link_part.extend_from_slice(b"."),
                4 => self.link_part.extend_from_slice(b".."),
                // The root: an empty first part.
                8 => {}
                _ => self.link_part.extend_from_slice(text),
            }
            if flags & 1 == 0 {
                let part = std::mem::take(&mut self.link_part);
                self.link.push(String::from_utf8_lossy(&part).into_owned());
            }
        }
    }

    fn target(&self) -> String {
        self.link.join("/")
    }
}

/// Whether a record is the one that is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    No,
    /// But for upper and lower case, or the plain name beside a long one.
    Similar,
    Exact,
}

impl Match {
    fn of(wanted: &str, naming: Naming, identifier: &[u8], long: &[u8]) -> Self {
        let plain = match naming {
            Naming::Joliet => {
                let units = identifier.chunks_exact(2).map(|it| u16::from_be_bytes([it[0], it[1]]));
                char::decode_utf16(units)
                    .map(|it| it.unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect()
            }
            _ => String::from_utf8_lossy(identifier).into_owned(),
        };
        // `KS.CFG;1`, and `VMLINUZ.;1` for a name without a dot.
        let plain = plain.split(';').next().unwrap_or_default();
        let plain =
            if naming == Naming::Joliet { plain } else { plain.strip_suffix('.').unwrap_or(plain) };
        if long == wanted.as_bytes() || (long.is_empty() && plain == wanted) {
            Self::Exact
        } else if long.eq_ignore_ascii_case(wanted.as_bytes()) || plain.eq_ignore_ascii_case(wanted)
        {
            Self::Similar
        } else {
            Self::No
        }
    }
}

/// The first record of what is left of a sector, and the rest. Records do not
/// reach into the next sector; what is left is zeros.
fn split_record(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(*rest.first()?);
    let record = rest.get(..length)?;
    (length >= 34 && 33 + usize::from(record[32]) <= length).then(|| (record, &rest[length..]))
}

fn identifier(record: &[u8]) -> &[u8] {
    &record[33..33 + usize::from(record[32])]
}

/// What follows the name, after a byte that makes its place even.
fn system_use(record: &[u8]) -> &[u8] {
    let length = usize::from(record[32]);
    record.get(33 + length + usize::from(length.is_multiple_of(2))..).unwrap_or_default()
}
