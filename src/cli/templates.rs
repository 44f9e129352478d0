//! Templates: those of the spec's folder, then the built-in ones.

use camino::Utf8PathBuf;
use include_dir::{Dir, include_dir};

use crate::{render::TemplateLoader, spec::Includes};

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");

static SPECS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/specs");

/// The templates that a spec may use.
#[derive(Clone, Debug)]
pub(super) struct Templates {
    /// The spec's folder.
    pub folder: Utf8PathBuf,
}

impl TemplateLoader for Templates {
    fn load(&self, name: &str) -> Option<String> {
        self.own(name).or_else(|| built_in(name).map(str::to_owned))
    }
}

impl Includes for Templates {
    fn read(&self, path: &str) -> Result<String, String> {
        let refused = |it: std::io::Error| super::load::why(&it);
        let folder = self.folder.canonicalize_utf8().map_err(refused)?;
        let path = folder.join(path).canonicalize_utf8().map_err(refused)?;
        if !path.starts_with(&folder) {
            return Err("it is a link out of the spec's folder".to_owned());
        }
        let bytes = fs_err::read(path).map_err(refused)?;
        String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
    }
}

impl Templates {
    /// A template of the spec's own. A symbolic link may not lead out of the
    /// spec's folder: a spec from elsewhere must not read the reader's files.
    fn own(&self, name: &str) -> Option<String> {
        let folder = self.folder.canonicalize_utf8().ok()?;
        let path = folder.join(name).canonicalize_utf8().ok()?;
        if !path.starts_with(&folder) {
            return None;
        }
        fs_err::read_to_string(path).ok()
    }
}

/// A built-in template.
pub(super) fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN.get_file(name)?.contents_utf8()
}

/// The built-in spec of an operating system.
pub(super) fn built_in_spec(id: &str) -> Option<&'static str> {
    SPECS.get_file(format!("{id}.toml"))?.contents_utf8()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_out_of_the_folder_is_not_followed() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link.cfg")).unwrap();
        fs_err::write(folder.path().join("own.cfg"), "mine").unwrap();
        let templates = Templates { folder: folder.path().to_path_buf().try_into().unwrap() };
        assert_eq!(templates.load("link.cfg"), None);
        assert_eq!(templates.load("own.cfg").as_deref(), Some("mine"));
        assert!(templates.read("link.cfg").unwrap_err().contains("link"));
        assert_eq!(templates.read("own.cfg").as_deref(), Ok("mine"));
        assert!(templates.read("none.cfg").is_err());
    }
}
