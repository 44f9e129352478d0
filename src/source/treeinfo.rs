//! `.treeinfo`: what an install tree says of itself.
//!
//! Two formats share the name. The old one (until Fedora 24, RHEL 7) has
//! `[general]` alone; productmd's has `[header]`, `[release]` and `[tree]`, and
//! mostly keeps `[general]` for old readers.
//! <https://release-engineering.github.io/productmd/treeinfo-1.2.html>

use ini::{Ini, ParseOption};

use super::{checksums::ChecksumFile, digest::Digest};

/// What an install tree says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeInfo {
    /// `Fedora`, `CentOS Stream`, `Rocky Linux`.
    pub family: Option<String>,
    /// `9`, `9.4`, `39`.
    pub version: Option<String>,
    /// `x86_64`
    pub arch: Option<String>,
    /// `Server`, `BaseOS`
    pub variant: Option<String>,
    /// Kernel, below the tree.
    pub kernel: Option<String>,
    /// Initrd, below the tree.
    pub initrd: Option<String>,
    /// The installer's own system, below the tree.
    pub main_image: Option<String>,
    /// Digests of files, by path below the tree.
    pub checksums: ChecksumFile,
}

impl TreeInfo {
    /// Reads a `.treeinfo`, for the kernel of this architecture. The error says
    /// what is wrong with it.
    pub fn parse(text: &str, arch: &str) -> Result<Self, String> {
        let options =
            ParseOption { enabled_quote: false, enabled_escape: false, ..ParseOption::default() };
        let text = text.trim_start_matches('\u{feff}');
        let ini = Ini::load_from_str_opt(text, options).map_err(|it| it.to_string())?;
        let get = |section: &str, key: &str| {
            let value = ini.section(Some(section))?.get(key)?.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        if ["general", "release", "tree", "header"]
            .iter()
            .all(|it| ini.section(Some(*it)).is_none())
        {
            return Err("it has no `[general]` and no `[release]`".to_owned());
        }
        // Before productmd 1.1 the release was called product.
        let of_release = |key: &str| get("release", key).or_else(|| get("product", key));
        let images = format!("images-{arch}");
        let checksums = ini.section(Some("checksums")).into_iter().flat_map(|section| {
            section.iter().filter_map(|(path, digest)| {
                Some((path.to_owned(), digest.parse::<Digest>().ok()?))
            })
        });
        Ok(Self {
            family: get("general", "family").or_else(|| of_release("name")),
            version: get("general", "version").or_else(|| of_release("version")),
            arch: get("tree", "arch").or_else(|| get("general", "arch")),
            variant: get("general", "variant").or_else(|| get("tree", "variants")),
            kernel: get(&images, "kernel"),
            initrd: get(&images, "initrd"),
            main_image: get("stage2", "mainimage"),
            checksums: ChecksumFile::new(checksums),
        })
    }

    /// What it is, for people: `CentOS Stream 9`.
    pub fn title(&self) -> String {
        match (self.family.as_deref(), self.version.as_deref()) {
            (Some(family), Some(version)) => format!("{family} {version}"),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (None, None) => "a tree without a name".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "[general]
family = CentOS
timestamp = 1444082120.31
variant = 
version = 7
packagedir = 
arch = x86_64

[stage2]
mainimage = LiveOS/squashfs.img

[images-x86_64]
kernel = images/pxeboot/vmlinuz
initrd = images/pxeboot/initrd.img
boot.iso = images/boot.iso

[images-xen]
kernel = images/xen/vmlinuz
initrd = images/xen/initrd.img

[checksums]
images/pxeboot/vmlinuz = sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
repodata/repomd.xml = sha256:not-a-digest
";
    const NEW: &str = "[header]
type = productmd.treeinfo
version = 1.2

[release]
name = Rocky Linux
short = Rocky
version = 9.4

[tree]
arch = aarch64
platforms = aarch64
build_timestamp = 1714640000
variants = BaseOS

[images-aarch64]
initrd = images/pxeboot/initrd.img
kernel = images/pxeboot/vmlinuz
";

    #[test]
    fn the_old_format_is_read() {
        let it = TreeInfo::parse(OLD, "x86_64").unwrap();
        assert_eq!(it.title(), "CentOS 7");
        assert_eq!(it.arch.as_deref(), Some("x86_64"));
        assert_eq!(it.variant, None);
        assert_eq!(it.kernel.as_deref(), Some("images/pxeboot/vmlinuz"));
        assert_eq!(it.main_image.as_deref(), Some("LiveOS/squashfs.img"));
        assert_eq!(it.checksums.find("images/pxeboot/vmlinuz").unwrap().hex, "a".repeat(64));
        assert_eq!(it.checksums.find("repodata/repomd.xml"), None);
    }

    #[test]
    fn productmd_is_read_without_its_compatibility_section() {
        let it = TreeInfo::parse(NEW, "aarch64").unwrap();
        assert_eq!(it.title(), "Rocky Linux 9.4");
        assert_eq!(it.arch.as_deref(), Some("aarch64"));
        assert_eq!(it.initrd.as_deref(), Some("images/pxeboot/initrd.img"));
        assert!(it.checksums.is_empty());
        assert_eq!(TreeInfo::parse(NEW, "x86_64").unwrap().kernel, None);
    }

    #[test]
    fn other_files_are_refused() {
        for text in ["", "<html>\n</html>", "[other]\na = b\n", "[general"] {
            assert!(TreeInfo::parse(text, "x86_64").is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s)(\\[general\\]\n)?.{0,300}") {
            _ = TreeInfo::parse(&text, "x86_64");
        }
    }
}
