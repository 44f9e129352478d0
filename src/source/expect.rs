//! What the spec itself states of a source's files.

use camino::Utf8PathBuf;

use crate::model::Checksums;

use super::{
    FetchCx, SourceError, Trust,
    cache::Cache,
    checksums::{ChecksumFile, parse_checksums},
    digest::Digest,
    download::{self, Expected, Want},
    location::Location,
    signature::{self, Keyrings, Verdict},
    treeinfo::TreeInfo,
};

/// Digests that the spec states, or that a checksum file states which it names.
pub(super) struct Statements {
    stated: ChecksumFile,
    file: Option<(String, ChecksumFile, Trust)>,
}

/// A digest that is expected, and what stands behind it.
#[derive(Clone, Debug)]
pub(super) struct Vouched {
    pub(super) expected: Option<Expected>,
    pub(super) trust: Trust,
}

impl Vouched {
    /// Nothing is known of the file.
    pub(super) const fn nothing() -> Self {
        Self { expected: None, trust: Trust::None }
    }

    pub(super) fn new(digest: &Digest, stated_by: &str, trust: Trust) -> Self {
        let expected = Expected { digest: digest.clone(), stated_by: stated_by.to_owned() };
        Self { expected: Some(expected), trust }
    }
}

/// Where signatures are, beside what they sign.
const SIGNATURES: [&str; 4] = [".gpg", ".asc", ".sign", ".sig"];

impl Statements {
    /// Reads the digests, without a look at the checksum file.
    pub(super) fn of(checksums: &Checksums) -> Result<Self, SourceError> {
        let mut entries = Vec::new();
        for (name, text) in &checksums.digests {
            let digest = text
                .parse::<Digest>()
                .map_err(|source| SourceError::BadDigest { name: name.clone(), source })?;
            entries.push((name.clone(), digest));
        }
        Ok(Self { stated: ChecksumFile::new(entries), file: None })
    }

    /// Reads the digests, and the checksum file where one is named.
    pub(super) async fn load(
        checksums: &Checksums,
        keyring: Option<&Utf8PathBuf>,
        cache: &Cache,
        cx: &FetchCx,
    ) -> Result<Self, SourceError> {
        let mut statements = Self::of(checksums)?;
        let Some(file) = &checksums.file else { return Ok(statements) };
        let location = Location::parse(file)?;
        let name = location.to_string();
        let text = download::text(cx, cache, &location, None).await?;
        let keyrings = Keyrings::of(keyring, cx);
        let signed = if keyrings.is_stated {
            Some(signed_text(&location, &text, &keyrings, cache, cx).await?)
        } else {
            None
        };
        let (text, trust) = match signed {
            // The spec names it, and it lies on this machine: as good as stated.
            None if location.as_path().is_some() => (text, Trust::Stated),
            None => (text, Trust::Checksum { file: name.clone() }),
            Some(Some((text, by))) => (text, Trust::Signed { by }),
            Some(None) => return Err(SourceError::Unsigned { file: name }),
        };
        let listed = listing(&text).ok_or_else(|| SourceError::BadFile {
            file: name.clone(),
            kind: "a checksum file",
            reason: "no line of it states a digest".to_owned(),
        })?;
        statements.file = Some((name, listed, trust));
        Ok(statements)
    }

    /// What the spec states of a file, by its path or by its role (`kernel`). A
    /// checksum file that it names has to list the file.
    pub(super) fn find(&self, role: &str, path: &str) -> Result<Option<Vouched>, SourceError> {
        if let Some(digest) = self.stated.find(path).or_else(|| self.stated.find(role)) {
            return Ok(Some(Vouched::new(digest, "the spec", Trust::Stated)));
        }
        match &self.file {
            None => Ok(None),
            Some((name, listed, trust)) => match listed.find(path) {
                Some(digest) => Ok(Some(Vouched::new(digest, name, trust.clone()))),
                None => Err(SourceError::NotListed { file: name.clone(), wanted: path.to_owned() }),
            },
        }
    }

    /// Whether a file is stated at all; of ISOs the files inside may be instead.
    pub(super) fn states(&self, role: &str, path: &str) -> bool {
        matches!(self.find(role, path), Ok(Some(_)))
    }
}

/// The digests in a checksum file or a `.treeinfo`.
fn listing(text: &str) -> Option<ChecksumFile> {
    parse_checksums(text).or_else(|| {
        let info = TreeInfo::parse(text, "").ok()?;
        (!info.checksums.is_empty()).then_some(info.checksums)
    })
}

/// The text that is signed, and by whom: the signature is around it, or beside
/// it. `None` where there is none, or none that could be checked.
pub(super) async fn signed_text(
    location: &Location,
    text: &str,
    keyrings: &Keyrings,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<Option<(String, String)>, SourceError> {
    if keyrings.is_empty() {
        return Ok(None);
    }
    let name = location.to_string();
    let file = download::get(cx, cache, Want::small(location)).await?;
    let verdict = if signature::is_clearsigned(text) {
        signature::check(cx, keyrings, &file.path, None, &name).await?
    } else {
        let mut found = None;
        for suffix in SIGNATURES {
            let beside = location.with_suffix(suffix);
            match download::get(cx, cache, Want::small(&beside)).await {
                Ok(it) => {
                    found = Some(it);
                    break;
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let Some(beside) = found else { return Ok(None) };
        signature::check(cx, keyrings, &file.path, Some(&beside.path), &name).await?
    };
    Ok(match verdict {
        Verdict::Good { text: signed, by } if signature::is_clearsigned(text) => Some((signed, by)),
        Verdict::Good { by, .. } => Some((text.to_owned(), by)),
        Verdict::Unknown(reason) => {
            cx.teller.info(format!("the signature of `{name}` could not be checked: {reason}"));
            None
        }
    })
}

/// What vouches for both files: the weaker of the two.
pub(super) fn weaker(a: Trust, b: Trust) -> Trust {
    let strength = |it: &Trust| match it {
        Trust::None => 0,
        Trust::Checksum { .. } => 1,
        Trust::Signed { .. } => 2,
        Trust::Stated => 3,
        Trust::Local => 4,
    };
    if strength(&a) <= strength(&b) { a } else { b }
}
