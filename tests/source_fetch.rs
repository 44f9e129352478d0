//! Whatever a server does, a build gets the right bytes or the right error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod source_server;

use std::{collections::BTreeMap, fmt::Write as _, process::Command, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use imgbuild::{
    CancellationToken,
    catalogue::Os,
    engine::{Event, Teller},
    guard::Guard,
    model::{Arch, Checksums, Source},
    source::{Cache, FetchCx, InstallerFiles, Patience, SourceError, Survey, Trust, fetch, survey},
};
use sha2::{Digest as _, Sha256};
use source_server::{Asked, Fault, Page, Server};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A user's machine: a cache, an operating system, a context.
struct Home {
    _folder: tempfile::TempDir,
    root: Utf8PathBuf,
    cache: Cache,
    os: Os,
    cx: FetchCx,
    told: UnboundedReceiver<Event>,
}

fn home() -> Home {
    home_with("treeinfo-family = '^Fedora$'\ntreeinfo-version = '^39$'")
}

fn home_with(tree: &str) -> Home {
    let folder = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    let (sender, told) = unbounded_channel();
    let guard = Guard::new(env!("CARGO_BIN_EXE_imgbuild").into());
    let patience = Patience {
        connect: Duration::from_secs(5),
        idle: Duration::from_millis(500),
        tries: 3,
        pause: Duration::from_millis(5),
    };
    let cx = FetchCx::new(guard, Teller::new(sender), CancellationToken::new()).unwrap();
    let mut cx = cx.with_patience(patience).unwrap();
    cx.keyrings.clear();
    Home { cache: Cache::new(root.join("cache")), root, _folder: folder, os: os(tree), cx, told }
}

fn os(tree: &str) -> Os {
    let text = format!(
        r#"
id = "fedora-39"
title = "Fedora 39"
family = "fedora"
version = "39"
codename = "trixie"
installer = "anaconda"
dialect = "kickstart"
arches = ["x86_64"]
[tree]
kernel = "images/pxeboot/vmlinuz"
initrd = "images/pxeboot/initrd.img"
checksums = [".treeinfo", "treeinfo", "SHA256SUMS", "dists/{{codename}}/main/installer-{{debarch}}/SHA256SUMS"]
{tree}
[iso]
kernel = ["casper/vmlinuz", "images/pxeboot/vmlinuz"]
initrd = ["casper/initrd", "images/pxeboot/initrd.img"]
volume-id = "^Fedora"
[package]
name = "debian-installer-13-netboot-{{debarch}}"
kernel = "usr/lib/linux"
initrd = "usr/lib/initrd.gz"
[machine]
memory-minimum = "1 GiB"
memory = "2 GiB"
disk-minimum = "4 GiB"
disk-bus = "virtio"
nic = "virtio-net-pci"
machine = "q35"
disk-device = "/dev/vda"
[boot]
delivery = {{}}
"#
    );
    toml::from_str(&text).unwrap()
}

impl Home {
    async fn get(&self, source: &Source) -> Result<InstallerFiles, SourceError> {
        fetch(source, &self.os, Arch::X86_64, &self.cache, &self.cx).await
    }

    async fn survey(&self, source: &Source) -> Survey {
        survey(source, &self.os, Arch::X86_64, &self.cache, &self.cx).await
    }

    /// What was said since the last look.
    fn said(&mut self) -> String {
        let mut text = String::new();
        while let Ok(event) = self.told.try_recv() {
            if let Event::Said { text: line, .. } = event {
                writeln!(text, "{line}").unwrap();
            }
        }
        text
    }
}

fn bytes(n: usize, seed: u8) -> Vec<u8> {
    (0..n).map(|it| u8::try_from(it * 31 % 251).unwrap() ^ seed).collect()
}

fn sha256(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}

fn stated(entries: &[(&str, &[u8])]) -> Checksums {
    let digests =
        entries.iter().map(|(name, it)| ((*name).to_owned(), format!("sha256:{}", sha256(it))));
    Checksums { digests: digests.collect(), file: None }
}

fn plain(server: &Server, checksums: Checksums) -> Source {
    Source::Kernel { kernel: server.url("linux"), initrd: server.url("initrd.gz"), checksums }
}

fn tree(url: String, checksums: Checksums) -> Source {
    Source::Tree { url, kernel: None, initrd: None, checksums, keyring: None }
}

fn ranges(asked: &[Asked], path: &str) -> Vec<(u16, Option<String>)> {
    asked.iter().filter(|it| it.path == path).map(|it| (it.status, it.range.clone())).collect()
}

#[tokio::test]
async fn a_file_is_fetched_once_and_then_asked_about() {
    let (server, mut home) = (Server::start().await, home());
    server.put("linux", bytes(100_000, 1));
    server.put("initrd.gz", bytes(300_000, 2));
    let source = plain(&server, Checksums::default());
    let first = home.get(&source).await.unwrap();
    assert_eq!(fs::read(&first.kernel.path).unwrap(), bytes(100_000, 1));
    assert_eq!(first.initrd.sha256, sha256(&bytes(300_000, 2)));
    assert_eq!((first.initrd.size, &first.trust), (300_000, &Trust::None));
    assert!(home.said().contains("nothing vouches"));
    server.asked();

    assert_eq!(home.get(&source).await.unwrap(), first);
    assert_eq!(server.asked().iter().map(|it| it.status).collect::<Vec<_>>(), [304, 304]);

    server.put("linux", bytes(50, 9));
    assert_eq!(home.get(&source).await.unwrap().kernel.size, 50);
}

#[tokio::test]
async fn a_known_digest_needs_no_network() {
    let (server, home) = (Server::start().await, home());
    server.put("linux", "kernel");
    server.put("initrd.gz", "initrd");
    let source = plain(&server, stated(&[("linux", b"kernel"), ("initrd.gz", b"initrd")]));
    let first = home.get(&source).await.unwrap();
    assert_eq!(first.trust, Trust::Stated);
    server.asked();
    assert_eq!(home.get(&source).await.unwrap(), first);
    assert_eq!(server.asked(), []);
}

#[tokio::test]
async fn the_cache_helps_out_where_a_server_is_down() {
    let (server, mut home) = (Server::start().await, home());
    server.put("linux", "kernel");
    server.put("initrd.gz", "initrd");
    let source = plain(&server, Checksums::default());
    let first = home.get(&source).await.unwrap();
    server.fail("linux", &[Fault::Status(503); 3]);
    assert_eq!(home.get(&source).await.unwrap(), first);
    assert!(home.said().contains("the copy in the cache is used"));
    // What a server takes back is another matter.
    server.remove("linux");
    assert!(matches!(home.get(&source).await, Err(SourceError::NotFound { .. })));
}

#[tokio::test]
async fn each_failure_is_an_error_of_its_own() {
    let (server, home) = (Server::start().await, home());
    server.put("initrd.gz", "initrd");
    let url = server.url("linux");
    let source = Source::Kernel {
        kernel: url.clone(),
        initrd: "/dev/null".to_owned(),
        checksums: Checksums::default(),
    };
    let get = || home.get(&source);
    let error = get().await.unwrap_err();
    assert_eq!(error.to_string(), format!("`{url}` was not found (404)"));
    server.put("linux", bytes(100_000, 1));
    server.fail("linux", &[Fault::Status(403)]);
    assert!(matches!(get().await, Err(SourceError::AccessDenied { status: 403, .. })));
    server.fail("linux", &[Fault::Status(500); 3]);
    assert!(matches!(get().await, Err(SourceError::ServerError { status: 500, tries: 3, .. })));
    server.fail("linux", &[Fault::Stall(0); 3]);
    assert!(matches!(get().await, Err(SourceError::Stalled { tries: 3, .. })));
    server.fail("linux", &[Fault::Cut(0); 3]);
    let error = get().await.unwrap_err();
    assert!(
        matches!(error, SourceError::Truncated { got: 0, expected: Some(100_000), tries: 3, .. }),
        "{error:?}"
    );
    server.fail("linux", &[Fault::Status(400)]);
    assert!(matches!(get().await, Err(SourceError::ServerError { status: 400, tries: 1, .. })));

    for (url, is_it) in [
        (
            "http://127.0.0.1:1/linux",
            (|it| matches!(it, SourceError::ConnectionRefused { .. })) as fn(&_) -> bool,
        ),
        (
            "http://no-such-host.invalid/linux",
            |it| matches!(it, SourceError::NameDoesNotResolve { host, .. } if host == "no-such-host.invalid"),
        ),
        ("/no/such/file", |it| matches!(it, SourceError::NotFound { status: None, .. })),
        ("file:///no/such/file", |it| matches!(it, SourceError::NotFound { status: None, .. })),
        ("ftp://h/linux", |it| matches!(it, SourceError::BadLocation { .. })),
    ] {
        let source = Source::Kernel {
            kernel: url.to_owned(),
            initrd: "/dev/null".to_owned(),
            checksums: Checksums::default(),
        };
        let error = home.get(&source).await.unwrap_err();
        assert!(is_it(&error), "{url}: {error:?}");
    }
    // A server that does not speak TLS.
    let source = Source::Kernel {
        kernel: url.replace("http:", "https:"),
        initrd: "/dev/null".to_owned(),
        checksums: Checksums::default(),
    };
    let error = home.get(&source).await.unwrap_err();
    assert!(matches!(error, SourceError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn transient_failures_are_got_over() {
    let (server, home) = (Server::start().await, home());
    server.put("linux", bytes(400_000, 1));
    server.put("initrd.gz", "initrd");
    server.fail(
        "linux",
        &[
            Fault::Status(500),
            Fault::Busy(0),
            Fault::Cut(100_000),
            Fault::Stall(50_000),
            Fault::Cut(200_000),
        ],
    );
    let files = home.get(&plain(&server, Checksums::default())).await.unwrap();
    assert_eq!(files.kernel.sha256, sha256(&bytes(400_000, 1)));
    let asked = server.asked();
    let ranges = ranges(&asked, "/linux");
    assert_eq!(ranges.len(), 6, "{ranges:?}");
    // Each takes up where the one before stopped.
    assert_eq!(ranges[5].0, 206);
    let sent: usize = asked.iter().filter(|it| it.path == "/linux").map(|it| it.sent).sum();
    assert!((400_000..=400_000 + 100_000).contains(&sent), "{sent}");
}

#[tokio::test]
async fn what_an_interrupted_build_fetched_is_taken_up() {
    let (server, home) = (Server::start().await, home());
    server.put("linux", bytes(400_000, 1));
    server.put("initrd.gz", "initrd");
    let source = plain(&server, Checksums::default());
    server.fail("linux", &[Fault::Stall(250_000)]);
    let mut patient = home.cx.clone().with_patience(Patience::default()).unwrap();
    patient.cancel = CancellationToken::new();
    let cancelled = async {
        // Until what was sent has come.
        let partial = home.root.join("cache/partial");
        while !fs::read_dir(&partial).is_ok_and(|mut it| {
            it.any(|it| it.unwrap().metadata().is_ok_and(|it| it.len() == 250_000))
        }) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        patient.cancel.cancel();
    };
    let work = fetch(&source, &home.os, Arch::X86_64, &home.cache, &patient);
    let (result, ()) = tokio::join!(work, cancelled);
    assert!(matches!(result, Err(SourceError::Cancelled)));
    server.asked();

    let files = home.get(&source).await.unwrap();
    assert_eq!(files.kernel.sha256, sha256(&bytes(400_000, 1)));
    assert_eq!(ranges(&server.asked(), "/linux"), [(206, Some("bytes=250000-".to_owned()))]);
    assert!(
        !fs::read_dir(home.root.join("cache/partial"))
            .unwrap()
            .any(|it| { it.unwrap().file_name().to_str().unwrap().ends_with(".part") })
    );
}

#[tokio::test]
async fn a_file_that_changes_midway_is_fetched_anew() {
    let (server, home) = (Server::start().await, home());
    server.put("linux", bytes(400_000, 1));
    server.put("initrd.gz", "initrd");
    let source = plain(&server, Checksums::default());
    server.fail(
        "linux",
        &[Fault::Cut(100_000), Fault::Status(503), Fault::Status(503), Fault::Status(503)],
    );
    assert!(home.get(&source).await.is_err());
    server.put("linux", bytes(390_000, 5));
    let files = home.get(&source).await.unwrap();
    assert_eq!(files.kernel.sha256, sha256(&bytes(390_000, 5)));
    // Also where it became shorter than what was there.
    server.put("linux", bytes(400_000, 1));
    server.fail(
        "linux",
        &[Fault::Cut(300_000), Fault::Status(503), Fault::Status(503), Fault::Status(503)],
    );
    _ = home.get(&source).await;
    server.put("linux", bytes(10, 6));
    assert_eq!(home.get(&source).await.unwrap().kernel.size, 10);
}

#[tokio::test]
async fn a_server_without_ranges_is_served_too() {
    let (server, home) = (Server::start().await, home());
    server.put_page("linux", Page { body: bytes(200_000, 1), etag: None, ranges: false });
    server.put("initrd.gz", "initrd");
    server.fail("linux", &[Fault::Cut(100_000)]);
    let files = home.get(&plain(&server, Checksums::default())).await.unwrap();
    assert_eq!(files.kernel.sha256, sha256(&bytes(200_000, 1)));
}

#[tokio::test]
async fn a_digest_that_differs_is_an_error_that_shows_both() {
    let (server, home) = (Server::start().await, home());
    server.put("linux", "changed");
    server.put("initrd.gz", "initrd");
    let source = plain(&server, stated(&[("linux", b"kernel")]));
    let error = home.get(&source).await.unwrap_err();
    let text = error.to_string();
    for part in ["expected sha256:", &sha256(b"kernel"), &sha256(b"changed"), "the spec"] {
        assert!(text.contains(part), "{text}");
    }
    // Nothing wrong is kept.
    assert!(!home.cache.path_of(&sha256(b"changed")).exists());
    let mut checksums = Checksums::default();
    checksums.digests.insert("linux".to_owned(), "sha256:xyz".to_owned());
    assert!(matches!(
        home.get(&plain(&server, checksums)).await,
        Err(SourceError::BadDigest { .. })
    ));
}

#[tokio::test]
async fn old_digests_are_enforced_and_found_in_the_cache() {
    let (server, home) = (Server::start().await, home());
    server.put("linux", "abc");
    server.put("initrd.gz", "abc");
    let checksums = |hex: &str| Checksums {
        digests: BTreeMap::from([("linux".to_owned(), format!("md5:{hex}"))]),
        file: None,
    };
    // RFC 1321
    let right = plain(&server, checksums("900150983cd24fb0d6963f7d28e17f72"));
    home.get(&right).await.unwrap();
    server.asked();
    home.get(&right).await.unwrap();
    assert_eq!(ranges(&server.asked(), "/linux"), []);
    let wrong = plain(&server, checksums("900150983cd24fb0d6963f7d28e17f73"));
    assert!(matches!(home.get(&wrong).await, Err(SourceError::DigestDiffers { .. })));
}

#[tokio::test]
async fn two_builds_fetch_a_file_once() {
    let (server, home) = (Server::start().await, home());
    server.put("linux", bytes(2_000_000, 1));
    server.put("initrd.gz", "initrd");
    let source =
        plain(&server, stated(&[("linux", &bytes(2_000_000, 1)), ("initrd.gz", b"initrd")]));
    let (a, b) = tokio::join!(home.get(&source), home.get(&source));
    assert_eq!(a.unwrap(), b.unwrap());
    assert_eq!(ranges(&server.asked(), "/linux").len(), 1);
}

#[tokio::test]
async fn a_checksum_file_of_the_spec_has_to_list_the_files() {
    let (server, home) = (Server::start().await, home());
    server.put("linux", "kernel");
    server.put("initrd.gz", "initrd");
    let with = |file: &str| {
        plain(&server, Checksums { digests: BTreeMap::new(), file: Some(server.url(file)) })
    };
    server.put(
        "SUMS",
        format!("{}  linux\nSHA256 (initrd.gz) = {}\n", sha256(b"kernel"), sha256(b"initrd")),
    );
    let files = home.get(&with("SUMS")).await.unwrap();
    assert_eq!(files.trust, Trust::Checksum { file: server.url("SUMS") });
    server.put("HALF", format!("{}  linux\n", sha256(b"kernel")));
    assert!(matches!(home.get(&with("HALF")).await, Err(SourceError::NotListed { .. })));
    server.put("HTML", "<html>a page</html>");
    assert!(matches!(home.get(&with("HTML")).await, Err(SourceError::BadFile { .. })));
    assert!(matches!(home.get(&with("NONE")).await, Err(SourceError::NotFound { .. })));
}

fn treeinfo(family: &str, version: &str, kernel: &[u8]) -> String {
    format!(
        "[header]\ntype = productmd.treeinfo\n[release]\nname = {family}\nversion = {version}\n\
         [tree]\narch = x86_64\n[images-x86_64]\nkernel = other/vmlinuz\ninitrd = images/pxeboot/initrd.img\n\
         [checksums]\nother/vmlinuz = sha256:{}\nimages/pxeboot/initrd.img = sha256:{}\n",
        sha256(kernel),
        sha256(b"initrd"),
    )
}

#[tokio::test]
async fn a_tree_says_where_its_kernel_is_and_whose_it_is() {
    let (server, home) = (Server::start().await, home());
    server.put("t/other/vmlinuz", "kernel");
    server.put("t/images/pxeboot/initrd.img", "initrd");
    // RHEL's CDN has the file without its dot.
    server.put("t/treeinfo", treeinfo("Fedora", "39", b"kernel"));
    let source = tree(server.url("t/"), Checksums::default());
    let files = home.get(&source).await.unwrap();
    assert_eq!(files.kernel.origin, server.url("t/other/vmlinuz"));
    assert_eq!(files.tree_url, Some(server.url("t")));
    assert_eq!(files.trust, Trust::Checksum { file: server.url("t/treeinfo") });

    server.put("t/treeinfo", treeinfo("CentOS Stream", "9", b"kernel"));
    let error = home.get(&source).await.unwrap_err();
    assert!(
        error.to_string().starts_with("this tree is CentOS Stream 9, the spec says `fedora-39`"),
        "{error}"
    );
    server.put("t/treeinfo", treeinfo("Fedora", "39", b"other"));
    let error = home.get(&source).await.unwrap_err();
    assert!(
        matches!(&error, SourceError::DigestDiffers { stated_by, .. } if stated_by.ends_with("treeinfo")),
        "{error}"
    );
    // What the spec states wins over what the tree states.
    let files = home
        .get(&tree(
            server.url("t"),
            stated(&[("other/vmlinuz", b"kernel"), ("images/pxeboot/initrd.img", b"initrd")]),
        ))
        .await;
    assert_eq!(files.unwrap().trust, Trust::Stated);
    server.put("t/treeinfo", "<html>not found</html>");
    assert!(matches!(home.get(&source).await, Err(SourceError::BadFile { .. })));
}

#[tokio::test]
async fn a_tree_without_digests_is_used_and_said_so() {
    let (server, mut home) = (Server::start().await, home());
    server.put("t/images/pxeboot/vmlinuz", "kernel");
    server.put("t/images/pxeboot/initrd.img", "initrd");
    let files = home.get(&tree(server.url("t"), Checksums::default())).await.unwrap();
    assert_eq!(files.trust, Trust::None);
    let said = home.said();
    assert!(
        said.contains("states no digest of its kernel") && said.contains("nothing vouches"),
        "{said}"
    );
    server.put(
        "t/SHA256SUMS",
        format!(
            "{}  ./images/pxeboot/vmlinuz\n{} *images/pxeboot/initrd.img\n",
            sha256(b"kernel"),
            sha256(b"initrd")
        ),
    );
    let files = home.get(&tree(server.url("t"), Checksums::default())).await.unwrap();
    assert_eq!(files.trust, Trust::Checksum { file: server.url("t/SHA256SUMS") });
}

#[tokio::test]
async fn a_tree_on_this_machine_is_read_where_it_lies() {
    let home = home();
    let tree_at = home.root.join("tree");
    for (path, text) in [
        ("other/vmlinuz", "kernel".to_owned()),
        ("images/pxeboot/initrd.img", "initrd".to_owned()),
        (".treeinfo", treeinfo("Fedora", "39", b"kernel")),
    ] {
        fs::create_dir_all(tree_at.join(path).parent().unwrap()).unwrap();
        fs::write(tree_at.join(path), text).unwrap();
    }
    for url in [format!("file://{tree_at}/"), tree_at.to_string()] {
        let files = home.get(&tree(url, Checksums::default())).await.unwrap();
        assert_eq!(files.kernel.path, tree_at.join("other/vmlinuz"));
    }
    fs::write(tree_at.join("other/vmlinuz"), "changed").unwrap();
    let error = home.get(&tree(tree_at.to_string(), Checksums::default())).await;
    assert!(matches!(error, Err(SourceError::DigestDiffers { .. })));
}

/// A key made for a test; `None` where there is no gpg to make it with.
struct Signer {
    home: Utf8PathBuf,
    keyring: Utf8PathBuf,
}

impl Signer {
    fn new(root: &Utf8Path, name: &str) -> Option<Self> {
        let home = root.join(name);
        let signer = Self { keyring: root.join(format!("{name}.gpg")), home };
        fs::create_dir_all(&signer.home).unwrap();
        fs::set_permissions(&signer.home, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .unwrap();
        let id = format!("{name} <{name}@example.org>");
        if Command::new("gpg").arg("--version").output().is_err() {
            #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
            {
                eprintln!("skipped: gpg is not installed");
            }
            return None;
        }
        signer.gpg(&["--passphrase", "", "--quick-generate-key", &id, "ed25519", "sign", "never"]);
        signer.gpg(&["--output", signer.keyring.as_str(), "--export"]);
        Some(signer)
    }

    fn gpg(&self, arguments: &[&str]) {
        let output = Command::new("gpg")
            .args([
                "--homedir",
                self.home.as_str(),
                "--batch",
                "--yes",
                "--pinentry-mode",
                "loopback",
            ])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn clearsigned(&self, text: &str) -> Vec<u8> {
        let (from, to) = (self.home.join("text"), self.home.join("text.asc"));
        fs::write(&from, text).unwrap();
        self.gpg(&["--output", to.as_str(), "--clearsign", from.as_str()]);
        fs::read(to).unwrap()
    }

    fn detached(&self, text: &str) -> Vec<u8> {
        let (from, to) = (self.home.join("text"), self.home.join("text.sig"));
        fs::write(&from, text).unwrap();
        self.gpg(&["--output", to.as_str(), "--detach-sign", from.as_str()]);
        fs::read(to).unwrap()
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // gpg starts an agent of its own accord.
        _ = Command::new("gpgconf")
            .args(["--homedir", self.home.as_str(), "--kill", "all"])
            .output();
    }
}

/// A Debian archive with an installer in its tree.
fn archive(server: &Server, sums: &str) -> String {
    server.put("d/images/pxeboot/vmlinuz", "kernel");
    server.put("d/images/pxeboot/initrd.img", "initrd");
    server.put("d/dists/trixie/main/installer-amd64/SHA256SUMS", sums);
    format!(
        "Origin: Debian\nSuite: stable\nCodename: trixie\nSHA256:\n {} {} main/installer-amd64/SHA256SUMS\n",
        sha256(sums.as_bytes()),
        sums.len()
    )
}

#[tokio::test]
async fn a_debian_tree_is_trusted_through_its_signed_release() {
    let (server, mut home) = (Server::start().await, home());
    let Some(signer) = Signer::new(&home.root, "ours") else { return };
    let Some(stranger) = Signer::new(&home.root, "stranger") else { return };
    let sums = format!(
        "{}  images/pxeboot/vmlinuz\n{}  images/pxeboot/initrd.img\n",
        sha256(b"kernel"),
        sha256(b"initrd")
    );
    let release = archive(&server, &sums);
    let mut source = tree(server.url("d"), Checksums::default());
    home.cx.keyrings = vec![signer.keyring.clone()];

    server.put("d/dists/trixie/InRelease", signer.clearsigned(&release));
    let files = home.get(&source).await.unwrap();
    assert!(
        matches!(&files.trust, Trust::Signed { by } if by.contains("ours")),
        "{:?}",
        files.trust
    );

    // Release with its signature beside it.
    server.remove("d/dists/trixie/InRelease");
    server.put("d/dists/trixie/Release", release.as_str());
    server.put("d/dists/trixie/Release.gpg", signer.detached(&release));
    assert!(matches!(home.get(&source).await.unwrap().trust, Trust::Signed { .. }));

    // A text that was changed after it was signed is refused.
    server.put("d/dists/trixie/Release", format!("{release} {} 1 more\n", "0".repeat(64)));
    assert!(matches!(home.get(&source).await, Err(SourceError::BadSignature { .. })));

    // Text outside the signature counts for nothing.
    server.remove("d/dists/trixie/Release");
    let text = String::from_utf8(signer.clearsigned(&release)).unwrap();
    let evil = release.replace(&sha256(sums.as_bytes()), &sha256(b"evil"));
    server.put("d/dists/trixie/InRelease", format!("{text}\n{evil}"));
    let result = home.get(&source).await;
    assert!(matches!(&result, Ok(it) if matches!(it.trust, Trust::Signed { .. })), "{result:?}");

    // A checksum file that is not the signed one: a mirror on this machine is its
    // user's own, so that is said, and the file counts as unsigned ...
    server.put("d/dists/trixie/InRelease", signer.clearsigned(&evil));
    home.said();
    assert!(matches!(home.get(&source).await.unwrap().trust, Trust::Checksum { .. }));
    assert!(home.said().contains("the mirror is on this machine"));
    // ... and it is refused where the spec names the keyring.
    let mut strict = source.clone();
    if let Source::Tree { keyring, .. } = &mut strict {
        *keyring = Some(signer.keyring.clone());
    }
    let error = home.get(&strict).await.unwrap_err();
    assert!(
        matches!(&error, SourceError::DigestDiffers { stated_by, .. } if stated_by.contains("signed by ours")),
        "{error}"
    );

    // Another key: used, but said, with the system's keyrings ...
    server.put("d/dists/trixie/InRelease", stranger.clearsigned(&release));
    home.said();
    assert!(matches!(home.get(&source).await.unwrap().trust, Trust::Checksum { .. }));
    assert!(home.said().contains("no signature was checked"));
    // ... and refused with the spec's.
    if let Source::Tree { keyring, .. } = &mut source {
        *keyring = Some(signer.keyring.clone());
    }
    assert!(matches!(home.get(&source).await, Err(SourceError::BadSignature { .. })));
    server.remove("d/dists/trixie/InRelease");
    server.put("d/dists/trixie/Release", release.as_str());
    server.remove("d/dists/trixie/Release.gpg");
    assert!(matches!(home.get(&source).await, Err(SourceError::Unsigned { .. })));
    if let Source::Tree { keyring, .. } = &mut source {
        *keyring = Some(home.root.join("none.gpg"));
    }
    server.put("d/dists/trixie/InRelease", signer.clearsigned(&release));
    assert!(matches!(home.get(&source).await, Err(SourceError::BadKeyring { .. })));
}

#[tokio::test]
async fn a_checksum_file_is_trusted_through_its_signature() {
    let (server, home) = (Server::start().await, home());
    let Some(signer) = Signer::new(&home.root, "ours") else { return };
    let sums = format!(
        "{}  images/pxeboot/vmlinuz\n{}  images/pxeboot/initrd.img\n",
        sha256(b"kernel"),
        sha256(b"initrd")
    );
    server.put("t/images/pxeboot/vmlinuz", "kernel");
    server.put("t/images/pxeboot/initrd.img", "initrd");
    // An armoured keyring is as good.
    let armoured = home.root.join("armoured.asc");
    signer.gpg(&["--armor", "--output", armoured.as_str(), "--export"]);
    for keyring in [signer.keyring.clone(), armoured] {
        let source = Source::Tree {
            url: server.url("t"),
            kernel: None,
            initrd: None,
            checksums: Checksums::default(),
            keyring: Some(keyring),
        };
        server.put("t/SHA256SUMS", sums.as_str());
        server.remove("t/SHA256SUMS.asc");
        assert!(matches!(home.get(&source).await, Err(SourceError::Unsigned { .. })));
        server.put("t/SHA256SUMS.asc", signer.detached(&sums));
        assert!(matches!(home.get(&source).await.unwrap().trust, Trust::Signed { .. }));
        server.put("t/SHA256SUMS.asc", signer.detached("another text"));
        assert!(matches!(home.get(&source).await, Err(SourceError::BadSignature { .. })));
        server.put("t/SHA256SUMS", signer.clearsigned(&sums));
        assert!(matches!(home.get(&source).await.unwrap().trust, Trust::Signed { .. }));
    }
}

/// A package like dpkg's.
fn deb() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in [("./usr/lib/linux", "kernel"), ("./usr/lib/initrd.gz", "initrd")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let mut data = liblzma::write::XzEncoder::new(Vec::new(), 1);
    std::io::Write::write_all(&mut data, &tar.into_inner().unwrap()).unwrap();
    let mut ar = ar::Builder::new(Vec::new());
    for (name, bytes) in
        [("debian-binary", b"2.0\n".to_vec()), ("data.tar.xz", data.finish().unwrap())]
    {
        ar.append(&ar::Header::new(name.into(), bytes.len() as u64), &bytes[..]).unwrap();
    }
    ar.into_inner().unwrap()
}

#[tokio::test]
async fn an_index_is_taken_by_its_digest_while_the_mirror_changes() {
    let (server, mut home) = (Server::start().await, home());
    let Some(signer) = Signer::new(&home.root, "ours") else { return };
    let deb = deb();
    let index = format!(
        "Package: debian-installer-13-netboot-amd64\nVersion: 1\nFilename: pool/i.deb\nSize: {}\nSHA256: {}\n\n",
        deb.len(),
        sha256(&deb)
    );
    let folder = "d/dists/trixie/main/binary-all";
    let release = format!(
        "Codename: trixie\nAcquire-By-Hash: yes\nSHA256:\n {} 1 main/binary-all/Packages\n",
        sha256(index.as_bytes())
    );
    server.put("d/dists/trixie/InRelease", signer.clearsigned(&release));
    server.put(&format!("{folder}/Packages"), "the next one");
    server.put(&format!("{folder}/by-hash/SHA256/{}", sha256(index.as_bytes())), index);
    server.put("d/pool/i.deb", deb);
    home.cx.keyrings = vec![signer.keyring.clone()];
    let source = Source::Package {
        mirror: server.url("d"),
        suite: "trixie".to_owned(),
        component: "main".to_owned(),
        name: "debian-installer-13-netboot-{debarch}".to_owned(),
        version: None,
        kernel: None,
        initrd: None,
        keyring: None,
        checksums: Checksums::default(),
    };
    let files = home.get(&source).await.unwrap();
    assert_eq!(fs::read(&files.kernel.path).unwrap(), b"kernel");
}

#[tokio::test]
async fn a_relative_path_is_found_from_another_folder_as_well() {
    let home = home();
    let source = Source::Kernel {
        kernel: "Cargo.toml".to_owned(),
        initrd: "./Cargo.lock".to_owned(),
        checksums: Checksums::default(),
    };
    let files = home.get(&source).await.unwrap();
    let folder = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(files.kernel.path, folder.join("Cargo.toml"));
    assert_eq!(files.initrd.path, folder.join("Cargo.lock"));
}

#[tokio::test]
async fn a_package_is_trusted_through_the_signed_release() {
    let (server, mut home) = (Server::start().await, home());
    let Some(signer) = Signer::new(&home.root, "ours") else { return };
    let deb = deb();
    let stanza = |version: &str| {
        format!(
            "Package: debian-installer-13-netboot-amd64\nVersion: {version}\nFilename: pool/i_{version}_all.deb\nSize: {}\nSHA256: {}\n\n",
            deb.len(),
            sha256(&deb)
        )
    };
    let index = stanza("20250803+deb13u9") + &stanza("20250803+deb13u10") + &stanza("20250803");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, index.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let release = format!(
        "Suite: stable\nCodename: trixie\nSHA256:\n {} 1 main/binary-all/Packages.gz\n",
        sha256(&packed)
    );
    server.put("d/dists/trixie/main/binary-all/Packages.gz", packed);
    server.put("d/dists/trixie/InRelease", signer.clearsigned(&release));
    server.put("d/pool/i_20250803+deb13u10_all.deb", deb.clone());
    let source = |version: Option<&str>, checksums: Checksums| Source::Package {
        mirror: server.url("d"),
        suite: "trixie".to_owned(),
        component: "main".to_owned(),
        name: "debian-installer-13-netboot-{debarch}".to_owned(),
        version: version.map(str::to_owned),
        kernel: None,
        initrd: None,
        keyring: None,
        checksums,
    };
    let newest = source(None, Checksums::default());
    assert!(matches!(home.get(&newest).await, Err(SourceError::NoKeyring { .. })));

    home.cx.keyrings = vec![signer.keyring.clone()];
    let files = home.get(&newest).await.unwrap();
    assert_eq!(fs::read(&files.kernel.path).unwrap(), b"kernel");
    assert_eq!(fs::read(&files.initrd.path).unwrap(), b"initrd");
    assert!(matches!(&files.trust, Trust::Signed { by } if by.contains("ours")));

    let error = home.get(&source(Some("7"), Checksums::default())).await.unwrap_err();
    assert!(
        error.to_string().ends_with("there is 20250803, 20250803+deb13u9, 20250803+deb13u10"),
        "{error}"
    );
    server.put("d/pool/i_20250803+deb13u9_all.deb", "something else");
    // It is in the cache by its digest, wherever it would come from now.
    home.get(&source(Some("20250803+deb13u9"), Checksums::default())).await.unwrap();

    // With a digest in the spec no keyring is needed, and later no network.
    home.cx.keyrings.clear();
    let known = source(None, stated(&[("debian-installer-13-netboot-amd64", &deb)]));
    server.asked();
    assert_eq!(home.get(&known).await.unwrap().trust, Trust::Stated);
    assert_eq!(server.asked(), []);
    let other = Home { cache: Cache::new(home.root.join("other")), ..home };
    assert_eq!(other.get(&known).await.unwrap().trust, Trust::Stated);
}

/// An ISO with Fedora's layout, of `size` bytes of padding beside the files.
fn iso(root: &Utf8Path, kernel: &[u8], padding: usize) -> Option<Vec<u8>> {
    let tree = root.join("iso");
    for (path, body) in [
        ("images/pxeboot/vmlinuz", kernel),
        ("images/pxeboot/initrd.img", b"initrd"),
        ("padding", &vec![0; padding]),
    ] {
        fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
        fs::write(tree.join(path), body).unwrap();
    }
    let out = root.join("image.iso");
    let made = Command::new("xorriso")
        .args([
            "-as",
            "mkisofs",
            "-quiet",
            "-R",
            "-V",
            "Fedora-39",
            "-o",
            out.as_str(),
            tree.as_str(),
        ])
        .output();
    if made.is_err() {
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("skipped: xorriso is not installed");
        }
        return None;
    }
    Some(fs::read(out).unwrap())
}

fn medium(location: String, checksums: Checksums, attach: bool) -> Source {
    Source::Iso { location, kernel: None, initrd: None, checksums, attach }
}

#[tokio::test]
async fn of_a_remote_iso_only_what_is_needed_is_fetched() {
    let (server, home) = (Server::start().await, home());
    let kernel = bytes(3_000_000, 3);
    let Some(image) = iso(&home.root, &kernel, 40_000_000) else { return };
    server.put("f.iso", image.clone());
    let source = medium(server.url("f.iso"), Checksums::default(), false);
    let plan = home.survey(&source).await;
    assert_eq!(plan.bytes(), Some(3_000_006), "{plan:?}");
    server.asked();
    // It goes on where a connection breaks.
    server.fail("f.iso", &[Fault::Status(503), Fault::Cut(10_000)]);
    let files = home.get(&source).await.unwrap();
    assert_eq!(files.kernel.sha256, sha256(&kernel));
    assert_eq!(files.volume_id.as_deref(), Some("Fedora-39"));
    assert_eq!(files.iso, None);
    let sent: usize = server.asked().iter().map(|it| it.sent).sum();
    assert!(sent <= 3_000_006 * 102 / 100 + 1_000_000, "{sent}");

    home.get(&source).await.unwrap();
    let sent: usize = server.asked().iter().map(|it| it.sent).sum();
    assert!(sent <= 500_000, "{sent} bytes for what is in the cache");
    assert_eq!(home.survey(&source).await.bytes(), Some(0));

    let wrong = medium(
        server.url("f.iso"),
        stated(&[("images/pxeboot/vmlinuz", b"other"), ("images/pxeboot/initrd.img", b"initrd")]),
        false,
    );
    assert!(matches!(home.get(&wrong).await, Err(SourceError::DigestDiffers { .. })));
    server.put("not.iso", bytes(200_000, 0));
    let error = home.get(&medium(server.url("not.iso"), Checksums::default(), false)).await;
    assert!(matches!(error, Err(SourceError::NotIso { .. })));
}

#[tokio::test]
async fn an_iso_is_fetched_whole_where_it_has_to_be() {
    let (server, mut home) = (Server::start().await, home());
    let Some(image) = iso(&home.root, b"kernel", 100_000) else { return };
    server.put("f.iso", image.clone());
    let attached =
        home.get(&medium(server.url("f.iso"), Checksums::default(), true)).await.unwrap();
    assert_eq!(fs::read(attached.iso.unwrap()).unwrap(), image);
    // A digest of the ISO can only be compared with all of it.
    let checked =
        home.get(&medium(server.url("f.iso"), stated(&[("f.iso", &image)]), false)).await.unwrap();
    assert_eq!(checked.trust, Trust::Stated);
    assert_eq!(checked.iso, None);
    let wrong = medium(server.url("f.iso"), stated(&[("f.iso", b"other")]), false);
    assert!(matches!(home.get(&wrong).await, Err(SourceError::DigestDiffers { .. })));
    // Without ranges there is no other way.
    server.put_page("plain.iso", Page { body: image, etag: None, ranges: false });
    home.said();
    home.get(&medium(server.url("plain.iso"), Checksums::default(), false)).await.unwrap();
    assert!(home.said().contains("range requests"));
    // On this machine it stays where it is.
    let path = home.root.join("image.iso");
    let local = home.get(&medium(path.to_string(), Checksums::default(), true)).await.unwrap();
    assert_eq!(local.iso, Some(path));
}

#[tokio::test]
async fn a_survey_fetches_nothing_large_and_bears_being_offline() {
    let (server, home) = (Server::start().await, home());
    server.put("linux", bytes(500_000, 1));
    server.put("initrd.gz", "initrd");
    let source = plain(&server, Checksums::default());
    let before = home.survey(&source).await;
    assert_eq!((before.bytes(), before.notes.len()), (Some(500_006), 0));
    assert!(server.asked().iter().all(|it| it.method == "HEAD"));
    home.get(&source).await.unwrap();
    assert_eq!(home.survey(&source).await.bytes(), Some(0));
    let offline = Source::Kernel {
        kernel: "http://127.0.0.1:1/linux".to_owned(),
        initrd: "/dev/null".to_owned(),
        checksums: Checksums::default(),
    };
    let survey = home.survey(&offline).await;
    assert_eq!((survey.bytes(), survey.notes.len()), (None, 1), "{survey:?}");
}
