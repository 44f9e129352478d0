//! Checksum files: `SHA256SUMS`, `MD5SUMS`, BSD style, `CHECKSUMS`, SUSE's `content`.

use super::digest::{Algorithm, Digest};

/// The digests that a file states, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChecksumFile {
    entries: Vec<(String, Digest)>,
}

/// Reads a checksum file. Lines that state no digest (comments, a signature
/// around them) are passed over; `None` where no line states one.
///
/// The forms, all in use: `<hex>  path` and `<hex> *path` (coreutils, Debian,
/// openSUSE), `SHA256 (path) = <hex>` (BSD, Fedora), `HASH SHA256 <hex>  path`
/// (the `content` file of openSUSE 11 to 13).
pub fn parse_checksums(text: &str) -> Option<ChecksumFile> {
    let entries: Vec<_> = text.lines().filter_map(entry).collect();
    (!entries.is_empty()).then_some(ChecksumFile { entries })
}

impl ChecksumFile {
    /// From pairs of path and digest.
    pub(super) fn new(entries: impl IntoIterator<Item = (String, Digest)>) -> Self {
        let entries = entries.into_iter().map(|(path, it)| (normal(&path).to_owned(), it));
        Self { entries: entries.collect() }
    }

    /// The digest of the file at `path`, relative to the folder that the
    /// checksum file is about: of that very path, or of the only files of its
    /// name. The strongest, where there are several.
    pub fn find(&self, path: &str) -> Option<&Digest> {
        let path = normal(path);
        self.strongest(|it| it == path).or_else(|| {
            // `SHA256SUMS` beside an ISO names it alone, wherever it lies; one
            // that names several of that name does not say which is meant.
            let name = base(path);
            let mut same = self.entries.iter().filter(|(it, _)| base(it) == name);
            let first = &same.next()?.0;
            let is_suffix = |a: &str, b: &str| {
                a.strip_suffix(b).is_some_and(|it| it.is_empty() || it.ends_with('/'))
            };
            if same.any(|(it, _)| it != first)
                || !(is_suffix(path, first) || is_suffix(first, path))
            {
                return None;
            }
            self.strongest(|it| it == first)
        })
    }

    fn strongest(&self, is_it: impl Fn(&str) -> bool) -> Option<&Digest> {
        let found = self.entries.iter().filter(|(path, _)| is_it(path)).map(|it| &it.1);
        found.max_by_key(|it| it.algorithm)
    }

    /// Whether it states nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn entry(line: &str) -> Option<(String, Digest)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    if let Some(rest) = line.strip_prefix("HASH ") {
        let (algorithm, rest) = rest.trim().split_once(char::is_whitespace)?;
        let (hex, path) = rest.trim().split_once(char::is_whitespace)?;
        let digest = Digest::new(Algorithm::named(algorithm)?, hex)?;
        return Some((normal(path).to_owned(), digest));
    }
    if let Some((before, hex)) = line.rsplit_once('=')
        && let Some((algorithm, path)) = before.trim().split_once('(')
    {
        let path = path.trim_end().strip_suffix(')')?;
        let digest = Digest::new(Algorithm::named(algorithm.trim())?, hex.trim())?;
        return Some((normal(path).to_owned(), digest));
    }
    let (hex, path) = line.split_once(char::is_whitespace)?;
    let path = path.trim_start();
    let path = path.strip_prefix('*').unwrap_or(path);
    Some((normal(path).to_owned(), Digest::of_length(hex)?))
}

/// A path without what does not tell it from others.
fn normal(path: &str) -> &str {
    let mut path = path.trim();
    while let Some(shorter) = path.strip_prefix("./").or_else(|| path.strip_prefix('/')) {
        path = shorter;
    }
    path
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(digit: char, n: usize) -> String {
        digit.to_string().repeat(n)
    }

    #[test]
    fn every_form_is_read() {
        let a = hex('a', 64);
        for line in [
            format!("{a}  ./netboot/linux"),
            format!("{a} *netboot/linux"),
            format!("SHA256 (netboot/linux) = {a}"),
            format!("sha256(netboot/linux)= {a}"),
            format!("HASH SHA256 {a}  netboot/linux"),
            format!(
                "# a comment\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{a}  netboot/linux\n"
            ),
        ] {
            let file = parse_checksums(&line).unwrap();
            assert_eq!(file.find("netboot/linux"), Some(&Digest::sha256(&a)), "{line}");
        }
        assert_eq!(parse_checksums("<html><body>404</body></html>"), None);
        assert_eq!(parse_checksums(""), None);
    }

    #[test]
    fn the_strongest_digest_counts() {
        let text =
            format!("{}  linux\n{}  linux\n{}  linux", hex('1', 32), hex('5', 128), hex('2', 64));
        assert_eq!(
            parse_checksums(&text).unwrap().find("linux").unwrap().algorithm,
            Algorithm::Sha512
        );
    }

    #[test]
    fn a_name_alone_is_enough_only_where_it_is_clear() {
        let text = format!(
            "{}  a/linux\n{}  b/linux\n{}  x.iso",
            hex('a', 64),
            hex('b', 64),
            hex('c', 64)
        );
        let file = parse_checksums(&text).unwrap();
        assert_eq!(file.find("b/linux").unwrap().hex, hex('b', 64));
        assert_eq!(file.find("linux"), None);
        assert_eq!(file.find("iso/x.iso").unwrap().hex, hex('c', 64));
        assert_eq!(file.find("y.iso"), None);
        // Another folder's file of that name is another file.
        let file = parse_checksums(&format!("{}  netboot/xen/vmlinuz", hex('a', 64))).unwrap();
        assert_eq!(file.find("netboot/gtk/vmlinuz"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,400}", path in ".{0,40}") {
            if let Some(file) = parse_checksums(&text) {
                _ = file.find(&path);
            }
        }

        #[test]
        fn what_is_written_is_read(path in "[a-z][a-z0-9._-]{0,8}(/[a-z0-9._-]{1,8}){0,3}", hex in "[0-9a-f]{64}") {
            for line in [format!("{hex}  {path}"), format!("SHA256 ({path}) = {hex}")] {
                let file = parse_checksums(&line).unwrap();
                prop_assert_eq!(file.find(&path), Some(&Digest::sha256(&hex)));
            }
        }
    }
}
