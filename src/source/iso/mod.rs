//! ISO 9660 images, local or behind a URL of which only parts are fetched.
//!
//! Reads what installers' media have: long names by Rock Ridge (with symbolic
//! links and relocated folders) or Joliet, and files in several extents. An
//! image is somebody else's data: nothing is allocated, and nothing repeated,
//! on its word alone.
//!
//! ECMA-119; SUSP and RRIP (IEEE P1281, P1282); Joliet specification.

mod directory;
mod image;

use camino::Utf8Path;

use super::{FetchCx, SourceError, cache::Validators, location::Location};
use directory::{Naming, Record};
use image::Image;

/// An ISO 9660 image that is read from.
#[derive(Debug)]
pub struct Iso {
    image: Image,
    name: String,
    volume_id: String,
    /// Folders to begin at, with how names are written there; best first.
    roots: Vec<(Record, Naming)>,
    has_udf: bool,
    /// How many sectors may still be looked at on the way to a file.
    budget: u32,
}

/// What opening an image came to.
pub(super) enum Opened {
    /// It can be read from.
    Iso(Box<Iso>),
    /// Its server only gives it whole.
    WholeOnly,
}

/// The unit that an image is made of.
const SECTOR: u64 = 2048;
/// The same, as a length.
const SECTOR_LENGTH: usize = 2048;
/// Volume descriptors begin here.
const FIRST_DESCRIPTOR: u64 = 16;
/// Real images have four at most.
const MOST_DESCRIPTORS: u64 = 64;
/// Sectors that are looked at on the way to a file: 128 MiB of folders.
const BUDGET: u32 = 1 << 16;
/// Symbolic links on the way to a file.
const MOST_LINKS: usize = 16;
/// Parts of a path, with those of the links in it.
const MOST_PARTS: usize = 256;

impl Iso {
    /// Opens an image by path or URL. Of one behind a URL only what is read is
    /// fetched; its server has to answer range requests.
    pub async fn open(location: &str, cx: &FetchCx) -> Result<Self, SourceError> {
        match Self::try_open(&Location::parse(location)?, cx).await? {
            Opened::Iso(iso) => Ok(*iso),
            Opened::WholeOnly => Err(SourceError::Network {
                url: location.to_owned(),
                reason: "its server does not answer range requests".to_owned(),
            }),
        }
    }

    pub(super) async fn try_open(location: &Location, cx: &FetchCx) -> Result<Opened, SourceError> {
        let image = match location {
            Location::Path(path) => Some(Image::local(path)?),
            Location::Url(url) => Image::remote(url, &cx.http).await?,
        };
        let Some(image) = image else { return Ok(Opened::WholeOnly) };
        Ok(Opened::Iso(Box::new(Self::of(image, location.to_string()).await?)))
    }

    async fn of(mut image: Image, name: String) -> Result<Self, SourceError> {
        let mut primary = None;
        let mut joliet = None;
        let mut has_udf = false;
        let mut has_iso = false;
        for n in FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + MOST_DESCRIPTORS {
            let mut sector = vec![0; SECTOR_LENGTH];
            if (n + 1) * SECTOR > image.size() {
                break;
            }
            image.read_at(n * SECTOR, &mut sector).await?;
            has_iso |= &sector[1..6] == b"CD001";
            match (&sector[1..6], sector[0]) {
                (b"CD001", 1) if primary.is_none() => primary = Some(sector),
                (b"CD001", 2) if joliet.is_none() && is_joliet(&sector) => joliet = Some(sector),
                (b"NSR02" | b"NSR03", _) => has_udf = true,
                (b"CD001" | b"BEA01" | b"TEA01" | b"BOOT2", _) => {}
                _ => break,
            }
        }
        let Some(primary) = primary else {
            return Err(match (has_udf, has_iso) {
                (true, _) => SourceError::UdfOnly { location: name },
                (false, true) => SourceError::NotIso {
                    location: name,
                    reason: "it has no primary volume descriptor".to_owned(),
                },
                (false, false) => SourceError::NotIso {
                    location: name,
                    reason: "there is no volume descriptor where it should be".to_owned(),
                },
            });
        };
        let damaged = |reason: &str| SourceError::DamagedIso {
            location: name.clone(),
            reason: reason.to_owned(),
        };
        if u16::from_le_bytes([primary[128], primary[129]]) != 2048 {
            return Err(damaged("its blocks do not have 2048 bytes"));
        }
        let root = |sector: &[u8]| Record::parse(&sector[156..190]).filter(|it| it.is_folder);
        let primary_root = root(&primary).ok_or_else(|| damaged("it has no root folder"))?;
        let volume_id = String::from_utf8_lossy(&primary[40..72]);
        let mut iso = Self {
            image,
            volume_id: volume_id.trim_end_matches([' ', '\0']).to_owned(),
            roots: Vec::new(),
            has_udf,
            budget: BUDGET,
            name,
        };
        let rock_ridge = iso.rock_ridge(&primary_root).await?;
        let joliet_root = joliet.and_then(|it| root(&it)).map(|it| (it, Naming::Joliet));
        iso.roots = match rock_ridge {
            Some(skip) => vec![(primary_root, Naming::RockRidge { skip })],
            None => {
                joliet_root.clone().into_iter().chain([(primary_root, Naming::Plain)]).collect()
            }
        };
        if matches!(iso.roots[0].1, Naming::RockRidge { .. }) {
            iso.roots.extend(joliet_root);
        }
        Ok(iso)
    }

    /// What the image calls itself, such as `Debian 13.1.0 amd64 n`.
    pub fn volume_id(&self) -> &str {
        &self.volume_id
    }

    /// How many bytes have been fetched of it; none of one on this machine.
    pub fn bytes_fetched(&self) -> u64 {
        self.image.fetched()
    }

    /// Whether there is a file at this path.
    pub async fn has(&mut self, path: &str) -> Result<bool, SourceError> {
        match self.find(path).await {
            Ok(_) => Ok(true),
            Err(SourceError::NotInside { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads a file of at most `limit` bytes.
    pub async fn read_file(&mut self, path: &str, limit: u64) -> Result<Vec<u8>, SourceError> {
        let file = self.find(path).await?;
        if file.size() > limit {
            return Err(SourceError::TooLarge { url: format!("{path} in {}", self.name), limit });
        }
        let mut bytes = Vec::new();
        self.copy(&file, &mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })
        .await?;
        Ok(bytes)
    }

    /// Hands a file on, piece by piece.
    pub(super) async fn copy(
        &mut self,
        file: &Record,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        for extent in &file.extents {
            self.image.copy(extent.offset(), u64::from(extent.length), sink).await?;
        }
        Ok(())
    }

    /// The file at this path; folders are not files.
    pub(super) async fn find(&mut self, path: &str) -> Result<Record, SourceError> {
        self.budget = BUDGET;
        for n in 0..self.roots.len() {
            let (root, naming) = self.roots[n].clone();
            let Some(file) = self.find_from(root, naming, path).await? else { continue };
            if file.is_interleaved {
                return Err(self.damaged(format!("`{path}` is interleaved")));
            }
            for extent in &file.extents {
                if extent.offset() + u64::from(extent.length) > self.image.size() {
                    let size = self.image.size();
                    return Err(self.damaged(format!(
                        "`{path}` lies beyond its end at {size} bytes; is it complete?"
                    )));
                }
            }
            return Ok(file);
        }
        let hint = if self.has_udf {
            "this image has a UDF file system too, which imgbuild does not read: copy the files out (`7z x`) and name them as `source.kernel`"
        } else {
            "list the image (`xorriso -indev FILE -find`) and name its `kernel` and `initrd` in the spec's `source`"
        };
        Err(SourceError::NotInside {
            path: path.to_owned(),
            container: self.name.clone(),
            hint: hint.to_owned(),
        })
    }

    async fn find_from(
        &mut self,
        root: Record,
        naming: Naming,
        path: &str,
    ) -> Result<Option<Record>, SourceError> {
        // In reverse: the next part is the last.
        let parts = |path: &str| path.split('/').rev().map(str::to_owned).collect::<Vec<_>>();
        let mut todo = parts(path);
        let mut folders = vec![root];
        let mut n_links = 0;
        let mut n_parts = 0;
        while let Some(part) = todo.pop() {
            n_parts += 1;
            if n_parts > MOST_PARTS || todo.len() > MOST_PARTS {
                return Err(self.damaged(format!("the way to `{path}` does not end")));
            }
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    if folders.len() > 1 {
                        folders.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let Some(folder) = folders.last().cloned() else { return Ok(None) };
            let Some(found) = self.look_up(&folder, naming, &part).await? else { return Ok(None) };
            if let Some(link) = &found.link {
                n_links += 1;
                if n_links > MOST_LINKS {
                    return Err(
                        self.damaged(format!("the links on the way to `{path}` do not end"))
                    );
                }
                if link.starts_with('/') {
                    folders.truncate(1);
                }
                todo.extend(parts(link));
            } else if found.is_folder {
                folders.push(found);
            } else {
                let is_end = todo.iter().all(|it| it.is_empty() || it == ".");
                return Ok(is_end.then_some(found));
            }
        }
        Ok(None)
    }

    /// What the server said to recognise this version of the image by.
    pub(super) fn version(&self) -> Option<&Validators> {
        self.image.version()
    }

    fn damaged(&self, reason: String) -> SourceError {
        SourceError::DamagedIso { location: self.name.clone(), reason }
    }
}

/// Whether a supplementary descriptor's names are in UCS-2.
fn is_joliet(sector: &[u8]) -> bool {
    matches!(&sector[88..91], b"%/@" | b"%/C" | b"%/E")
}

/// An image on this machine, for those who have no context.
impl Iso {
    /// The volume ID of the image at this path.
    pub async fn volume_id_of(path: &Utf8Path) -> Result<String, SourceError> {
        let iso = Self::of(Image::local(path)?, path.to_string()).await?;
        Ok(iso.volume_id)
    }
}

#[cfg(test)]
mod tests;
