//! Install trees: where their kernel is, whose tree it is, what vouches for it.

use camino::Utf8PathBuf;
use regex::Regex;

use crate::{
    catalogue::Os,
    model::{Arch, Checksums},
};

use super::{
    FetchCx, InstallerFiles, SourceError, Trust, apt,
    cache::Cache,
    checksums::parse_checksums,
    download::{self, Expected},
    expect::{Statements, Vouched, signed_text},
    layout::fill,
    location::Location,
    plain,
    signature::{Keyrings, is_clearsigned},
    treeinfo::TreeInfo,
};

/// A tree as the spec has it.
pub(super) struct Tree<'a> {
    pub(super) url: &'a str,
    pub(super) kernel: &'a Option<String>,
    pub(super) initrd: &'a Option<String>,
    pub(super) checksums: &'a Checksums,
    pub(super) keyring: &'a Option<Utf8PathBuf>,
}

/// Where a tree's files are, and what is expected of them.
pub(super) struct Located {
    pub(super) kernel_at: Location,
    pub(super) kernel: Vouched,
    pub(super) initrd_at: Location,
    pub(super) initrd: Vouched,
}

/// What is known of a tree so far.
struct Search<'a> {
    os: &'a Os,
    arch: Arch,
    base: Location,
    keyrings: Keyrings,
    statements: Statements,
    kernel: Option<String>,
    initrd: Option<String>,
    /// What a checksum file of the tree states of kernel and initrd.
    kernel_digest: Option<Vouched>,
    initrd_digest: Option<Vouched>,
    /// The Release file that was tried, and what came of it.
    release: Option<apt::Release>,
}

pub(super) async fn fetch(
    tree: &Tree<'_>,
    os: &Os,
    arch: Arch,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<InstallerFiles, SourceError> {
    let located = locate(tree, os, arch, cache, cx).await?;
    let Located { kernel_at, kernel, initrd_at, initrd } = located;
    let mut files = plain::pair(cx, cache, (&kernel_at, kernel), (&initrd_at, initrd)).await?;
    files.tree_url = Some(tree.url.trim_end_matches('/').to_owned());
    if let Trust::Checksum { file } = &files.trust {
        cx.teller.info(format!("the digests in `{file}` match, but no signature vouches for them"));
    }
    Ok(files)
}

/// Finds out where kernel and initrd are and which digests they must have. Reads
/// small files only.
pub(super) async fn locate(
    tree: &Tree<'_>,
    os: &Os,
    arch: Arch,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<Located, SourceError> {
    let keyrings = Keyrings::of(tree.keyring.as_ref(), cx);
    let statements = Statements::load(tree.checksums, tree.keyring.as_ref(), cache, cx).await?;
    let filled = |path: &Option<String>| path.as_deref().map(|it| fill(it, os, arch)).transpose();
    let mut search = Search {
        os,
        arch,
        base: Location::parse(tree.url)?,
        keyrings,
        statements,
        kernel: filled(tree.kernel)?,
        initrd: filled(tree.initrd)?,
        kernel_digest: None,
        initrd_digest: None,
        release: None,
    };
    let layout = os.tree.as_ref();
    let guess = |of: fn(&crate::catalogue::TreeLayout) -> &String| {
        layout.map(|it| fill(of(it), os, arch)).transpose()
    };
    let guessed = (guess(|it| &it.kernel)?, guess(|it| &it.initrd)?);
    if !search.is_in_cache(&guessed, cache).await? {
        for file in layout.map(|it| &it.checksums[..]).unwrap_or_default() {
            let file = fill(file, os, arch)?;
            if search.read(&file, &guessed, cache, cx).await? == Enough::Yes {
                break;
            }
        }
    }
    search.end(guessed, cx)
}

/// Whether there is any use in reading another checksum file.
#[derive(PartialEq, Eq)]
enum Enough {
    No,
    Yes,
}

impl Search<'_> {
    /// Whether the cache has what the spec states, so that nothing has to be
    /// asked: a build that was done once can be done again without a network.
    async fn is_in_cache(
        &self,
        guessed: &(Option<String>, Option<String>),
        cache: &Cache,
    ) -> Result<bool, SourceError> {
        for (role, own, guess) in
            [("kernel", &self.kernel, &guessed.0), ("initrd", &self.initrd, &guessed.1)]
        {
            let Some(path) = own.as_ref().or(guess.as_ref()) else { return Ok(false) };
            let Some(Vouched { expected: Some(expected), .. }) =
                self.statements.find(role, path)?
            else {
                return Ok(false);
            };
            if cache.object(&expected.digest.hex).await.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn read(
        &mut self,
        file: &str,
        guessed: &(Option<String>, Option<String>),
        cache: &Cache,
        cx: &FetchCx,
    ) -> Result<Enough, SourceError> {
        let at = self.base.below(file)?;
        let vouched = match self.vouched_text(file, &at, cache, cx).await {
            Ok(it) => it,
            Err(error) if error.is_not_found() => return Ok(Enough::No),
            Err(error) => return Err(error),
        };
        let (text, trust) = vouched;
        let bad = |kind: &'static str, reason: String| SourceError::BadFile {
            file: at.to_string(),
            kind,
            reason,
        };
        let listed = if matches!(at.file_name(), ".treeinfo" | "treeinfo") {
            let info = TreeInfo::parse(&text, self.arch.as_str())
                .map_err(|reason| bad("a `.treeinfo`", reason))?;
            check_tree(&info, self.os, self.arch, &self.base.to_string())?;
            self.kernel = self.kernel.take().or(info.kernel);
            self.initrd = self.initrd.take().or(info.initrd);
            info.checksums
        } else {
            parse_checksums(&text)
                .ok_or_else(|| bad("a checksum file", "no line of it states a digest".to_owned()))?
        };
        let folder = file.rsplit_once('/').map_or("", |it| it.0);
        let name = at.to_string();
        let find = |own: Option<&String>| {
            let path = own?;
            let inside = path.trim_start_matches('/').strip_prefix(folder);
            let inside = inside.filter(|_| !folder.is_empty()).unwrap_or(path);
            let digest = listed.find(inside)?;
            Some(Vouched::new(digest, &name, trust.clone()))
        };
        let kernel = find(self.kernel.as_ref().or(guessed.0.as_ref()));
        let initrd = find(self.initrd.as_ref().or(guessed.1.as_ref()));
        self.kernel_digest = self.kernel_digest.take().or(kernel);
        self.initrd_digest = self.initrd_digest.take().or(initrd);
        let is_all = self.kernel_digest.is_some() && self.initrd_digest.is_some();
        Ok(if is_all { Enough::Yes } else { Enough::No })
    }

    /// A checksum file's text, and what it is worth.
    async fn vouched_text(
        &mut self,
        file: &str,
        at: &Location,
        cache: &Cache,
        cx: &FetchCx,
    ) -> Result<(String, Trust), SourceError> {
        let unsigned = Trust::Checksum { file: at.to_string() };
        if let Some((suite, path)) = in_archive(file)
            && !self.keyrings.is_empty()
        {
            if self.release.is_none() {
                let release = apt::release(&self.base, suite, &self.keyrings, cache, cx).await;
                self.release = match release {
                    Ok(it) => Some(it),
                    // A tree that was copied without its archive.
                    Err(error) if error.is_not_found() && !self.keyrings.is_stated => {
                        Some(apt::Release::absent())
                    }
                    Err(error) => return Err(error),
                };
            }
            if let Some(release) = &self.release {
                if let Some(reason) = &release.unsigned_because {
                    cx.teller.warn(format!("no signature was checked for `{at}`: {reason}"));
                }
                if let (Some(by), Some(digest)) = (&release.signed_by, release.digest(path)) {
                    let stated_by = format!("{}, signed by {by}", release.name);
                    let expected = Expected { digest: digest.clone(), stated_by };
                    match download::text(cx, cache, at, Some(&expected)).await {
                        Ok(text) => return Ok((text, Trust::Signed { by: by.clone() })),
                        // A mirror on this very machine is its user's own, who may
                        // have mended the installer in it. It is not trusted for
                        // that, and whoever states a keyring means it.
                        Err(SourceError::DigestDiffers { .. })
                            if self.base.is_on_this_machine() && !self.keyrings.is_stated =>
                        {
                            cx.teller.warn(format!(
                                "`{at}` is not the file that {} vouches for; the mirror is on \
                                 this machine, so the build goes on without its signature",
                                release.name
                            ));
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        let text = download::text(cx, cache, at, None).await?;
        // Without a keyring from the spec only what is surely meant to be
        // checked is: asking for signatures that are not there costs time.
        if self.keyrings.is_stated || is_clearsigned(&text) {
            let signed = signed_text(at, &text, &self.keyrings, cache, cx).await?;
            if let Some((text, by)) = signed {
                return Ok((text, Trust::Signed { by }));
            }
        }
        Ok((text, unsigned))
    }

    fn end(
        mut self,
        guessed: (Option<String>, Option<String>),
        cx: &FetchCx,
    ) -> Result<Located, SourceError> {
        let missing = || SourceError::NoLayout { os: self.os.id.clone(), kind: "install tree" };
        let kernel = self.kernel.take().or(guessed.0).ok_or_else(missing)?;
        let initrd = self.initrd.take().or(guessed.1).ok_or_else(missing)?;
        let vouched = |role, path: &str, listed: Option<Vouched>| {
            let it = self.statements.find(role, path)?.or(listed).unwrap_or_else(Vouched::nothing);
            let is_signed = matches!(it.trust, Trust::Signed { .. } | Trust::Stated);
            if self.keyrings.is_stated && !is_signed {
                return Err(SourceError::Unsigned { file: self.base.below(path)?.to_string() });
            }
            if it.expected.is_none() {
                cx.teller.warn(format!("the tree states no digest of its {role} `{path}`"));
            }
            Ok(it)
        };
        Ok(Located {
            kernel: vouched("kernel", &kernel, self.kernel_digest)?,
            initrd: vouched("initrd", &initrd, self.initrd_digest)?,
            kernel_at: self.base.below(&kernel)?,
            initrd_at: self.base.below(&initrd)?,
        })
    }
}

/// `dists/trixie/main/x` as `trixie` and `main/x`, as the Release file of a
/// Debian archive names it.
fn in_archive(file: &str) -> Option<(&str, &str)> {
    file.trim_start_matches('/').strip_prefix("dists/")?.split_once('/')
}

/// Whether a tree is the system's that the spec names.
pub(super) fn check_tree(
    info: &TreeInfo,
    os: &Os,
    arch: Arch,
    url: &str,
) -> Result<(), SourceError> {
    let wrong = |found: String| SourceError::WrongTree {
        url: url.to_owned(),
        found,
        wanted: os.id.clone(),
    };
    if let Some(other) = info.arch.as_deref().filter(|it| *it != arch.as_str()) {
        return Err(wrong(format!("{} for {other} instead of {arch}", info.title())));
    }
    let Some(layout) = &os.tree else { return Ok(()) };
    for (regex, value) in
        [(&layout.treeinfo_family, &info.family), (&layout.treeinfo_version, &info.version)]
    {
        let (Some(regex), Some(value)) = (regex, value) else { continue };
        // The whole value: `CentOS` is not `CentOS Stream`.
        let is_it = Regex::new(&format!("^(?:{regex})$")).is_ok_and(|it| it.is_match(value));
        if !is_it {
            return Err(wrong(info.title()));
        }
    }
    Ok(())
}
