//! Debian packages: an `ar` archive with a compressed `tar` archive in it.
//!
//! Read as a stream: what is wanted goes to the cache, the rest nowhere.

use std::{
    collections::BTreeMap,
    io::{self, BufReader, Read},
};

use camino::Utf8Path;
use fs_err as fs;

use crate::CancellationToken;

use super::{
    SourceError,
    cache::{Cache, Object},
};

/// A file in a package may become this large.
const LARGEST: u64 = 2 << 30;
/// What the decompressor may use: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;
/// A link to a link to a link is somebody's joke.
const MOST_LINKS: usize = 4;

/// Puts the files at these paths into the cache.
pub(super) fn extract(
    package: &Utf8Path,
    wanted: &[String],
    cache: &Cache,
    cancel: &CancellationToken,
) -> Result<BTreeMap<String, Object>, SourceError> {
    let mut search = Search {
        package,
        cache,
        cancel,
        targets: wanted.iter().map(|it| (it.clone(), normal(it))).collect(),
        found: BTreeMap::new(),
    };
    for _ in 0..MOST_LINKS {
        if search.pass()? == Pass::Done {
            break;
        }
    }
    match wanted.iter().find(|it| !search.found.contains_key(*it)) {
        None => Ok(search.found),
        Some(missing) => Err(SourceError::NotInside {
            path: missing.clone(),
            container: package.file_name().unwrap_or_default().to_owned(),
            hint: "list the package (`dpkg-deb --contents`) and name its `kernel` and `initrd` in the spec's `source`".to_owned(),
        }),
    }
}

struct Search<'a> {
    package: &'a Utf8Path,
    cache: &'a Cache,
    cancel: &'a CancellationToken,
    /// Where in the package it is looked for, by what was asked for.
    targets: BTreeMap<String, String>,
    found: BTreeMap<String, Object>,
}

/// What became of reading a package once.
#[derive(PartialEq, Eq)]
enum Pass {
    Done,
    /// Something is a link, to what may have gone by already.
    Again,
}

impl Search<'_> {
    fn pass(&mut self) -> Result<Pass, SourceError> {
        let file = fs::File::open(self.package).map_err(SourceError::io(self.package))?;
        let mut parts = ar::Archive::new(BufReader::new(file));
        while let Some(part) = parts.next_entry() {
            let part = part.map_err(|it| bad(self.package, &it.to_string()))?;
            let name = String::from_utf8_lossy(part.header().identifier()).into_owned();
            if name.starts_with("data.tar") {
                let name = name.trim_end_matches('/');
                let files =
                    decompressor(part, name).map_err(|reason| bad(self.package, &reason))?;
                return self.files(files);
            }
        }
        Err(bad(self.package, "it has no `data.tar`"))
    }

    fn files(&mut self, files: impl Read) -> Result<Pass, SourceError> {
        let package = self.package;
        let bad = |it: io::Error| bad(package, &it.to_string());
        let mut pass = Pass::Done;
        let mut archive = tar::Archive::new(files);
        for entry in archive.entries().map_err(bad)? {
            if self.cancel.is_cancelled() {
                return Err(SourceError::Cancelled);
            }
            let mut entry = entry.map_err(bad)?;
            let path = normal(&String::from_utf8_lossy(&entry.path_bytes()));
            let names: Vec<String> = self
                .targets
                .iter()
                .filter(|(name, target)| **target == path && !self.found.contains_key(*name))
                .map(|it| it.0.clone())
                .collect();
            if names.is_empty() {
                continue;
            }
            let kind = entry.header().entry_type();
            if kind.is_hard_link() || kind.is_symlink() {
                let link = entry.link_name_bytes().unwrap_or_default();
                let link = String::from_utf8_lossy(&link).into_owned();
                let target = if kind.is_hard_link() { normal(&link) } else { beside(&path, &link) };
                self.targets.extend(names.into_iter().map(|it| (it, target.clone())));
                pass = Pass::Again;
            } else if kind.is_file() {
                if entry.size() > LARGEST {
                    return Err(bad(io::Error::other(format!(
                        "`{path}` has {} bytes",
                        entry.size()
                    ))));
                }
                let object = store(&mut entry, package, self.cache, self.cancel)?;
                self.found.extend(names.into_iter().map(|it| (it, object.clone())));
                if self.found.len() == self.targets.len() {
                    return Ok(Pass::Done);
                }
            }
        }
        Ok(pass)
    }
}

fn store(
    from: &mut impl Read,
    package: &Utf8Path,
    cache: &Cache,
    cancel: &CancellationToken,
) -> Result<Object, SourceError> {
    let mut incoming = cache.incoming(None)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        if cancel.is_cancelled() {
            return Err(SourceError::Cancelled);
        }
        match from.read(&mut buffer).map_err(|it| bad(package, &it.to_string()))? {
            0 => return cache.keep(incoming, |_| Ok(())),
            n => incoming.write(&buffer[..n])?,
        }
    }
}

/// The same stream decompressed, by what its name ends in.
pub(super) fn decompressor<'a>(
    from: impl Read + 'a,
    name: &str,
) -> Result<Box<dyn Read + 'a>, String> {
    let text = |it: &dyn std::fmt::Display| it.to_string();
    Ok(match name.rsplit('.').next().unwrap_or_default() {
        "xz" | "lzma" => {
            let stream = if name.ends_with("xz") {
                liblzma::stream::Stream::new_stream_decoder(
                    XZ_MEMORY,
                    liblzma::stream::CONCATENATED,
                )
            } else {
                liblzma::stream::Stream::new_lzma_decoder(XZ_MEMORY)
            };
            let stream = stream.map_err(|it| text(&it))?;
            Box::new(liblzma::read::XzDecoder::new_stream(from, stream))
        }
        "gz" => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(from))),
        "zst" => Box::new(
            ruzstd::decoding::StreamingDecoder::new(BufReader::new(from))
                .map_err(|it| text(&it))?,
        ),
        "tar" => Box::new(from),
        other => return Err(format!("`.{other}` is a compression imgbuild does not read")),
    })
}

fn bad(package: &Utf8Path, reason: &str) -> SourceError {
    SourceError::BadPackage {
        package: package.file_name().unwrap_or_default().to_owned(),
        reason: reason.to_owned(),
    }
}

/// `./usr/lib/x` as `usr/lib/x`.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where a symbolic link leads.
fn beside(path: &str, link: &str) -> String {
    if link.starts_with('/') {
        return normal(link);
    }
    let folder = path.rsplit_once('/').map_or("", |it| it.0);
    normal(&format!("{folder}/{link}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use camino::Utf8PathBuf;

    use super::*;

    /// A package like dpkg's, with a file, a hard and a symbolic link to it.
    fn package(folder: &Utf8Path, compression: &str) -> Utf8PathBuf {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |path: &str, kind: tar::EntryType, link: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(bytes.len() as u64);
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
            tar.append_data(&mut header, path, bytes).unwrap();
        };
        add("./boot/", tar::EntryType::Directory, "", b"");
        add("./boot/link", tar::EntryType::Symlink, "../boot/linux", b"");
        add("./boot/linux", tar::EntryType::Regular, "", b"kernel");
        add("./boot/hard", tar::EntryType::Link, "./boot/linux", b"");
        add("./boot/loop", tar::EntryType::Symlink, "loop", b"");
        let tar = tar.into_inner().unwrap();
        let data = match compression {
            "gz" => {
                let mut it = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                it.write_all(&tar).unwrap();
                it.finish().unwrap()
            }
            "xz" => {
                let mut it = liblzma::write::XzEncoder::new(Vec::new(), 1);
                it.write_all(&tar).unwrap();
                it.finish().unwrap()
            }
            "zst" => ruzstd::encoding::compress_to_vec(
                &tar[..],
                ruzstd::encoding::CompressionLevel::Fastest,
            ),
            _ => tar,
        };
        let path = folder.join(format!("{compression}.deb"));
        let mut ar = ar::Builder::new(fs::File::create(&path).unwrap());
        let name = if compression == "tar" {
            "data.tar".to_owned()
        } else {
            format!("data.tar.{compression}")
        };
        for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), (name.as_str(), &data)] {
            let header = ar::Header::new(name.into(), bytes.len() as u64);
            ar.append(&header, bytes).unwrap();
        }
        path
    }

    #[test]
    fn files_are_taken_out_whatever_the_compression() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let cache = Cache::new(folder.join("cache"));
        for compression in ["gz", "xz", "zst", "tar"] {
            let package = package(folder, compression);
            let wanted = ["./boot/linux", "/boot/link", "boot/hard"].map(str::to_owned);
            let found = extract(&package, &wanted, &cache, &CancellationToken::new()).unwrap();
            for path in wanted {
                assert_eq!(
                    fs::read(&found[&path].path).unwrap(),
                    b"kernel",
                    "{compression} {path}"
                );
            }
            for missing in ["boot/none", "boot/loop", "boot"] {
                let error =
                    extract(&package, &[missing.to_owned()], &cache, &CancellationToken::new());
                assert!(
                    matches!(error, Err(SourceError::NotInside { .. })),
                    "{missing}: {error:?}"
                );
            }
        }
    }

    #[test]
    fn damaged_packages_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let cache = Cache::new(folder.join("cache"));
        let whole = fs::read(package(folder, "xz")).unwrap();
        let path = folder.join("damaged.deb");
        let mut damaged = vec![Vec::new(), b"<html>".to_vec(), whole[..whole.len() / 2].to_vec()];
        damaged.extend((8..whole.len()).step_by(7).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            bytes
        }));
        for bytes in damaged {
            fs::write(&path, bytes).unwrap();
            let wanted = ["boot/none".to_owned()];
            assert!(extract(&path, &wanted, &cache, &CancellationToken::new()).is_err());
        }
    }
}
