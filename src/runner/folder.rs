//! The folder of one run: where a build keeps everything until it is published.

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    engine::{Resource, ResourceKind},
    plan::Planned,
};

/// The folder of one run, `<work>/runs/<run>`.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: Utf8PathBuf,
    /// Tells this run from one that began elsewhere at the same second, under
    /// the same name, and in the same project of a cloud.
    token: String,
}

/// The file with the run's token.
const TOKEN: &str = "token.txt";

impl RunFolder {
    /// The journal's file name.
    pub const JOURNAL: &str = "journal.jsonl";

    /// Makes the folder of a new run, by the first of these names that nobody has;
    /// another build may begin at the same moment. Returns the name as well.
    pub fn begin(
        work: &Utf8Path,
        names: impl IntoIterator<Item = String>,
    ) -> std::io::Result<(String, Self)> {
        use std::os::unix::fs::DirBuilderExt as _;
        let runs = work.join("runs");
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).recursive(true).create(&runs)?;
        builder.recursive(false);
        for name in names {
            match builder.create(runs.join(&name)) {
                Ok(()) => return Ok((name.clone(), Self::create(work, &name)?)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(std::io::ErrorKind::AlreadyExists.into())
    }

    /// Makes the folder of a run where it is missing. Only its owner can look into it: consoles
    /// and answer volumes are nobody else's business.
    pub fn create(work: &Utf8Path, run: &str) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = work.join("runs").join(run);
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).recursive(true);
        builder.create(&path)?;
        let path = path.canonicalize_utf8()?;
        let file = path.join(TOKEN);
        if !file.is_file() {
            fs_err::write(&file, random())?;
        }
        let token = fs_err::read_to_string(&file)?;
        Ok(Self { path, token })
    }

    /// The folder of a run that was begun earlier.
    pub fn existing(path: Utf8PathBuf) -> Self {
        let token = fs_err::read_to_string(path.join(TOKEN)).unwrap_or_default();
        Self { path, token }
    }

    /// The folder itself.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// A file in it; an absolute path stays what it is.
    pub fn file(&self, name: &str) -> Utf8PathBuf {
        self.path.join(name)
    }

    /// The resource that a plan names, with its path made absolute.
    pub fn resource(&self, planned: &Planned) -> Resource {
        let name = match planned.kind {
            ResourceKind::File | ResourceKind::Folder => self.file(&planned.name).into_string(),
            ResourceKind::Machine | ResourceKind::External(_) => planned.name.clone(),
            // Unique in its cloud: what has this name is ours to remove.
            _ => format!(
                "imgbuild-{}-{}-{}",
                self.path.file_name().unwrap_or_default(),
                self.token,
                planned.name
            ),
        };
        Resource {
            label: planned.label.clone(),
            kind: planned.kind.clone(),
            name,
            id: None,
            lifetime: planned.lifetime,
        }
    }
}

/// Six hexadecimal digits from the keys that the standard library draws from
/// the system for each hash map; enough to tell two runs of a second apart.
fn random() -> String {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    format!("{:06x}", RandomState::new().build_hasher().finish() & 0xff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Lifetime;

    #[test]
    fn runs_that_begin_at_the_same_moment_have_folders_of_their_own() {
        let work = tempfile::tempdir().unwrap();
        let work = Utf8Path::from_path(work.path()).unwrap();
        let begin = || RunFolder::begin(work, ["a".to_owned(), "a-2".to_owned()]);
        assert_eq!(begin().unwrap().0, "a");
        let (name, folder) = begin().unwrap();
        assert_eq!(name, "a-2");
        assert!(folder.path().ends_with("runs/a-2"));
        assert!(begin().is_err());
    }

    #[test]
    fn runs_of_the_same_second_have_names_of_their_own_in_a_cloud_and_keep_them() {
        let planned = Planned {
            label: "install-server".to_owned(),
            kind: ResourceKind::Server,
            name: "install".to_owned(),
            lifetime: Lifetime::Scratch,
            size: None,
        };
        let name = |work: &Utf8Path| {
            RunFolder::create(work, "20261123-120000-debian").unwrap().resource(&planned).name
        };
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [a, b] = folders.each_ref().map(|it| Utf8Path::from_path(it.path()).unwrap());
        assert_ne!(name(a), name(b));
        // Resumed, it is the same run.
        assert_eq!(name(a), name(a));
        assert!(name(a).starts_with("imgbuild-20261123-120000-debian-"));
        assert!(name(a).ends_with("-install"));
    }
}
