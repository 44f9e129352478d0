//! Images made by xorriso, and images that nobody should make.

use std::{process::Command, time::Duration};

use camino::Utf8PathBuf;
use fs_err as fs;
use proptest::prelude::*;

use super::*;

/// What the images have as their initrd.
static INITRD: &[u8] = &[7; 300_000];

struct Made {
    _folder: tempfile::TempDir,
    path: Utf8PathBuf,
}

/// An image with these options of mkisofs; `None` where there is no xorriso.
fn made(options: &[&str]) -> Option<Made> {
    let folder = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(folder.path()).unwrap();
    let tree = root.join("tree");
    for (path, bytes) in [
        ("install.amd/vmlinuz", &b"kernel"[..]),
        ("install.amd/initrd.gz", INITRD),
        ("images/pxeboot/A_Long-name.with.dots.and_more_than_thirty_two_characters", b"long"),
        ("a/b/c/d/e/f/g/h/i/j/deep", b"deep"),
        (".treeinfo", b"[general]\n"),
    ] {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    for n in 0..200 {
        fs::write(tree.join(format!("images/filler-{n}")), b"").unwrap();
    }
    for (link, to) in [
        ("images/kernel", "../install.amd/vmlinuz"),
        ("current", "install.amd"),
        ("rooted", "/install.amd/vmlinuz"),
        ("loop", "loop"),
    ] {
        fs_err::os::unix::fs::symlink(to, tree.join(link)).unwrap();
    }
    let path = root.join("image.iso");
    let status = Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-V", "Debian 13.1.0 amd64 n", "-o", path.as_str()])
        .args(options)
        .arg(&tree)
        .output();
    let Ok(output) = status else {
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("skipped: xorriso is not installed");
        }
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(Made { _folder: folder, path })
}

async fn opened(path: &Utf8Path) -> Iso {
    Iso::of(Image::local(path).unwrap(), path.to_string()).await.unwrap()
}

#[tokio::test]
async fn rock_ridge_names_links_and_deep_folders_are_read() {
    let Some(made) = made(&["-R"]) else { return };
    let mut iso = opened(&made.path).await;
    assert_eq!(iso.volume_id(), "Debian 13.1.0 amd64 n");
    for (path, bytes) in [
        ("install.amd/vmlinuz", &b"kernel"[..]),
        ("/install.amd/initrd.gz", INITRD),
        ("INSTALL.AMD/VMLINUZ", b"kernel"),
        ("images/pxeboot/A_Long-name.with.dots.and_more_than_thirty_two_characters", b"long"),
        ("images/kernel", b"kernel"),
        ("current/./vmlinuz", b"kernel"),
        ("current/../install.amd/vmlinuz", b"kernel"),
        ("rooted", b"kernel"),
        ("a/b/c/d/e/f/g/h/i/j/deep", b"deep"),
        (".treeinfo", b"[general]\n"),
    ] {
        assert!(iso.read_file(path, 1 << 20).await.unwrap() == bytes, "{path}");
    }
    assert!(matches!(
        iso.read_file("current/initrd.gz", 10).await,
        Err(SourceError::TooLarge { .. })
    ));
    assert!(matches!(iso.find("loop").await, Err(SourceError::DamagedIso { .. })));
    for missing in ["install.amd", "none", "install.amd/vmlinuz/more", "", "/"] {
        assert!(!iso.has(missing).await.unwrap(), "{missing}");
    }
}

#[tokio::test]
async fn joliet_and_plain_names_are_read() {
    for (options, path) in [
        (
            &["-J", "--norock"][..],
            "images/pxeboot/A_Long-name.with.dots.and_more_than_thirty_two_characters",
        ),
        (&["-J", "--norock"], "install.amd/vmlinuz"),
        (&["--norock"], "install.amd/vmlinuz"),
        (&["--norock", "-U"], "install.amd/vmlinuz"),
        (&["-R", "-J"], "install.amd/vmlinuz"),
    ] {
        let Some(made) = made(options) else { return };
        let mut iso = opened(&made.path).await;
        assert!(iso.has(path).await.unwrap(), "{options:?} {path}");
    }
}

#[tokio::test]
async fn a_file_of_several_extents_is_read_as_one() {
    // Two records of one name, the first of which says that more follows: what
    // mkisofs writes for files beyond 4 GiB, made by hand of a small one.
    let Some(made) = made(&["--norock"]) else { return };
    let mut bytes = fs::read(&made.path).unwrap();
    let wanted = b"\x0BINITRD.GZ;1";
    let at = bytes.windows(wanted.len()).position(|it| it == wanted).unwrap() - 32;
    let length = usize::from(bytes[at]);
    let record = bytes[at..at + length].to_vec();
    let end = at - at % 2048 + 2048;
    let rest = bytes[at + length..end - length].to_vec();
    let (first, second) = (131_072_u32, 300_000 - 131_072_u32);
    let mut begin = record.clone();
    begin[10..14].copy_from_slice(&first.to_le_bytes());
    begin[25] |= 0x80;
    let mut more = record;
    let sector = u32::from_le_bytes(more[2..6].try_into().unwrap()) + first / 2048;
    more[2..6].copy_from_slice(&sector.to_le_bytes());
    more[10..14].copy_from_slice(&second.to_le_bytes());
    let new: Vec<u8> = [begin, more, rest].concat();
    bytes[at..end].copy_from_slice(&new);
    let mut iso = Iso::of(Image::Memory(bytes), "memory".to_owned()).await.unwrap();
    let file = iso.find("install.amd/initrd.gz").await.unwrap();
    assert_eq!((file.extents.len(), file.size()), (2, 300_000));
    let read = iso.read_file("install.amd/initrd.gz", 1 << 20).await.unwrap();
    assert!(read == INITRD);
    assert!(iso.has("install.amd/vmlinuz").await.unwrap(), "what follows is still found");
}

#[tokio::test]
async fn what_is_not_an_iso_is_told_apart() {
    let of = |bytes: Vec<u8>| Iso::of(Image::Memory(bytes), "memory".to_owned());
    for bytes in [Vec::new(), vec![0; 100], vec![0; 1 << 20], b"<html>".repeat(20_000)] {
        assert!(matches!(of(bytes).await, Err(SourceError::NotIso { .. })));
    }
    let mut udf = vec![0; 1 << 20];
    for (n, id) in ["BEA01", "NSR02", "TEA01"].into_iter().enumerate() {
        udf[(16 + n) * 2048 + 1..][..5].copy_from_slice(id.as_bytes());
    }
    assert!(matches!(of(udf).await, Err(SourceError::UdfOnly { .. })));
}

#[tokio::test]
async fn an_image_that_was_cut_off_says_so() {
    let Some(made) = made(&["-R"]) else { return };
    let mut bytes = fs::read(&made.path).unwrap();
    let size = bytes.len();
    bytes.truncate(size - 400_000);
    let mut iso = Iso::of(Image::Memory(bytes), "memory".to_owned()).await.unwrap();
    let error = iso.find("install.amd/initrd.gz").await.unwrap_err();
    assert!(error.to_string().contains("is it complete?"), "{error}");
}

/// Looks at everything there is, whatever it is.
fn survive(bytes: Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let work = async {
        let Ok(mut iso) = Iso::of(Image::Memory(bytes), "memory".to_owned()).await else { return };
        for path in
            ["install.amd/initrd.gz", "images/kernel", "loop", "a/b/c/d/e/f/g/h/i/j/deep", "x/y"]
        {
            if let Ok(file) = iso.find(path).await {
                iso.copy(&file, &mut |_| Ok(())).await.unwrap();
            }
        }
    };
    let done =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), work).await });
    assert!(done.is_ok(), "it does not end");
}

/// A small image, made once.
fn sample() -> Option<&'static [u8]> {
    static SAMPLE: std::sync::LazyLock<Option<Vec<u8>>> =
        std::sync::LazyLock::new(|| made(&["-R", "-J"]).map(|it| fs::read(it.path).unwrap()));
    SAMPLE.as_deref()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_change_to_an_image_makes_it_panic_or_hang(
        changes in prop::collection::vec((32_768_usize..250_000, any::<u8>()), 1..60),
    ) {
        let Some(sample) = sample() else { return Ok(()) };
        let mut bytes = sample.to_vec();
        for (at, byte) in changes {
            if let Some(it) = bytes.get_mut(at) {
                *it = byte;
            }
        }
        survive(bytes);
    }

    #[test]
    fn no_word_of_an_image_is_believed(at in 16_usize..110, offset in 0_usize..2040, value in any::<u32>()) {
        let Some(sample) = sample() else { return Ok(()) };
        let mut bytes = sample.to_vec();
        bytes[at * 2048 + offset..][..4].copy_from_slice(&value.to_le_bytes());
        survive(bytes);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let mut image = vec![0; 32_768];
        image.extend_from_slice(b"\x01CD001\x01");
        image.extend_from_slice(&bytes);
        image.resize(64 << 10, 0);
        image[32_768 + 128..][..2].copy_from_slice(&2048_u16.to_le_bytes());
        survive(image);
    }
}
