//! Installers that a distribution packages, such as `debian-installer-13-netboot-amd64`.

use std::{collections::BTreeMap, io::BufReader};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use crate::{
    catalogue::Os,
    model::{Arch, Checksums, Source},
};

use super::{
    CachedFile, FetchCx, InstallerFiles, SourceError, Trust,
    apt::{self, Release, Stanza, compare_versions},
    cache::{Cache, Entry, Object},
    deb,
    download::{self, Expected, Want},
    expect::Statements,
    layout::fill,
    location::Location,
    signature::Keyrings,
};

/// A package as the spec has it, with the catalogue's paths.
pub(super) struct Package {
    mirror: Location,
    suite: String,
    component: String,
    name: String,
    version: Option<String>,
    paths: [String; 2],
    keyring: Option<Utf8PathBuf>,
    checksums: Checksums,
    arch: Arch,
}

/// A package in an index, and what vouches for it.
pub(super) struct Located {
    pub(super) at: Location,
    pub(super) size: Option<u64>,
    pub(super) expected: Option<Expected>,
    trust: Trust,
}

impl Package {
    pub(super) fn of(source: &Source, os: &Os, arch: Arch) -> Result<Self, SourceError> {
        let Source::Package {
            mirror,
            suite,
            component,
            name,
            version,
            kernel,
            initrd,
            keyring,
            checksums,
        } = source
        else {
            return Err(SourceError::NoLayout { os: os.id.clone(), kind: "package" });
        };
        let layout = os.package.as_ref();
        let path = |own: &Option<String>, known: Option<&String>| {
            let path = own.as_ref().or(known);
            let path =
                path.ok_or_else(|| SourceError::NoLayout { os: os.id.clone(), kind: "package" })?;
            fill(path, os, arch)
        };
        Ok(Self {
            mirror: Location::parse(mirror)?,
            suite: fill(suite, os, arch)?,
            component: component.clone(),
            name: fill(name, os, arch)?,
            version: version.clone(),
            paths: [
                path(kernel, layout.map(|it| &it.kernel))?,
                path(initrd, layout.map(|it| &it.initrd))?,
            ],
            keyring: keyring.clone(),
            checksums: checksums.clone(),
            arch,
        })
    }
}

pub(super) async fn fetch(
    package: &Package,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<InstallerFiles, SourceError> {
    if let Some(files) = at_hand(package, cache).await? {
        return Ok(files);
    }
    let located = locate(package, cache, cx).await?;
    let want = Want::large(&located.at, &package.name).expecting(located.expected.as_ref());
    let deb = download::get(cx, cache, want).await?;
    files(package, &deb, located.trust, cache, cx).await
}

/// What the cache holds of a package whose digest the spec states: then nothing
/// has to be asked.
pub(super) async fn at_hand(
    package: &Package,
    cache: &Cache,
) -> Result<Option<InstallerFiles>, SourceError> {
    let statements = Statements::of(&package.checksums)?;
    let Some(stated) = statements.find("package", &package.name)? else { return Ok(None) };
    let Some(expected) = stated.expected else { return Ok(None) };
    let Some(objects) = extracted(package, &expected.digest.hex, cache).await else {
        return Ok(None);
    };
    Ok(Some(package.installer(objects, &package.mirror, Trust::Stated)))
}

/// Finds the package in the mirror's signed indexes.
pub(super) async fn locate(
    package: &Package,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<Located, SourceError> {
    let keyrings = Keyrings::of(package.keyring.as_ref(), cx);
    let is_stated = !package.checksums.digests.is_empty() || package.checksums.file.is_some();
    if keyrings.is_empty() && !is_stated {
        let file = package.mirror.below(&format!("dists/{}/InRelease", package.suite))?;
        return Err(SourceError::NoKeyring { file: file.to_string() });
    }
    let release = apt::release(&package.mirror, &package.suite, &keyrings, cache, cx).await?;
    if let (Some(reason), false) = (&release.unsigned_because, is_stated) {
        let reason = reason.clone();
        return Err(SourceError::BadSignature { file: release.name, reason });
    }
    let mut found = Vec::new();
    // Debian lists packages for all architectures with each of them.
    let folders: &[&str] = if release.lists_all_with_each {
        &[package.arch.debian()]
    } else {
        &[package.arch.debian(), "all"]
    };
    for folder in folders {
        found.append(&mut index(package, &release, folder, cache, cx).await?);
    }
    let stanza = choose(package, found)?;
    let at = package.mirror.below(&stanza.filename)?;
    let statements =
        Statements::load(&package.checksums, package.keyring.as_ref(), cache, cx).await?;
    let stated = match statements.find("package", at.file_name())? {
        None => statements.find("package", &package.name)?,
        stated => stated,
    };
    let signed = release.signed_by.map(|by| Trust::Signed { by });
    let of_index = stanza.digest.map(|digest| Expected { digest, stated_by: release.name.clone() });
    let (expected, trust) = match (stated, signed, of_index) {
        (Some(it), ..) => (it.expected, it.trust),
        (None, Some(trust), expected @ Some(_)) => (expected, trust),
        (None, ..) => {
            return Err(SourceError::NotListed { file: release.name, wanted: stanza.filename });
        }
    };
    Ok(Located { at, size: stanza.size, expected, trust })
}

/// Every version of the package in one index.
async fn index(
    package: &Package,
    release: &Release,
    folder: &str,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<Vec<Stanza>, SourceError> {
    for end in [".xz", ".gz", ""] {
        let path = format!("{}/binary-{folder}/Packages{end}", package.component);
        let Some(digest) = release.digest(&path) else { continue };
        let at = package.mirror.below(&format!("dists/{}/{path}", package.suite))?;
        let expected = Expected { digest: digest.clone(), stated_by: release.name.clone() };
        let get = async |at: &Location| {
            let want = Want { limit: 512 << 20, ..Want::large(at, &path) };
            match download::get(cx, cache, want.expecting(Some(&expected))).await {
                Err(error) if error.is_not_found() => Ok(None),
                file => file.map(Some),
            }
        };
        // By its digest it is the one of this Release file, even while the mirror
        // goes over to the next.
        let folder = format!("dists/{}/{}/binary-{folder}", package.suite, package.component);
        let by_hash = format!("{folder}/by-hash/SHA256/{}", digest.hex);
        let file =
            if release.is_by_hash { get(&package.mirror.below(&by_hash)?).await? } else { None };
        let file = match file {
            Some(file) => Some(file),
            None => get(&at).await?,
        };
        let Some(file) = file else { continue };
        let name = package.name.clone();
        let shown = at.to_string();
        let work = move || {
            let open = fs::File::open(&file.path).map_err(SourceError::io(&file.path))?;
            let bad = |reason: String| SourceError::BadFile {
                file: shown.clone(),
                kind: "a package index",
                reason,
            };
            let kind = if end.is_empty() { "x.tar".to_owned() } else { format!("x{end}") };
            let plain = deb::decompressor(open, &kind).map_err(&bad)?;
            let plain = BufReader::with_capacity(64 << 10, plain);
            apt::versions(plain, &name).map_err(|it| bad(it.to_string()))
        };
        return super::blocking(work).await;
    }
    Ok(Vec::new())
}

/// The version that is asked for, or the newest.
fn choose(package: &Package, found: Vec<Stanza>) -> Result<Stanza, SourceError> {
    let mut known: Vec<String> = found.iter().map(|it| it.version.clone()).collect();
    let chosen = match &package.version {
        Some(version) => found.into_iter().find(|it| it.version == *version),
        None => found.into_iter().max_by(|a, b| compare_versions(&a.version, &b.version)),
    };
    chosen.ok_or_else(|| {
        known.sort_by(|a, b| compare_versions(a, b));
        known.dedup();
        let version = package.version.as_ref().map(|it| format!(" {it}")).unwrap_or_default();
        SourceError::NotInIndex {
            package: format!("{}{version}", package.name),
            suite: package.suite.clone(),
            mirror: package.mirror.to_string(),
            known,
        }
    })
}

async fn files(
    package: &Package,
    file: &CachedFile,
    trust: Trust,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<InstallerFiles, SourceError> {
    let at = Location::Path(Utf8PathBuf::from(&file.origin));
    if let Some(objects) = extracted(package, &file.sha256, cache).await {
        return Ok(package.installer(objects, &at, trust));
    }
    cx.teller.info(format!("unpacking {}", at.file_name()));
    let (path, wanted) = (file.path.clone(), package.paths.to_vec());
    let (kept_in, cancel) = (cache.clone(), cx.cancel.clone());
    let work = move || take_out(&path, &wanted, &kept_in, &cancel);
    let [kernel, initrd] = super::blocking(work).await?;
    for (path, object) in package.paths.iter().zip([&kernel, &initrd]) {
        let entry = Entry {
            url: format!("{}#{path}", file.origin),
            sha256: object.sha256.clone(),
            size: object.size,
            ..Entry::default()
        };
        cache.remember(&key(&file.sha256, path), &entry);
    }
    Ok(package.installer([kernel, initrd], &at, trust))
}

fn take_out(
    path: &Utf8Path,
    wanted: &[String],
    cache: &Cache,
    cancel: &crate::CancellationToken,
) -> Result<[Object; 2], SourceError> {
    let mut found: BTreeMap<String, Object> = deb::extract(path, wanted, cache, cancel)?;
    let first = wanted.first().and_then(|it| found.get(it).cloned());
    let second = wanted.get(1).and_then(|it| found.remove(it));
    match (first, second) {
        (Some(kernel), Some(initrd)) => Ok([kernel, initrd]),
        _ => Err(SourceError::Cancelled),
    }
}

/// Kernel and initrd of the package with this digest, where they were taken out
/// before.
async fn extracted(package: &Package, digest: &str, cache: &Cache) -> Option<[Object; 2]> {
    let [kernel, initrd] = &package.paths;
    let kernel = cache.object(&cache.entry(&key(digest, kernel))?.sha256).await?;
    let initrd = cache.object(&cache.entry(&key(digest, initrd))?.sha256).await?;
    Some([kernel, initrd])
}

fn key(digest: &str, path: &str) -> String {
    format!("sha256:{digest}#{path}")
}

impl Package {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn installer(
        &self,
        [kernel, initrd]: [Object; 2],
        at: &Location,
        trust: Trust,
    ) -> InstallerFiles {
        let [kernel_path, initrd_path] = &self.paths;
        InstallerFiles {
            kernel: CachedFile::new(kernel, format!("{at}#{kernel_path}")),
            initrd: CachedFile::new(initrd, format!("{at}#{initrd_path}")),
            tree_url: None,
            iso: None,
            volume_id: None,
            trust,
        }
    }
}
