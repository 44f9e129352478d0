//! What URLs, comments and file names say of a system.

use std::sync::{Arc, LazyLock, OnceLock};

use regex::bytes::{Captures, Regex, RegexBuilder};
use serde::Deserialize;

use crate::catalogue::{Catalogue, Dialect, Os, fill};

static HINTS: LazyLock<HintFile> = LazyLock::new(|| {
    // A test reads the file; a mistake in it would cost guesses only.
    toml::from_str(include_str!("../../data/answer/hints.toml")).unwrap_or_default()
});

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HintFile {
    url: Vec<Hint>,
    words: Vec<Hint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    pattern: String,
    id: String,
    /// The pattern made ready, once it is asked for.
    #[serde(skip)]
    regex: OnceLock<Option<Regex>>,
}

impl Hint {
    /// Digits and letters of ASCII are enough, and a tenth of the work to make ready.
    fn regex(&self) -> Option<&Regex> {
        let made = || RegexBuilder::new(&self.pattern).unicode(false).build().ok();
        self.regex.get_or_init(made).as_ref()
    }
}

/// The system that a URL is of.
pub(super) fn of_url(url: &str, dialect: Dialect, catalogue: &Catalogue) -> Option<Arc<Os>> {
    first(&HINTS.url, url, dialect, catalogue)
}

/// The system that a comment or a file name speaks of.
pub(super) fn of_words(words: &str, dialect: Dialect, catalogue: &Catalogue) -> Option<Arc<Os>> {
    // In `my_centos7.ks` a word starts after the underscore.
    let words = words.replace('_', " ");
    first(&HINTS.words, &words, dialect, catalogue).or_else(|| {
        words.split(|c: char| !c.is_ascii_alphabetic()).find_map(|it| {
            // Five letters: `sid` or `lenny` in passing says little.
            (it.len() >= 5).then(|| of_codename(it, dialect, catalogue)).flatten()
        })
    })
}

/// The system with this codename.
pub(super) fn of_codename(
    codename: &str,
    dialect: Dialect,
    catalogue: &Catalogue,
) -> Option<Arc<Os>> {
    let codename = codename.to_ascii_lowercase();
    let plain = codename
        .split_once('-')
        .filter(|it| ["updates", "security", "proposed", "backports"].contains(&it.1))
        .map_or(codename.as_str(), |it| it.0);
    catalogue.of_codename(plain).find(|it| it.dialect == dialect)
}

fn first(hints: &[Hint], text: &str, dialect: Dialect, catalogue: &Catalogue) -> Option<Arc<Os>> {
    hints.iter().find_map(|hint| {
        let found = hint.regex()?.captures(text.as_bytes())?;
        named(&filled(&hint.id, &found), dialect, catalogue)
    })
}

fn filled(id: &str, found: &Captures<'_>) -> String {
    fill(id, |name| {
        let group = found.name(name).map_or(&[][..], |it| it.as_bytes());
        Some(String::from_utf8_lossy(group).to_ascii_lowercase())
    })
}

/// A system by a name that may be more exact than the catalogue's.
pub(super) fn named(name: &str, dialect: Dialect, catalogue: &Catalogue) -> Option<Arc<Os>> {
    let mut name = match name.strip_prefix("ubuntu-") {
        // `ubuntu1204` is common in file names.
        Some(version) if version.len() == 4 && !version.contains('.') => {
            format!("ubuntu-{}.{}", version.get(..2)?, version.get(2..)?)
        }
        _ => name.to_owned(),
    };
    loop {
        let fits = |it: &Arc<Os>| it.dialect == dialect;
        let found = catalogue
            .get(&name)
            .filter(fits)
            .or_else(|| catalogue.get(&format!("{name}-legacy")).filter(fits))
            .or_else(|| of_codename(&name, dialect, catalogue));
        if found.is_some() {
            return found;
        }
        name.truncate(name.rfind('.')?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_is_right() {
        let file: HintFile = toml::from_str(include_str!("../../data/answer/hints.toml")).unwrap();
        for hint in file.url.iter().chain(&file.words) {
            assert!(hint.regex().is_some(), "{}", hint.pattern);
        }
    }

    #[test]
    fn urls_name_their_system() {
        let catalogue = Catalogue::built_in();
        for (url, id) in [
            (
                "http://archives.fedoraproject.org/pub/archive/fedora/linux/releases/18/Fedora/x86_64/os/",
                "fedora-18",
            ),
            (
                "https://mirrors.fedoraproject.org/mirrorlist?repo=fedora-42&arch=x86_64",
                "fedora-42",
            ),
            ("http://vault.centos.org/6.4/os/x86_64/", "centos-6.4"),
            ("http://mirror.centos.org/centos/7/os/x86_64/", "centos-7.9"),
            ("http://vault.centos.org/7.6.1810/os/x86_64", "centos-7.6"),
            ("http://mirror.stream.centos.org/9-stream/BaseOS/x86_64/os/", "centos-stream-9"),
            ("https://repo.almalinux.org/almalinux/10/BaseOS/x86_64/os/", "alma-10"),
            ("https://kitten.repo.almalinux.org/10-kitten/BaseOS/x86_64/os/", "alma-kitten-10"),
            ("https://mirrors.almalinux.org/mirrorlist/9/baseos", "alma-9"),
            ("https://download.rockylinux.org/pub/rocky/9/BaseOS/x86_64/os/", "rocky-9"),
            ("http://dl.rockylinux.org/pub/rocky/8.9/BaseOS/x86_64/os/", "rocky-8"),
            ("https://yum.oracle.com/repo/OracleLinux/OL9/baseos/latest/x86_64/", "oracle-9"),
            ("http://example.com/rhel-6.4/", "rhel-6.4"),
            ("http://download.example.com/released/RHEL-5-Server/U9/x86_64/os/", "rhel-5.9"),
            ("http://a/RHEL-4/U8/AS/x86_64/tree", "rhel-4.8"),
            ("http://a/links/RHEL4u8-x86_64/", "rhel-4.8"),
            ("http://a/rhel/4/u8/x86_64", "rhel-4.8"),
            ("http://a/RHEL-5-Server/x86_64", "rhel-5.11"),
            ("http://a/content/dist/rhel/server/6/6.4/x86_64/kickstart/", "rhel-6.4"),
            ("http://a/content/dist/rhel/server/7/7Server/x86_64/os/", "rhel-7.9"),
            ("http://a/fedora/linux/releases/test/43_Beta/Server/x86_64/os/", "fedora-43"),
            ("http://a/f20/", "fedora-20"),
        ] {
            let found = of_url(url, Dialect::Kickstart, &catalogue).map(|it| it.id.clone());
            assert_eq!(found.as_deref(), Some(id), "{url}");
        }
    }

    #[test]
    fn file_names_and_comments_name_their_system() {
        let catalogue = Catalogue::built_in();
        for (words, dialect, id) in [
            ("fedora-18-jeos.ks", Dialect::Kickstart, "fedora-18"),
            ("rhel-6.4-jeos.ks", Dialect::Kickstart, "rhel-6.4"),
            ("#version=RHEL9", Dialect::Kickstart, "rhel-9"),
            ("# RHEL 4 U8, by hand", Dialect::Kickstart, "rhel-4.8"),
            ("# Red Hat Enterprise Linux 5 Update 9", Dialect::Kickstart, "rhel-5.9"),
            ("# Kickstart for CentOS Stream 9", Dialect::Kickstart, "centos-stream-9"),
            ("almalinux-9.gencloud.ks", Dialect::Kickstart, "alma-9"),
            ("almalinux_kitten_10.ks", Dialect::Kickstart, "alma-kitten-10"),
            ("my_centos7.ks", Dialect::Kickstart, "centos-7.9"),
            ("generic.oracle6.ks", Dialect::Kickstart, "oracle-6.10"),
            ("ubuntu-12.04-jeos.preseed", Dialect::Preseed, "ubuntu-12.04"),
            ("ubuntu1804.preseed", Dialect::Preseed, "ubuntu-18.04"),
            ("# for Ubuntu 20.04", Dialect::Preseed, "ubuntu-20.04-legacy"),
            (
                "#### Contents of the preconfiguration file (for trixie)",
                Dialect::Preseed,
                "debian-13",
            ),
            ("sles15sp4.xml", Dialect::Autoyast, "sles-15-sp4"),
            ("leap-15.6.xml", Dialect::Autoyast, "opensuse-15.6"),
        ] {
            let found = of_words(words, dialect, &catalogue).map(|it| it.id.clone());
            assert_eq!(found.as_deref(), Some(id), "{words}");
        }
    }
}
