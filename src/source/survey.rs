//! What a fetch would do, for `imgbuild plan`.
//!
//! Small files (checksums, indexes that are in the cache) may be read; bodies
//! of large ones never are. Whatever cannot be found out, for want of a network
//! for example, is a note and no error.

use std::time::Duration;

use crate::{
    catalogue::Os,
    model::{Arch, Source},
};

use super::{
    FetchCx, Patience, SourceError,
    cache::Cache,
    download::Expected,
    http::{validators, whole_length},
    location::Location,
    medium, package, tree,
};

/// What a fetch would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The large files, in the order of the build.
    pub files: Vec<SurveyFile>,
    /// What could not be found out, and why.
    pub notes: Vec<String>,
}

/// A large file of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyFile {
    /// `kernel`, `initrd`, `iso`, `package`.
    pub what: String,
    /// Where it comes from, fit to be shown.
    pub url: String,
    /// Whether nothing of it has to be fetched.
    pub is_cached: bool,
    /// How many bytes have to be fetched, where that is known.
    pub bytes: Option<u64>,
}

impl Survey {
    /// How many bytes have to be fetched in all; `None` where that is not known
    /// of each file.
    pub fn bytes(&self) -> Option<u64> {
        self.files.iter().map(|it| if it.is_cached { Some(0) } else { it.bytes }).sum()
    }
}

/// A plan is waited for by a person.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(3),
    idle: Duration::from_secs(5),
    tries: 1,
    pause: Duration::ZERO,
};
/// The survey ends after this, with what it has.
const DEADLINE: Duration = Duration::from_secs(20);

/// Finds out what [`fetch`](super::fetch) would do, and changes nothing but the
/// cache's copies of small files.
pub async fn survey(source: &Source, os: &Os, arch: Arch, cache: &Cache, cx: &FetchCx) -> Survey {
    let mut survey = Survey::default();
    let cx = match cx.clone().with_patience(PATIENCE) {
        // What is said of trust is said when it is fetched.
        Ok(cx) => FetchCx { teller: crate::engine::Teller::default(), ..cx },
        Err(error) => {
            survey.notes.push(error.to_string());
            return survey;
        }
    };
    let work = Box::pin(look(source, os, arch, cache, &cx, &mut survey));
    let work = cx.or_cancelled(work);
    let ended = tokio::time::timeout(DEADLINE, work).await;
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => survey.notes.push(error.to_string()),
        Err(_) => survey.notes.push(format!("no answer within {} s", DEADLINE.as_secs())),
    }
    survey
}

async fn look(
    source: &Source,
    os: &Os,
    arch: Arch,
    cache: &Cache,
    cx: &FetchCx,
    survey: &mut Survey,
) -> Result<(), SourceError> {
    match source {
        Source::Tree { url, kernel, initrd, checksums, keyring } => {
            let tree = tree::Tree { url, kernel, initrd, checksums, keyring };
            let located = tree::locate(&tree, os, arch, cache, cx).await?;
            let (kernel, initrd) = (located.kernel.expected, located.initrd.expected);
            survey.add("kernel", &located.kernel_at, kernel.as_ref(), cache, cx).await;
            survey.add("initrd", &located.initrd_at, initrd.as_ref(), cache, cx).await;
        }
        Source::Kernel { kernel, initrd, checksums } => {
            let statements = super::expect::Statements::of(checksums)?;
            for (what, at) in [("kernel", kernel), ("initrd", initrd)] {
                let at = Location::parse(at)?;
                let stated = statements.find(what, at.file_name())?;
                let expected = stated.and_then(|it| it.expected);
                survey.add(what, &at, expected.as_ref(), cache, cx).await;
            }
        }
        Source::Iso { location, kernel, initrd, checksums, attach } => {
            let medium = medium::Medium { location, kernel, initrd, checksums, attach: *attach };
            medium::survey(&medium, os, arch, cache, cx, survey).await?;
        }
        Source::Package { .. } => {
            let package = package::Package::of(source, os, arch)?;
            if package::at_hand(&package, cache).await?.is_some() {
                survey.files.push(SurveyFile {
                    what: "package".to_owned(),
                    url: package.name().to_owned(),
                    is_cached: true,
                    bytes: Some(0),
                });
            } else {
                let located = package::locate(&package, cache, cx).await?;
                let expected = located.expected.as_ref();
                survey.add("package", &located.at, expected, cache, cx).await;
                if let (Some(file), size @ Some(_)) = (survey.files.last_mut(), located.size) {
                    file.bytes = if file.is_cached { Some(0) } else { size };
                }
            }
        }
    }
    Ok(())
}

impl Survey {
    /// Adds a file: in the cache by its digest or by what the server says of it,
    /// or else as long as the server says.
    pub(super) async fn add(
        &mut self,
        what: &str,
        at: &Location,
        expected: Option<&Expected>,
        cache: &Cache,
        cx: &FetchCx,
    ) {
        let mut file = SurveyFile {
            what: what.to_owned(),
            url: at.to_string(),
            is_cached: false,
            bytes: None,
        };
        match at {
            Location::Path(path) if path.exists() => {
                file.is_cached = true;
            }
            Location::Path(path) => self.notes.push(format!("`{path}` was not found")),
            Location::Url(url) => {
                let entry = cache.entry(url.as_str());
                if let Some(expected) = expected {
                    file.is_cached = cache.path_of(&expected.digest.hex).exists();
                }
                if !file.is_cached {
                    match cx.http.head(url).await {
                        Ok(response) => {
                            let now = validators(response.headers());
                            let is_same = entry.is_some_and(|it| {
                                !now.is_empty()
                                    && it.validators == now
                                    && cache.path_of(&it.sha256).exists()
                            });
                            file.is_cached = is_same && expected.is_none();
                            file.bytes = whole_length(&response);
                        }
                        Err(error) => {
                            file.is_cached = error.is_outage()
                                && expected.is_none()
                                && entry.is_some_and(|it| cache.path_of(&it.sha256).exists());
                            self.notes.push(error.to_string());
                        }
                    }
                }
            }
        }
        if file.is_cached {
            file.bytes = Some(0);
        }
        self.files.push(file);
    }
}
