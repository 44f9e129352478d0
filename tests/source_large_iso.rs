//! A remote ISO of more than 4 GiB, as real installation media are: its server
//! counts what it sends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "what was measured is shown")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    net::TcpListener,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use camino::{Utf8Path, Utf8PathBuf};
use imgbuild::{
    CancellationToken,
    catalogue::Catalogue,
    engine::Teller,
    guard::Guard,
    model::{Arch, Checksums, Source},
    source::{Cache, FetchCx, fetch, survey},
};
use sha2::{Digest as _, Sha256};

const KERNEL: usize = 13 << 20;
const INITRD: usize = 70 << 20;

/// Bytes that do not repeat.
fn bytes(n: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let words = (0..n.div_ceil(8)).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 8).to_le_bytes()
    });
    words.take(n).collect()
}

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}

/// A medium with a file of more than 4 GiB, in several extents, before its kernel.
fn medium(folder: &Utf8Path, kernel: &[u8], initrd: &[u8], names: &[&str]) -> Utf8PathBuf {
    let tree = folder.join("tree");
    fs_err::create_dir_all(tree.join("images/pxeboot")).unwrap();
    fs_err::write(tree.join("images/pxeboot/vmlinuz"), kernel).unwrap();
    fs_err::write(tree.join("images/pxeboot/initrd.img"), initrd).unwrap();
    fs_err::File::create(tree.join("packages.bin")).unwrap().set_len((4 << 30) + 12_345).unwrap();
    let out = folder.join("large.iso");
    let mut xorriso = Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-iso-level", "3", "-V", "Fedora-S-dvd-x86_64-39"])
        .args(names)
        .args(["--sort-weight", "9", "/packages.bin", "-o", "-", tree.as_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Written so that its zeros take no room on the disk.
    let mut from = xorriso.stdout.take().unwrap();
    let mut to = fs_err::File::create(&out).unwrap();
    let mut block = vec![0; 1 << 20];
    let mut length = 0_u64;
    loop {
        let mut n = 0;
        while n < block.len() {
            let more = from.read(&mut block[n..]).unwrap();
            if more == 0 {
                break;
            }
            n += more;
        }
        if n == 0 {
            break;
        }
        length += n as u64;
        if block[..n].iter().all(|it| *it == 0) {
            to.seek(SeekFrom::Current(i64::try_from(n).unwrap())).unwrap();
        } else {
            to.write_all(&block[..n]).unwrap();
        }
    }
    to.set_len(length).unwrap();
    assert!(xorriso.wait().unwrap().success());
    fs_err::remove_dir_all(tree).unwrap();
    out
}

/// Serves one file by ranges; counts the bytes of its bodies.
fn serve(path: &Utf8Path) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/large.iso", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicU64::new(0));
    let (counter, path) = (sent.clone(), path.to_owned());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (counter, path) = (counter.clone(), path.clone());
            std::thread::spawn(move || _ = answer(stream, &path, &counter));
        }
    });
    (url, sent)
}

fn answer(
    mut stream: std::net::TcpStream,
    path: &Utf8Path,
    sent: &AtomicU64,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let size = fs_err::metadata(path)?.len();
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let (mut start, mut end, mut status) = (0, size - 1, "200 OK");
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            let lower = line.to_ascii_lowercase();
            if let Some((from, to)) =
                lower.trim().strip_prefix("range: bytes=").and_then(|it| it.split_once('-'))
            {
                start = from.parse().unwrap();
                end = to.parse().unwrap_or(size - 1).min(size - 1);
                status = "206 Partial Content";
            }
            line.clear();
        }
        let length = end - start + 1;
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nAccept-Ranges: bytes\r\n\
             Content-Range: bytes {start}-{end}/{size}\r\nETag: \"large\"\r\n\r\n"
        )?;
        if first.starts_with("HEAD") {
            continue;
        }
        let mut file = fs_err::File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut left = length;
        let mut block = vec![0; 64 << 10];
        while left > 0 {
            let n = file.read(&mut block)?.min(usize::try_from(left).unwrap());
            stream.write_all(&block[..n])?;
            sent.fetch_add(n as u64, Ordering::SeqCst);
            left -= n as u64;
        }
    }
}

#[tokio::test]
async fn of_four_gigabytes_only_kernel_and_initrd_are_fetched() {
    let os = Catalogue::built_in().get("fedora-39").unwrap();
    let (kernel, initrd) = (bytes(KERNEL, 1), bytes(INITRD, 2));
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(folder.path()).unwrap();
    let iso = medium(folder, &kernel, &initrd, &["-R", "-J"]);
    assert!(fs_err::metadata(&iso).unwrap().len() > 4 << 30);
    let (url, sent) = serve(&iso);
    let source = Source::Iso {
        location: url,
        kernel: None,
        initrd: None,
        checksums: Checksums::default(),
        attach: false,
    };
    let guard = Guard::new(env!("CARGO_BIN_EXE_imgbuild").into());
    let cx = FetchCx::new(guard, Teller::default(), CancellationToken::new()).unwrap();
    let cache = Cache::new(folder.join("cache"));
    let planned = survey(&source, &os, Arch::X86_64, &cache, &cx).await;
    assert_eq!(planned.bytes(), Some((KERNEL + INITRD) as u64));
    let for_the_plan = sent.swap(0, Ordering::SeqCst);
    let files = fetch(&source, &os, Arch::X86_64, &cache, &cx).await.unwrap();
    assert_eq!(files.kernel.sha256, hex(&kernel));
    assert_eq!(files.initrd.sha256, hex(&initrd));
    assert_eq!(files.volume_id.as_deref(), Some("Fedora-S-dvd-x86_64-39"));
    let fetched = sent.load(Ordering::SeqCst);
    let needed = (KERNEL + INITRD) as u64;
    eprintln!("plan {for_the_plan} bytes, build {fetched} of {needed} needed");
    assert!(fetched + for_the_plan <= needed * 102 / 100 + (1 << 20));
}
