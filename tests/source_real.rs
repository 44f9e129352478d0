//! The real Debian installer, from a real mirror; asked for by environment
//! variables, since it takes a network.
//!
//! `IMGBUILD_TEST_TREE=http://HOST/debian` is a mirror with the installer's tree
//! (tests/mirror/debian-mirror.py serves one). `IMGBUILD_TEST_APT=http://HOST/debian`
//! is a mirror with Debian's own signed Release; `apt` takes the host's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use camino::Utf8PathBuf;
use fs_err as fs;
use imgbuild::{
    CancellationToken,
    catalogue::Os,
    engine::Teller,
    guard::Guard,
    model::{Arch, Checksums, Source},
    source::{Cache, FetchCx, SourceError, Trust, fetch, survey, system_keyrings},
};

const OS: &str = r#"
id = "debian-13"
title = "Debian 13 (trixie)"
family = "debian"
version = "13"
codename = "trixie"
installer = "debian-installer"
dialect = "preseed"
arches = ["x86_64"]
[tree]
kernel = "dists/{codename}/main/installer-{debarch}/current/images/netboot/debian-installer/{debarch}/linux"
initrd = "dists/{codename}/main/installer-{debarch}/current/images/netboot/debian-installer/{debarch}/initrd.gz"
checksums = ["dists/{codename}/main/installer-{debarch}/current/images/SHA256SUMS"]
[package]
name = "debian-installer-{version}-netboot-{debarch}"
kernel = "usr/lib/debian-installer/images/{version}/{debarch}/text/debian-installer/{debarch}/linux"
initrd = "usr/lib/debian-installer/images/{version}/{debarch}/text/debian-installer/{debarch}/initrd.gz"
[machine]
memory-minimum = "1 GiB"
memory = "2 GiB"
disk-minimum = "4 GiB"
disk-bus = "virtio"
nic = "virtio-net-pci"
machine = "q35"
disk-device = "/dev/vda"
[boot]
delivery = {}
"#;

fn cx() -> FetchCx {
    let guard = Guard::new(env!("CARGO_BIN_EXE_imgbuild").into());
    FetchCx::new(guard, Teller::default(), CancellationToken::new()).unwrap()
}

/// What a variable asks for; `None`, and said so, where it is not set.
fn asked(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|it| !it.is_empty());
    if value.is_none() {
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("skipped: {variable} is not set");
        }
    }
    value
}

/// The Debian mirror that this machine's apt uses.
fn host_mirror() -> String {
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
    let mut files: Vec<_> = folder.map(|it| it.unwrap().path()).collect();
    files.sort();
    files.insert(0, "/etc/apt/sources.list".into());
    files
        .iter()
        .filter_map(|it| fs::read_to_string(it).ok())
        .find_map(|text| {
            text.lines().find_map(|line| {
                let mut words = line.split_whitespace();
                let first = words.next().filter(|it| matches!(*it, "URIs:" | "deb"))?;
                _ = first;
                words.find(|it| it.starts_with("http")).map(str::to_owned)
            })
        })
        .unwrap()
}

fn url_is_unsigned(source: &Source) -> bool {
    matches!(source, Source::Tree { url, .. } if url.contains("/unsigned/"))
}

fn is_kernel(bytes: &[u8]) -> bool {
    bytes[0x202..0x206] == *b"HdrS"
}

#[tokio::test]
async fn debian_comes_from_a_tree() {
    let Some(url) = asked("IMGBUILD_TEST_TREE") else { return };
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap());
    let os: Os = toml::from_str(OS).unwrap();
    let source = Source::Tree {
        url,
        kernel: None,
        initrd: None,
        checksums: Checksums::default(),
        keyring: None,
    };
    let is_unsigned = url_is_unsigned(&source);
    let mut cx = cx();
    cx.keyrings.clear();
    let plan = survey(&source, &os, Arch::X86_64, &cache, &cx).await;
    assert!(plan.bytes().unwrap() > 20_000_000 && plan.notes.is_empty(), "{plan:?}");
    let files = fetch(&source, &os, Arch::X86_64, &cache, &cx).await.unwrap();
    assert_eq!(plan.bytes(), Some(files.kernel.size + files.initrd.size));
    assert!(is_kernel(&fs::read(&files.kernel.path).unwrap()));
    assert!(matches!(files.trust, Trust::Checksum { .. }));
    // With Debian's keys: the mirror is Debian's, or says that it is not, or is
    // found out.
    cx.keyrings = system_keyrings();
    match fetch(&source, &os, Arch::X86_64, &cache, &cx).await {
        Ok(files) => assert_eq!(matches!(files.trust, Trust::Signed { .. }), !is_unsigned),
        Err(error) => assert!(matches!(error, SourceError::DigestDiffers { .. }), "{error:?}"),
    }
}

#[tokio::test]
async fn debian_comes_from_its_package() {
    let Some(mirror) = asked("IMGBUILD_TEST_APT") else { return };
    let mirror = if mirror == "apt" { host_mirror() } else { mirror };
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap());
    let os: Os = toml::from_str(OS).unwrap();
    let source = Source::Package {
        mirror,
        suite: "{codename}".to_owned(),
        component: "main".to_owned(),
        name: "debian-installer-{version}-netboot-{debarch}".to_owned(),
        version: None,
        kernel: None,
        initrd: None,
        keyring: None,
        checksums: Checksums::default(),
    };
    let cx = cx();
    let files = fetch(&source, &os, Arch::X86_64, &cache, &cx).await.unwrap();
    assert!(is_kernel(&fs::read(&files.kernel.path).unwrap()));
    assert_eq!(fs::read(&files.initrd.path).unwrap()[..2], [0x1F, 0x8B]);
    assert!(
        matches!(&files.trust, Trust::Signed { by } if by.contains("Debian")),
        "{}",
        files.trust
    );
    let again = std::time::Instant::now();
    assert_eq!(fetch(&source, &os, Arch::X86_64, &cache, &cx).await.unwrap(), files);
    assert!(again.elapsed().as_secs() < 20);
}
