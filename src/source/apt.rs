//! Debian archives: Release files, package indexes, and the order of versions.
//!
//! <https://wiki.debian.org/DebianRepository/Format>

use std::{
    cmp::Ordering,
    collections::HashMap,
    io::{self, BufRead, Read as _},
};

use super::{
    CachedFile, FetchCx, SourceError,
    cache::Cache,
    digest::{Algorithm, Digest},
    download::{self, Want},
    location::Location,
    signature::{self, Keyrings, Verdict},
};

/// What a suite's Release file says.
#[derive(Clone, Debug, Default)]
pub(super) struct Release {
    /// What errors call it.
    pub(super) name: String,
    /// Whose signature is on it, where it was checked.
    pub(super) signed_by: Option<String>,
    /// Why it was not checked.
    pub(super) unsigned_because: Option<String>,
    suite: Option<String>,
    codename: Option<String>,
    /// Whether each architecture's index holds the packages for all, too.
    pub(super) lists_all_with_each: bool,
    /// Whether files are also there under their digests, where they stay for a
    /// while after they have changed.
    pub(super) is_by_hash: bool,
    digests: HashMap<String, Digest>,
}

/// One version of a package in an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stanza {
    pub(super) version: String,
    pub(super) filename: String,
    pub(super) size: Option<u64>,
    pub(super) digest: Option<Digest>,
}

/// Gets and checks the Release file of `suite`. One that could not be checked is
/// returned without `signed_by`; one whose signature does not hold is an error.
pub(super) async fn release(
    mirror: &Location,
    suite: &str,
    keyrings: &Keyrings,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<Release, SourceError> {
    let folder = mirror.below(&format!("dists/{suite}"))?;
    let inline = folder.below("InRelease")?;
    let get = async |at: &Location| match download::get(cx, cache, Want::small(at)).await {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    };
    let (location, file, signature) = if let Some(file) = get(&inline).await? {
        (inline, file, None)
    } else {
        let plain = folder.below("Release")?;
        let file = download::get(cx, cache, Want::small(&plain)).await?;
        let signature = get(&folder.below("Release.gpg")?).await?;
        if signature.is_none() {
            let because = "the mirror has no signature for it";
            return Release::unsigned(&plain, &file, keyrings, because);
        }
        (plain, file, signature)
    };
    if keyrings.is_empty() {
        return Release::unsigned(&location, &file, keyrings, "no keyring was found");
    }
    let name = location.to_string();
    let beside = signature.as_ref().map(|it| it.path.as_path());
    let release = match signature::check(cx, keyrings, &file.path, beside, &name).await? {
        Verdict::Good { text, by } => {
            // Of a text with its signature around it only what is signed counts.
            let text = if beside.is_some() { download::read(&file)? } else { text };
            Release { signed_by: Some(by), ..Release::parse(&text, &name)? }
        }
        Verdict::Unknown(reason) => Release::unsigned(&location, &file, keyrings, &reason)?,
    };
    release.check_suite(suite)?;
    Ok(release)
}

impl Release {
    /// What is known of a suite without a Release file: nothing.
    pub(super) fn absent() -> Self {
        let because = "the tree has no Release file".to_owned();
        Self { unsigned_because: Some(because), ..Self::default() }
    }

    /// One that nothing vouches for, unless the spec demands it.
    fn unsigned(
        location: &Location,
        file: &CachedFile,
        keyrings: &Keyrings,
        because: &str,
    ) -> Result<Self, SourceError> {
        let name = location.to_string();
        if keyrings.is_stated {
            return Err(SourceError::Unsigned { file: name });
        }
        let release = Self::parse(&download::read(file)?, &name)?;
        Ok(Self { unsigned_because: Some(because.to_owned()), ..release })
    }

    fn parse(text: &str, name: &str) -> Result<Self, SourceError> {
        let mut release = Self { name: name.to_owned(), ..Self::default() };
        let mut is_digest = false;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix(' ') {
                let mut words = rest.split_whitespace();
                if let (true, Some(hex), Some(_), Some(path)) =
                    (is_digest, words.next(), words.next(), words.next())
                    && let Some(digest) = Digest::new(Algorithm::Sha256, hex)
                {
                    release.digests.insert(path.to_owned(), digest);
                }
                continue;
            }
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim().to_owned();
            is_digest = key.eq_ignore_ascii_case("SHA256");
            match key.to_ascii_lowercase().as_str() {
                "suite" => release.suite = Some(value),
                "codename" => release.codename = Some(value),
                "acquire-by-hash" => release.is_by_hash = value.eq_ignore_ascii_case("yes"),
                "no-support-for-architecture-all" => {
                    release.lists_all_with_each =
                        value.split_whitespace().any(|it| it == "Packages");
                }
                _ => {}
            }
        }
        if release.digests.is_empty() {
            return Err(SourceError::BadFile {
                file: name.to_owned(),
                kind: "a Release file",
                reason: "it lists no SHA-256 digests".to_owned(),
            });
        }
        Ok(release)
    }

    /// A signature over another suite's Release is worth nothing here.
    fn check_suite(&self, suite: &str) -> Result<(), SourceError> {
        let names = [&self.suite, &self.codename];
        // `buster/updates` is what `buster` was called for security.
        let is_it = |it: &str| it == suite || suite.split_once('/').is_some_and(|s| s.0 == it);
        if names.iter().all(|it| it.is_none()) || names.into_iter().flatten().any(|it| is_it(it)) {
            return Ok(());
        }
        Err(SourceError::BadFile {
            file: self.name.clone(),
            kind: "the Release file of this suite",
            reason: format!(
                "it is that of `{}`, not of `{suite}`",
                self.codename.as_deref().or(self.suite.as_deref()).unwrap_or_default()
            ),
        })
    }

    /// The digest it states for a path below the suite's folder.
    pub(super) fn digest(&self, path: &str) -> Option<&Digest> {
        self.digests.get(path)
    }
}

/// A line of an index is never longer.
const LONGEST_LINE: u64 = 4 << 20;

/// Reads every version of the package `name` out of an index.
pub(super) fn versions(mut index: impl BufRead, name: &str) -> io::Result<Vec<Stanza>> {
    let mut found = Vec::new();
    let mut stanza = Stanza::default();
    let mut is_wanted = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = index.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            let whole = std::mem::take(&mut stanza);
            if std::mem::take(&mut is_wanted) && !whole.filename.is_empty() {
                found.push(whole);
            }
            if n == 0 {
                return Ok(found);
            }
            continue;
        }
        let Some((key, value)) = text.split_once(':') else { continue };
        let value = value.trim();
        match key {
            "Package" => is_wanted = value == name,
            "Version" => value.clone_into(&mut stanza.version),
            "Filename" => value.clone_into(&mut stanza.filename),
            "Size" => stanza.size = value.parse().ok(),
            "SHA256" => stanza.digest = Digest::new(Algorithm::Sha256, value),
            _ => {}
        }
    }
}

/// Compares two Debian versions as dpkg does (deb-version(7)).
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let (a_epoch, a_upstream, a_revision) = parts(a);
    let (b_epoch, b_upstream, b_revision) = parts(b);
    a_epoch
        .cmp(&b_epoch)
        .then_with(|| compare_part(a_upstream, b_upstream))
        .then_with(|| compare_part(a_revision, b_revision))
}

/// Epoch, upstream version, revision.
fn parts(version: &str) -> (u64, &str, &str) {
    let version = version.trim();
    let (epoch, rest) = version
        .split_once(':')
        .and_then(|(epoch, rest)| Some((epoch.parse().ok()?, rest)))
        .unwrap_or((0, version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Compares texts and numbers by turns: texts by character, where `~` comes
/// before everything, even the end, and letters before the rest.
fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let rank = |it: Option<&u8>| match it {
        Some(b'~') => -1,
        None => 0,
        Some(it) if it.is_ascii_digit() => 0,
        Some(it) if it.is_ascii_alphabetic() => i32::from(*it),
        Some(it) => i32::from(*it) + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        loop {
            let is_text = |it: &[u8]| it.first().is_some_and(|it| !it.is_ascii_digit());
            if !is_text(a) && !is_text(b) {
                break;
            }
            let order = rank(a.first()).cmp(&rank(b.first()));
            if order != Ordering::Equal {
                return order;
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let (x, y);
        (x, a) = number(a);
        (y, b) = number(b);
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// The digits at the beginning, without leading zeros, and the rest.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|it| !it.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().position(|it| *it != b'0').unwrap_or(digits.len());
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_as_deb_version_7_says() {
        for (a, b) in [
            ("1.0~rc1", "1.0"),
            ("1.0~~", "1.0~"),
            ("1.0", "1.0a"),
            ("1.0a", "1.0+"),
            ("1.9", "1.10"),
            ("2.0", "1:1.0"),
            ("1.0-1", "1.0-1+b1"),
            ("1.0-1", "1.0-2"),
            ("20250803", "20250803+deb13u1"),
            ("20250803+deb13u9", "20250803+deb13u10"),
        ] {
            assert_eq!(compare_versions(a, b), Ordering::Less, "{a} {b}");
            assert_eq!(compare_versions(b, a), Ordering::Greater, "{b} {a}");
        }
        assert_eq!(compare_versions("1.01", "1.1"), Ordering::Equal);
        assert_eq!(compare_versions("0:1.0-0", "1.0"), Ordering::Equal);
    }

    #[test]
    fn a_release_file_states_digests() {
        let text = format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nNo-Support-for-Architecture-all: Packages\nMD5Sum:\n {} 3 main/x\nSHA256:\n {} 12 main/x\n {} 1 main/y\n",
            "0".repeat(32),
            "a".repeat(64),
            "b".repeat(64)
        );
        let release = Release::parse(&text, "Release").unwrap();
        assert_eq!(release.digest("main/x"), Some(&Digest::sha256(&"a".repeat(64))));
        assert_eq!(release.digest("main/z"), None);
        assert!(release.lists_all_with_each);
        assert!(release.check_suite("trixie").is_ok() && release.check_suite("stable").is_ok());
        assert!(release.check_suite("bookworm").unwrap_err().to_string().contains("`trixie`"));
        assert!(Release::parse("<html>", "x").is_err());
    }

    #[test]
    fn every_version_of_a_package_is_found() {
        let index = "Package: a\nVersion: 1\nFilename: pool/a_1.deb\nSize: 5\n\nPackage: ab\nVersion: 9\nFilename: x\n\nPackage: a\nVersion: 2\nFilename: pool/a_2.deb\nDescription: long\n text: with colon\n";
        let found = versions(index.as_bytes(), "a").unwrap();
        let versions: Vec<_> = found.iter().map(|it| it.version.as_str()).collect();
        assert_eq!(versions, ["1", "2"]);
        assert_eq!(found[0].size, Some(5));
    }

    fn version() -> impl Strategy<Value = String> {
        // dpkg wants a digit first.
        "([0-9]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-c.+~]{1,4})?"
    }

    proptest! {
        #[test]
        fn no_index_makes_it_panic(text in "(?s)(Package: a\n)?.{0,200}") {
            _ = versions(text.as_bytes(), "a");
            _ = Release::parse(&text, "x");
        }

        #[test]
        fn the_order_is_one(a in version(), b in version(), c in version()) {
            prop_assert_eq!(compare_versions(&a, &b), compare_versions(&b, &a).reverse());
            let mut all = [a.as_str(), &b, &c];
            all.sort_by(|a, b| compare_versions(a, b));
            prop_assert!(compare_versions(all[0], all[2]) != Ordering::Greater);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn dpkg_agrees(a in version(), b in version()) {
            let word = match compare_versions(&a, &b) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            let verdict = Command::new("dpkg").args(["--compare-versions", &a, word, &b]).status();
            // Elsewhere than on Debian there is nobody to ask.
            if let Ok(status) = verdict {
                prop_assert!(status.success(), "dpkg says not {} {} {}", a, word, b);
            }
        }
    }
}
