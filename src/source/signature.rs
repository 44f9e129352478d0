//! Signatures of `OpenPGP`, judged by `gpgv`.
//!
//! `gpgv` knows the keys of the keyrings it is given and no others, asks no
//! agent and no network. Its verdict is read from its status lines (`GnuPG`'s
//! doc/DETAILS), not from its exit code: a file that several keys signed is
//! good where one of them is ours.

use std::{process::Stdio, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use tempfile::NamedTempFile;

use super::{FetchCx, SourceError};

/// The keys that may sign.
#[derive(Clone, Debug)]
pub(super) struct Keyrings {
    pub(super) paths: Vec<Utf8PathBuf>,
    /// Whether the spec names them, so that a signature is demanded.
    pub(super) is_stated: bool,
}

/// What a signature is worth.
pub(super) enum Verdict {
    /// It is good.
    Good {
        /// What was signed, of a text with its signature around it.
        text: String,
        /// Whose it is.
        by: String,
    },
    /// None of the keys made it, or the one that did has expired.
    Unknown(String),
}

/// How long a signature may take to check.
const DEADLINE: Duration = Duration::from_secs(30);
/// How a text with its signature around it begins.
const CLEARSIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
/// How an armoured keyring begins.
const ARMOUR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

impl Keyrings {
    /// The one the spec names, or else those of the system.
    pub(super) fn of(stated: Option<&Utf8PathBuf>, cx: &FetchCx) -> Self {
        match stated {
            Some(path) => Self { paths: vec![path.clone()], is_stated: true },
            None => Self { paths: cx.keyrings.clone(), is_stated: false },
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

/// Whether a text has its signature around it.
pub(super) fn is_clearsigned(text: &str) -> bool {
    text.trim_start().starts_with(CLEARSIGNED)
}

/// Checks `file` against the signature around its text, or against `signature`.
/// `name` is what errors call it.
pub(super) async fn check(
    cx: &FetchCx,
    keyrings: &Keyrings,
    file: &Utf8Path,
    signature: Option<&Utf8Path>,
    name: &str,
) -> Result<Verdict, SourceError> {
    let failed = |reason: String| SourceError::Gpgv { file: name.to_owned(), reason };
    let mut command = cx.guard.command("gpgv");
    command.args(["--status-fd", "2", "--output", "-"]);
    let mut unpacked = Vec::new();
    for path in &keyrings.paths {
        let path = usable(path, &mut unpacked)?;
        command.arg("--keyring").arg(path);
    }
    command.arg("--").args(signature.map(absolute)).arg(absolute(file));
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = tokio::time::timeout(DEADLINE, command.output())
        .await
        .map_err(|_| failed(format!("it did not end within {} s", DEADLINE.as_secs())))?
        .map_err(|it| failed(it.to_string()))?;
    if matches!(output.status.code(), Some(126 | 127)) {
        return Err(failed("the program is not installed".to_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let statuses: Vec<(&str, &str)> = said
        .lines()
        .filter_map(|it| it.strip_prefix("[GNUPG:] "))
        .map(|it| it.split_once(' ').unwrap_or((it, "")))
        .collect();
    let of = |word: &str| statuses.iter().find(|it| it.0 == word).map(|it| it.1);
    if of("BADSIG").is_some() {
        let reason = "the text is not the one that was signed".to_owned();
        return Err(SourceError::BadSignature { file: name.to_owned(), reason });
    }
    if let (Some(good), Some(_)) = (of("GOODSIG"), of("VALIDSIG")) {
        let by = good.split_once(' ').map_or(good, |it| it.1).to_owned();
        return Ok(Verdict::Good {
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            by,
        });
    }
    let reason = if let Some(key) = of("EXPKEYSIG").or_else(|| of("EXPSIG")) {
        format!("the key has expired: {key}")
    } else if let Some(key) = of("REVKEYSIG") {
        let reason = format!("the key was revoked: {key}");
        return Err(SourceError::BadSignature { file: name.to_owned(), reason });
    } else if let Some(key) = of("NO_PUBKEY") {
        format!("its key {key} is not in {}", list(&keyrings.paths))
    } else if of("NODATA").is_some() {
        "there is no signature in it".to_owned()
    } else {
        let last =
            said.lines().rfind(|it| !it.starts_with("[GNUPG:]")).unwrap_or("it says nothing");
        return Err(failed(last.to_owned()));
    };
    if keyrings.is_stated {
        return Err(SourceError::BadSignature { file: name.to_owned(), reason });
    }
    Ok(Verdict::Unknown(reason))
}

/// A keyring in the form that gpgv reads: binary, with a slash in its path.
fn usable(path: &Utf8Path, unpacked: &mut Vec<NamedTempFile>) -> Result<Utf8PathBuf, SourceError> {
    let bad = |reason: String| SourceError::BadKeyring { path: path.to_owned(), reason };
    let bytes = fs::read(path).map_err(|it| bad(it.kind().to_string()))?;
    if bytes.is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    let Some(text) = std::str::from_utf8(&bytes).ok().filter(|it| it.contains(ARMOUR)) else {
        return Ok(absolute(path));
    };
    let keys = dearmour(text).ok_or_else(|| bad("its armour is damaged".to_owned()))?;
    let written = tempfile::NamedTempFile::new().and_then(|mut file| {
        std::io::Write::write_all(&mut file, &keys)?;
        Ok(file)
    });
    let file = written.map_err(SourceError::io(path))?;
    let path = Utf8PathBuf::from_path_buf(file.path().to_owned())
        .map_err(|_| bad("the folder for temporary files is not UTF-8".to_owned()))?;
    unpacked.push(file);
    Ok(path)
}

/// The binary form of every key block in an armoured text (RFC 9580, 6.2).
fn dearmour(text: &str) -> Option<Vec<u8>> {
    let mut keys = Vec::new();
    for block in text.split(ARMOUR).skip(1) {
        let (body, _) = block.split_once("-----END")?;
        let lines = body.lines().map(str::trim).skip(1);
        // Headers such as `Version: 1` end with an empty line; the checksum
        // line starts with `=`.
        let body: String = lines.filter(|it| !it.contains(": ") && !it.starts_with('=')).collect();
        keys.append(&mut STANDARD.decode(body).ok()?);
    }
    Some(keys)
}

fn absolute(path: &Utf8Path) -> Utf8PathBuf {
    camino::absolute_utf8(path).unwrap_or_else(|_| Utf8Path::new(".").join(path))
}

fn list(paths: &[Utf8PathBuf]) -> String {
    paths.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armour_is_taken_off() {
        let text = format!(
            "a comment\n{ARMOUR}\nVersion: 1\n\naGVs\nbG8=\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
        );
        assert_eq!(dearmour(&text), Some(b"hello".to_vec()));
        assert_eq!(dearmour(&text.repeat(2)), Some(b"hellohello".to_vec()));
        assert_eq!(dearmour(&format!("{ARMOUR}\n\naGVs")), None);
    }

    #[test]
    fn a_signature_around_a_text_is_seen() {
        assert!(is_clearsigned("\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n"));
        assert!(!is_clearsigned("Origin: Debian\n"));
    }
}
