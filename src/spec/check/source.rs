//! Where the installer comes from.

use std::collections::BTreeMap;

use super::Checker;
use crate::{
    model::{BootMethod, Checksums, Source},
    spec::file::{IsoTable, KernelTable, PackageTable, SourceTable, TreeTable},
};

/// The digests we check, with the number of their hex digits.
const DIGESTS: &[(&str, usize)] = &[("sha256", 64), ("sha512", 128), ("md5", 32)];

impl Checker<'_> {
    pub(super) fn source(
        &mut self,
        table: Option<&SourceTable>,
        boot: BootMethod,
    ) -> Option<Source> {
        match table {
            None => self.public_tree(),
            Some(SourceTable { tree: Some(it), .. }) => self.tree(it),
            Some(SourceTable { iso: Some(it), .. }) => Some(self.iso(it, boot)),
            Some(SourceTable { kernel: Some(it), .. }) => Some(self.kernel(it)),
            Some(SourceTable { package: Some(it), .. }) => self.package(it),
            Some(_) => None,
        }
    }

    /// Nothing was said: the system's public tree.
    fn public_tree(&mut self) -> Option<Source> {
        let os = self.os.clone()?;
        let Some(url) = os.tree.as_ref().and_then(|it| it.url.clone()) else {
            self.error(
                "missing-source",
                format!("`{}` has no public install tree, so the spec has to name a source", os.id),
                &["os"],
                "this system",
                "add `[source.iso]` or another source",
            );
            return None;
        };
        Some(Source::Tree {
            url: self.tree_url(&url),
            kernel: None,
            initrd: None,
            checksums: Checksums::default(),
            keyring: None,
        })
    }

    fn tree(&mut self, table: &TreeTable) -> Option<Source> {
        let TreeTable { url, kernel, initrd, checksums, checksum_file, keyring } = table;
        let layout = self.os.as_ref().and_then(|it| it.tree.clone());
        if let Some(os) = self.os.clone()
            && layout.is_none()
            && (kernel.is_none() || initrd.is_none())
        {
            self.contradiction(
                format!("where kernel and initrd are in a tree of `{}` is not known", os.id),
                (&["source", "tree"], "an install tree"),
                (&["os"], "this system has none"),
                "add `kernel` and `initrd` below the tree, or use `[source.iso]`",
            );
        }
        self.both_or_none("tree", kernel.as_ref(), initrd.as_ref());
        let public = layout.and_then(|it| it.url);
        let url = match (url, public) {
            (Some(url), _) => {
                self.url(&["source", "tree", "url"], url);
                url.clone()
            }
            (None, Some(public)) => self.tree_url(&public),
            (None, None) => {
                if self.os.is_some() {
                    self.error(
                        "missing-key",
                        "`source.tree` has no `url`, and the system has no public tree",
                        &["source", "tree"],
                        "needs `url`",
                        "add `url`: the base of the install tree",
                    );
                }
                return None;
            }
        };
        Some(Source::Tree {
            url,
            kernel: kernel.clone(),
            initrd: initrd.clone(),
            checksums: self.checksums("tree", checksums, checksum_file.as_ref(), None),
            keyring: keyring.clone().map(Into::into),
        })
    }

    fn iso(&mut self, table: &IsoTable, boot: BootMethod) -> Source {
        let IsoTable { location, kernel, initrd, checksums, checksum_file, attach } = table;
        self.both_or_none("iso", kernel.as_ref(), initrd.as_ref());
        if let Some(os) = self.os.clone()
            && os.iso.is_none()
            && kernel.is_none()
            && boot != BootMethod::Cdrom
        {
            self.contradiction(
                format!("where kernel and initrd are in an ISO of `{}` is not known", os.id),
                (&["source", "iso"], "an ISO image"),
                (&["os"], "of this system"),
                "add `kernel` and `initrd`: their paths inside the ISO",
            );
        }
        self.location(&["source", "iso", "location"], location);
        Source::Iso {
            location: location.clone(),
            kernel: kernel.clone(),
            initrd: initrd.clone(),
            checksums: self.checksums("iso", checksums, checksum_file.as_ref(), Some(&[location])),
            attach: attach.unwrap_or(true),
        }
    }

    fn kernel(&mut self, table: &KernelTable) -> Source {
        let KernelTable { kernel, initrd, checksums, checksum_file } = table;
        self.location(&["source", "kernel", "kernel"], kernel);
        self.location(&["source", "kernel", "initrd"], initrd);
        Source::Kernel {
            kernel: kernel.clone(),
            initrd: initrd.clone(),
            checksums: self.checksums(
                "kernel",
                checksums,
                checksum_file.as_ref(),
                Some(&[kernel, initrd]),
            ),
        }
    }

    fn package(&mut self, table: &PackageTable) -> Option<Source> {
        let PackageTable {
            mirror,
            suite,
            component,
            name,
            version,
            kernel,
            initrd,
            keyring,
            checksums,
            checksum_file,
        } = table;
        self.url(&["source", "package", "mirror"], mirror);
        self.both_or_none("package", kernel.as_ref(), initrd.as_ref());
        let os = self.os.clone()?;
        let layout = os.package.as_ref();
        if layout.is_none() && (name.is_none() || kernel.is_none() || initrd.is_none()) {
            self.contradiction(
                format!("no distribution package with the installer of `{}` is known", os.id),
                (&["source", "package"], "a package"),
                (&["os"], "of this system"),
                "add `name`, `kernel` and `initrd`, or use another source",
            );
        }
        let suite = suite.clone().or_else(|| os.codename.clone());
        if suite.is_none() {
            self.error(
                "missing-key",
                "`source.package` has no `suite`, and the system has no codename",
                &["source", "package"],
                "needs `suite`",
                "add `suite`, such as `trixie`",
            );
        }
        Some(Source::Package {
            mirror: mirror.clone(),
            suite: suite.unwrap_or_default(),
            component: component.clone().unwrap_or_else(|| "main".to_owned()),
            name: name
                .clone()
                .unwrap_or_else(|| layout.map(|it| self.tree_url(&it.name)).unwrap_or_default()),
            version: version.clone(),
            kernel: kernel.clone(),
            initrd: initrd.clone(),
            keyring: keyring.clone().map(Into::into),
            checksums: self.checksums("package", checksums, checksum_file.as_ref(), None),
        })
    }

    /// A string of the catalogue with `{arch}` and the like filled in.
    fn tree_url(&self, text: &str) -> String {
        let Some(os) = &self.os else { return text.to_owned() };
        text.replace("{arch}", self.arch.as_str())
            .replace("{debarch}", self.arch.debian())
            .replace("{version}", &os.version)
            .replace("{codename}", os.codename.as_deref().unwrap_or_default())
    }

    fn both_or_none(&mut self, source: &str, kernel: Option<&String>, initrd: Option<&String>) {
        let (given, missing) = match (kernel, initrd) {
            (Some(_), None) => ("kernel", "initrd"),
            (None, Some(_)) => ("initrd", "kernel"),
            _ => return,
        };
        self.error(
            "missing-key",
            format!("`source.{source}` has `{given}` but no `{missing}`"),
            &["source", source, given],
            "belongs to the other",
            format!("add `{missing}`, or leave `{given}` out"),
        );
    }

    /// A URL that something is fetched from.
    fn url(&mut self, path: &[&str], text: &str) {
        if self.is_open(path) {
            return;
        }
        if let Err(why) = split_url(text) {
            let help = match why {
                UrlError::NoScheme => "write it in full, such as `http://ftp.debian.org/debian`",
                UrlError::OtherScheme => "use `http`, `https` or `file`",
                UrlError::NoHost => {
                    "write the host after `//`; a file's URL has three slashes, `file:///srv/tree`"
                }
                UrlError::Space => "write a space as `%20`",
                UrlError::Port => "a port is a number from 1 to 65535",
            };
            self.error(
                "bad-url",
                format!("`{}` {}", path.join("."), why.words()),
                path,
                "here",
                help,
            );
        }
    }

    /// A path, or a URL.
    fn location(&mut self, path: &[&str], text: &str) {
        if self.is_open(path) {
            return;
        }
        if text.trim().is_empty() {
            self.error(
                "bad-value",
                format!("`{}` is empty", path.join(".")),
                path,
                "here",
                "write a path or a URL",
            );
        } else if text.contains("://") {
            self.url(path, text);
        }
    }

    /// Digests; `names` are the only files they can be for, where that is known.
    fn checksums(
        &mut self,
        source: &str,
        digests: &BTreeMap<String, String>,
        file: Option<&String>,
        names: Option<&[&String]>,
    ) -> Checksums {
        for (name, digest) in digests {
            let path = ["source", source, "checksums", name.as_str()];
            if !self.is_open(&path) {
                self.digest(&path, digest);
            }
            if let Some(names) = names
                && !names.iter().any(|it| it.as_str() == name || last_part(it) == last_part(name))
            {
                let known: Vec<_> = names.iter().map(|it| last_part(it)).collect();
                let at = self.document.key_span(&path);
                self.errors.push(
                    super::SpecError::new(
                        "unknown-file",
                        format!("`{name}` is not fetched, so its digest is never used"),
                    )
                    .at(at, "unknown file")
                    .help(format!(
                        "the digests of this source are for {}",
                        super::names::list(&known)
                    )),
                );
            }
        }
        if let Some(file) = file {
            self.location(&["source", source, "checksum-file"], file);
        }
        Checksums { digests: digests.clone(), file: file.cloned() }
    }

    fn digest(&mut self, path: &[&str], text: &str) {
        let (kind, hex) = text.split_once(':').unwrap_or(("", text));
        let is_hex = hex.bytes().all(|it| it.is_ascii_hexdigit());
        let message = match DIGESTS.iter().find(|(known, _)| *known == kind) {
            Some((_, length)) if is_hex && hex.len() == *length => return,
            Some((_, length)) if is_hex => {
                format!("this digest has {} digits, {kind} has {length}", hex.len())
            }
            Some(_) => "this digest is not hexadecimal".to_owned(),
            None if kind.is_empty() => "this digest does not say what it is".to_owned(),
            None => format!("`{kind}` digests are not checked"),
        };
        let guess = DIGESTS.iter().find(|(_, length)| is_hex && *length == hex.len());
        let help = match guess {
            Some((guess, _)) => {
                format!("write it as `{guess}:{}…`", hex.get(..8).unwrap_or_default())
            }
            None => "write `sha256:` and 64 digits, or `sha512:` and 128".to_owned(),
        };
        self.error("bad-digest", message, path, "here", help);
    }
}

/// The file's name at the end of a path or URL.
fn last_part(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or(text).rsplit('/').next().unwrap_or(text)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UrlError {
    NoScheme,
    OtherScheme,
    NoHost,
    Space,
    Port,
}

impl UrlError {
    const fn words(self) -> &'static str {
        match self {
            Self::NoScheme => "is not a URL",
            Self::OtherScheme => "has a scheme that imgbuild does not fetch",
            Self::NoHost => "names no host",
            Self::Space => "has a space in it",
            Self::Port => "has a port that is none",
        }
    }
}

fn split_url(text: &str) -> Result<(), UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
    if scheme.is_empty()
        || !scheme.bytes().all(|it| it.is_ascii_alphanumeric() || b"+-.".contains(&it))
    {
        return Err(UrlError::NoScheme);
    }
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https" | "file") {
        return Err(UrlError::OtherScheme);
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(UrlError::Space);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if scheme == "file" {
        return if rest.starts_with('/') { Ok(()) } else { Err(UrlError::NoHost) };
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match host.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    match port.map(str::parse::<u16>) {
        None => Ok(()),
        Some(Ok(port)) if port > 0 => Ok(()),
        Some(_) => Err(UrlError::Port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_what_is_none() {
        for (text, expected) in [
            ("http://ftp.debian.org/debian", Ok(())),
            ("https://user:pw@host:8443/a?b#c", Ok(())),
            ("http://[::1]:80/", Ok(())),
            ("file:///srv/tree", Ok(())),
            ("ftp.debian.org/debian", Err(UrlError::NoScheme)),
            ("ftp://host/x", Err(UrlError::OtherScheme)),
            ("http:///debian", Err(UrlError::NoHost)),
            ("file://srv", Err(UrlError::NoHost)),
            ("http://a b/", Err(UrlError::Space)),
            ("http://host:99999/", Err(UrlError::Port)),
        ] {
            assert_eq!(split_url(text), expected, "{text}");
        }
    }
}
