//! Installers on ISO images.

use regex::Regex;

use crate::{
    catalogue::Os,
    model::{Arch, Checksums},
};

use super::{
    CachedFile, FetchCx, InstallerFiles, SourceError, Survey, SurveyFile, Trust,
    cache::{Cache, Entry},
    download::{self, TELL_EVERY, Want},
    expect::{Statements, Vouched, weaker},
    iso::{Iso, Opened},
    layout::fill,
    location::Location,
    tree::check_tree,
    treeinfo::TreeInfo,
};

/// An ISO as the spec has it.
pub(super) struct Medium<'a> {
    pub(super) location: &'a str,
    pub(super) kernel: &'a Option<String>,
    pub(super) initrd: &'a Option<String>,
    pub(super) checksums: &'a Checksums,
    /// Whether the guest gets it.
    pub(super) attach: bool,
}

/// No `.treeinfo` is larger.
const TREEINFO_LIMIT: u64 = 1 << 20;

pub(super) async fn fetch(
    medium: &Medium<'_>,
    os: &Os,
    arch: Arch,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<InstallerFiles, SourceError> {
    let location = Location::parse(medium.location)?;
    let statements = Statements::load(medium.checksums, None, cache, cx).await?;
    let pairs = places(medium, os, arch)?;
    // A checksum file beside an ISO lists the ISO, not what is in it.
    let are_files_stated = pairs.iter().any(|(kernel, initrd)| {
        statements.states("kernel", kernel) && statements.states("initrd", initrd)
    });
    let of_iso = match statements.find("iso", location.file_name()) {
        Err(SourceError::NotListed { .. }) if are_files_stated => None,
        found => found?,
    };
    let whole = if of_iso.is_some() || medium.attach {
        let expected = of_iso.as_ref().and_then(|it| it.expected.as_ref());
        if location.as_path().is_none() && !medium.attach {
            cx.teller.info("the ISO is fetched as a whole, to compare its digest");
        }
        if expected.is_some() || location.as_path().is_none() {
            Some(download::get(cx, cache, Want::large(&location, "iso").expecting(expected)).await?)
        } else {
            None
        }
    } else {
        None
    };
    let (mut iso, on_disk) = open(&location, whole, cache, cx).await?;
    check_volume_id(iso.volume_id(), os, cx);
    let info = read_treeinfo(&mut iso, os, arch, &location).await?;
    let (kernel_path, initrd_path) = choose(&mut iso, pairs, info.as_ref()).await?;
    let mut files = Vec::new();
    let mut trust = of_iso.as_ref().map_or(Trust::Local, |it| it.trust.clone());
    for (role, path) in [("kernel", &kernel_path), ("initrd", &initrd_path)] {
        let in_tree = || {
            let digest = info.as_ref()?.checksums.find(path)?;
            let file = format!("`.treeinfo` of {location}");
            Some(Vouched::new(digest, &file, Trust::Checksum { file: file.clone() }))
        };
        let stated =
            if statements.states(role, path) { statements.find(role, path)? } else { None };
        let vouched = stated.or_else(in_tree).unwrap_or_else(Vouched::nothing);
        files.push(take(&mut iso, &location, role, path, &vouched, cache, cx).await?);
        if of_iso.is_none() {
            let own = location.as_path().is_some() && vouched.trust == Trust::None;
            trust = weaker(trust, if own { Trust::Local } else { vouched.trust });
        }
    }
    let mut files = files.into_iter();
    let (Some(kernel), Some(initrd)) = (files.next(), files.next()) else {
        return Err(SourceError::Cancelled);
    };
    Ok(InstallerFiles {
        kernel,
        initrd,
        tree_url: None,
        iso: on_disk.filter(|_| medium.attach),
        volume_id: Some(iso.volume_id().to_owned()),
        trust,
    })
}

/// Finds out what [`fetch`] would do.
pub(super) async fn survey(
    medium: &Medium<'_>,
    os: &Os,
    arch: Arch,
    cache: &Cache,
    cx: &FetchCx,
    survey: &mut Survey,
) -> Result<(), SourceError> {
    let location = Location::parse(medium.location)?;
    let statements = Statements::of(medium.checksums)?;
    let of_iso = statements.find("iso", location.file_name())?;
    let expected = of_iso.and_then(|it| it.expected);
    let Location::Url(url) = &location else {
        survey.add("iso", &location, expected.as_ref(), cache, cx).await;
        return Ok(());
    };
    if medium.attach || expected.is_some() || medium.checksums.file.is_some() {
        survey.add("iso", &location, expected.as_ref(), cache, cx).await;
        return Ok(());
    }
    let Opened::Iso(mut iso) = Iso::try_open(&location, cx).await? else {
        survey.notes.push(format!("`{location}` has to be fetched as a whole"));
        survey.add("iso", &location, None, cache, cx).await;
        return Ok(());
    };
    let (kernel, initrd) = choose(&mut iso, places(medium, os, arch)?, None).await?;
    for (what, path) in [("kernel", kernel), ("initrd", initrd)] {
        let size = iso.find(&path).await?.size();
        let stated = statements.find(what, &path)?.and_then(|it| it.expected);
        let is_cached = match stated {
            Some(expected) => cache.path_of(&expected.digest.hex).exists(),
            None => cache.entry(&format!("{url}#{path}")).is_some_and(|it| {
                iso.version() == Some(&it.validators)
                    && it.size == size
                    && cache.path_of(&it.sha256).exists()
            }),
        };
        survey.files.push(SurveyFile {
            what: what.to_owned(),
            url: format!("{location}#{path}"),
            is_cached,
            bytes: Some(if is_cached { 0 } else { size }),
        });
    }
    Ok(())
}

/// Opens the ISO; also says where it is on this machine, where it is.
async fn open(
    location: &Location,
    whole: Option<CachedFile>,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<(Iso, Option<camino::Utf8PathBuf>), SourceError> {
    let at = match whole {
        Some(file) => Location::Path(file.path),
        None => location.clone(),
    };
    let (opened, at) = match Iso::try_open(&at, cx).await? {
        Opened::WholeOnly => {
            cx.teller.warn(format!(
                "the server does not answer range requests: `{location}` is fetched as a whole"
            ));
            let file = download::get(cx, cache, Want::large(location, "iso")).await?;
            let at = Location::Path(file.path);
            (Iso::try_open(&at, cx).await?, at)
        }
        opened @ Opened::Iso(_) => (opened, at),
    };
    match opened {
        Opened::Iso(iso) => Ok((*iso, at.as_path().map(ToOwned::to_owned))),
        Opened::WholeOnly => Err(SourceError::Changed { url: location.to_string() }),
    }
}

/// Where kernel and initrd may be, best first.
fn places(medium: &Medium<'_>, os: &Os, arch: Arch) -> Result<Vec<(String, String)>, SourceError> {
    let layout = os.iso.as_ref();
    let known = layout.map(|it| it.kernel.iter().zip(&it.initrd)).into_iter().flatten();
    let own = match (medium.kernel, medium.initrd) {
        (Some(kernel), Some(initrd)) => vec![(kernel, initrd)],
        (Some(kernel), None) => known.map(|it| (kernel, it.1)).collect(),
        (None, Some(initrd)) => known.map(|it| (it.0, initrd)).collect(),
        (None, None) => known.collect(),
    };
    if own.is_empty() {
        return Err(SourceError::NoLayout { os: os.id.clone(), kind: "ISO layout" });
    }
    own.into_iter().map(|(k, i)| Ok((fill(k, os, arch)?, fill(i, os, arch)?))).collect()
}

/// The first of the places where both are.
async fn choose(
    iso: &mut Iso,
    places: Vec<(String, String)>,
    info: Option<&TreeInfo>,
) -> Result<(String, String), SourceError> {
    let of_tree = info.and_then(|it| it.kernel.clone().zip(it.initrd.clone()));
    let mut missing = None;
    for (kernel, initrd) in places.into_iter().chain(of_tree) {
        let both = match iso.find(&kernel).await {
            Ok(_) => iso.find(&initrd).await,
            failed => failed,
        };
        match both {
            Ok(_) => return Ok((kernel, initrd)),
            Err(error @ SourceError::NotInside { .. }) => {
                missing.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(missing.unwrap_or(SourceError::Cancelled))
}

async fn read_treeinfo(
    iso: &mut Iso,
    os: &Os,
    arch: Arch,
    location: &Location,
) -> Result<Option<TreeInfo>, SourceError> {
    let text = match iso.read_file(".treeinfo", TREEINFO_LIMIT).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(SourceError::NotInside { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let info = TreeInfo::parse(&text, arch.as_str()).map_err(|reason| SourceError::BadFile {
        file: format!("{location}: .treeinfo"),
        kind: "a `.treeinfo`",
        reason,
    })?;
    check_tree(&info, os, arch, &location.to_string())?;
    Ok(Some(info))
}

/// Volume IDs change from one point release to the next: no reason to give up.
fn check_volume_id(volume_id: &str, os: &Os, cx: &FetchCx) {
    let regex = os.iso.as_ref().and_then(|it| it.volume_id.as_deref());
    if let Some(regex) = regex.and_then(|it| Regex::new(it).ok())
        && !regex.is_match(volume_id)
    {
        cx.teller.warn(format!(
            "the ISO calls itself `{volume_id}`, which is not what those of `{}` are called",
            os.id
        ));
    }
}

/// Takes one file out of the ISO, into the cache.
async fn take(
    iso: &mut Iso,
    location: &Location,
    role: &str,
    path: &str,
    vouched: &Vouched,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<CachedFile, SourceError> {
    let origin = format!("{location}#{}", path.trim_start_matches('/'));
    let expected = vouched.expected.as_ref();
    let key = match location {
        Location::Url(url) => format!("{url}#{path}"),
        Location::Path(path) => path.to_string(),
    };
    let record = iso.find(path).await?;
    let version = iso.version().filter(|it| !it.is_empty()).cloned();
    let mut known = expected.map(|it| it.digest.hex.clone());
    if known.is_none()
        && let Some(entry) = cache.entry(&key)
        && Some(&entry.validators) == version.as_ref()
        && entry.size == record.size()
    {
        known = Some(entry.sha256);
    }
    if let Some(sha256) = known
        && let Some(object) = cache.object(&sha256).await
    {
        return Ok(CachedFile::new(object, origin));
    }
    let mut incoming = cache.incoming(expected.map(|it| &it.digest))?;
    let whole = record.size();
    let mut done = 0;
    let mut sink = |bytes: &[u8]| {
        incoming.write(bytes)?;
        let before = done;
        done += bytes.len() as u64;
        if done / TELL_EVERY > before / TELL_EVERY || done == whole {
            cx.teller.bytes(role, done, Some(whole));
        }
        Ok(())
    };
    iso.copy(&record, &mut sink).await?;
    let (kept_in, check, name) = (cache.clone(), vouched.expected.clone(), origin.clone());
    let object = super::blocking(move || {
        kept_in.keep(incoming, |hashed| match &check {
            Some(expected) => expected.check(&name, hashed),
            None => Ok(()),
        })
    })
    .await?;
    if let Some(validators) = version {
        let entry = Entry {
            url: origin.clone(),
            sha256: object.sha256.clone(),
            size: object.size,
            validators,
        };
        cache.remember(&key, &entry);
    }
    Ok(CachedFile::new(object, origin))
}
