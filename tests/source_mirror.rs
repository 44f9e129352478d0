//! The mirror in tests/mirror mends what an archive lacks, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the faults are another test's")]
mod source_server;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use source_server::Server;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mirror/debian-mirror.py");
const NETBOOT: &str =
    "dists/trixie/main/installer-amd64/current/images/netboot/debian-installer/amd64";
const INDEX: &str = "dists/trixie/main/debian-installer/binary-amd64/Packages";

/// A running mirror, ended with the test.
struct Mirror {
    child: Child,
    url: String,
    said: Vec<String>,
    took: Duration,
}

impl Drop for Mirror {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

async fn start(upstream: &str, cache: &str, more: &[&str]) -> Mirror {
    let mut command = Command::new("python3");
    command.args([SCRIPT, "--port", "0", "--upstream", upstream, "--cache", cache]).args(more);
    let started = Instant::now();
    tokio::task::spawn_blocking(move || {
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut mirror =
            Mirror { child, url: String::new(), said: Vec::new(), took: Duration::ZERO };
        let mut lines = BufReader::new(mirror.child.stdout.take().unwrap()).lines();
        while mirror.url.is_empty() {
            let line = lines.next().unwrap().unwrap();
            if let Some(rest) = line.strip_prefix("ready on ") {
                mirror.url = format!("http://{}", rest.split(',').next().unwrap());
            }
            mirror.said.push(line);
        }
        mirror.took = started.elapsed();
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        mirror
    })
    .await
    .unwrap()
}

async fn probe(upstream: &str) -> (bool, String) {
    let mut command = Command::new("python3");
    command.args([SCRIPT, "--probe", "--upstream", upstream]).stderr(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// A member of a cpio archive in the newc format.
fn cpio(archive: &mut Vec<u8>, name: &str, mode: u32, body: &str) {
    write!(archive, "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}", 1, 0, 0, 1, 0).unwrap();
    write!(archive, "{:08x}{}{:08x}{:08x}", body.len(), "00000000".repeat(4), name.len() + 1, 0)
        .unwrap();
    for bytes in [[name.as_bytes(), b"\0"].concat(), body.as_bytes().to_vec()] {
        archive.extend(bytes);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
}

/// An archive with an installer; true where `python3` and `cpio` can serve it.
fn fill(server: &Server, has_newest: bool) -> bool {
    for program in ["python3", "cpio"] {
        if Command::new(program).arg("--version").output().is_err() {
            #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
            {
                eprintln!("skipped: {program} is not installed");
            }
            return false;
        }
    }
    let mut initrd = Vec::new();
    for folder in
        ["lib", "lib/modules", "lib/modules/6.12.1-amd64", "var", "var/lib", "var/lib/dpkg"]
    {
        cpio(&mut initrd, folder, 0o040_755, "");
    }
    cpio(&mut initrd, "lib/modules/6.12.1-amd64/x.ko", 0o100_644, "");
    cpio(&mut initrd, "var/lib/dpkg/status", 0o100_644, "Package: installed\nVersion: 1\n\n");
    cpio(&mut initrd, "TRAILER!!!", 0, "");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&initrd).unwrap();
    server.put(&format!("{NETBOOT}/linux"), "kernel");
    server.put(&format!("{NETBOOT}/initrd.gz"), packed.finish().unwrap());
    let index = "Package: ext4-modules-6.12.1-amd64-di\nVersion: 1\nKernel-Version: 6.12.1-amd64\nPriority: standard\nFilename: pool/e/ext4_1.udeb\n\n\
        Package: netcfg\nVersion: 2+b2\nPriority: standard\nDepends: libx\nFilename: pool/n/netcfg_2+b2_amd64.udeb\nSize: 1\nSHA256: 00\n\n\
        Package: libx\nVersion: 1\nPriority: optional\nFilename: pool/l/libx_1.udeb\n\n\
        Package: installed\nVersion: 1\nPriority: standard\nFilename: pool/i/gone.udeb\n\n\
        Package: extra\nVersion: 1\nPriority: extra\nFilename: pool/e/gone.udeb\n";
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(index.as_bytes()).unwrap();
    server.put(&format!("{INDEX}.xz"), xz.finish().unwrap());
    server.put("pool/e/ext4_1.udeb", "e");
    server.put("pool/l/libx_1.udeb", "x");
    server.put("pool/i/gone.udeb", "i");
    server.put("pool/n/netcfg_2+b1_amd64.udeb", "older");
    if has_newest {
        server.put("pool/n/netcfg_2+b2_amd64.udeb", "newer");
    }
    let zeros = "0".repeat(64);
    let short = INDEX.trim_start_matches("dists/trixie/");
    server.put(
        "dists/trixie/Release",
        format!(
            "Version: 13.1\nCodename: trixie\nSHA256:\n {zeros} 1 {short}\n {zeros} 1 {short}.xz\n"
        ),
    );
    server.put("dists/trixie/InRelease", "signed");
    true
}

async fn get(url: &str) -> (u16, Vec<u8>) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap_or_default().to_vec())
}

#[tokio::test]
async fn a_complete_archive_needs_no_mending() {
    let server = Server::start().await;
    if !fill(&server, true) {
        return;
    }
    let upstream = server.url("");
    let upstream = upstream.trim_end_matches('/');
    assert_eq!(probe(upstream).await, (true, format!("{upstream}\n")));
    let folder = tempfile::tempdir().unwrap();
    let mirror = start(upstream, folder.path().to_str().unwrap(), &[]).await;
    assert!(mirror.said[0].ends_with(", 0 files served changed"), "{:?}", mirror.said);
    let linux = format!("{}/debian/{NETBOOT}/linux", mirror.url);
    assert_eq!(get(&linux).await, (200, b"kernel".to_vec()));
    // What was fetched is there without the archive.
    server.remove(&format!("{NETBOOT}/linux"));
    assert_eq!(get(&linux).await, (200, b"kernel".to_vec()));
    let part =
        reqwest::Client::new().get(&linux).header("Range", "bytes=2-3").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.text().await.unwrap()), (206, "rn".to_owned()));
    assert_eq!(get(&format!("{}/debian/none", mirror.url)).await.0, 404);
}

#[tokio::test]
async fn what_an_archive_lacks_is_mended_and_remembered() {
    let server = Server::start().await;
    if !fill(&server, false) {
        return;
    }
    let upstream = server.url("");
    let upstream = upstream.trim_end_matches('/');
    assert!(!probe(upstream).await.0);
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().to_str().unwrap();
    let mirror = start(upstream, cache, &[]).await;
    assert_eq!(mirror.said[0], "repaired pool/n/netcfg_2+b2_amd64.udeb");
    let (_, index) = get(&format!("{}/debian/{INDEX}", mirror.url)).await;
    let digest: String = base16ct::lower::encode_string(&Sha256::digest(&index));
    let text = String::from_utf8(index).unwrap();
    assert!(text.contains("Filename: pool/n/netcfg_2+b1_amd64.udeb\nSize: 5\n"), "{text}");
    let (_, release) = get(&format!("{}/debian/dists/trixie/Release", mirror.url)).await;
    let release = String::from_utf8(release).unwrap();
    assert!(release.contains(&format!(" {digest} {} main/", text.len())), "{release}");
    // Debian's signature does not vouch for that.
    assert_eq!(get(&format!("{}/debian/dists/trixie/InRelease", mirror.url)).await.0, 200);
    assert_eq!(get(&format!("{}/unsigned/debian/dists/trixie/InRelease", mirror.url)).await.0, 404);
    assert_eq!(get(&format!("{}/unsigned/debian/{NETBOOT}/linux", mirror.url)).await.0, 200);
    drop(mirror);
    server.asked();

    let second = start(upstream, cache, &[]).await;
    assert_eq!(server.asked().len(), 1, "the Release file alone is asked for");
    assert!(second.took < Duration::from_secs(10), "{:?}", second.took);
    assert_eq!(get(&format!("{}/debian/{INDEX}", second.url)).await.1, text.as_bytes());
}

#[tokio::test]
async fn faults_are_made_on_request() {
    let server = Server::start().await;
    if !fill(&server, true) {
        return;
    }
    server.put("pool/slow", vec![0; 100_000]);
    let folder = tempfile::tempdir().unwrap();
    let upstream = server.url("");
    let faults =
        ["--fail", "ext4=503", "--truncate", "libx", "--stall", "netcfg", "--slow", "200K"];
    let mirror =
        start(upstream.trim_end_matches('/'), folder.path().to_str().unwrap(), &faults).await;
    let url = |path: &str| format!("{}/debian/{path}", mirror.url);
    assert_eq!(get(&url("pool/e/ext4_1.udeb")).await.0, 503);
    let answer = reqwest::get(url("pool/l/libx_1.udeb")).await.unwrap();
    assert!(answer.bytes().await.is_err());
    let stalled = url("pool/n/netcfg_2+b1_amd64.udeb");
    let stalled = tokio::time::timeout(Duration::from_millis(300), get(&stalled));
    assert!(stalled.await.is_err());
    let began = Instant::now();
    assert_eq!(get(&url("pool/slow")).await.1.len(), 100_000);
    assert!(began.elapsed() > Duration::from_millis(300), "{:?}", began.elapsed());
}
