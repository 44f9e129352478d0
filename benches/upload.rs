//! An upload of 2 GiB to a sink on loopback, side by side with curl.
//!
//! Prints both times, their ratio and our peak memory; ends with an error where
//! we reach less than 0.9 of curl's speed or need 32 MiB. The sink is a thread
//! that throws everything away; the file is sparse, so no disk is measured.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use imgbuild::{
    CancellationToken,
    engine::Teller,
    openstack::{
        Cloud, CloudConfig, Patience,
        config::{Auth, Interface, Scope, Tls},
    },
};
use serde_json::json;

const LENGTH: u64 = 2 << 30;
const ROUNDS: usize = 3;
const MOST_MEMORY_KIB: u64 = 32 << 10;
const LEAST_SPEED: f64 = 0.9;

fn main() -> ExitCode {
    // `cargo test --benches` wants to know that it starts, not how fast it is.
    if !std::env::args().any(|it| it == "--bench") {
        return ExitCode::SUCCESS;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = Utf8PathBuf::from_path_buf(dir.path().join("disk")).unwrap();
    fs_err::File::create(&file).unwrap().set_len(LENGTH).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    let at = root.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let at = at.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &at));
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // By turns, and the best of each: what else the machine does hits both.
    let (mut ours, mut curls) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        ours = ours.min(runtime.block_on(upload(&root, &file)));
        curls = curls.min(curl(&root, &file));
    }
    let ratio = curls.as_secs_f64() / ours.as_secs_f64();
    let memory = peak_memory_kib();
    println!(
        "imgbuild {ours:.2?}, curl {curls:.2?}: {ratio:.2} of its speed; peak memory {} MiB",
        memory >> 10
    );
    if ratio >= LEAST_SPEED && memory < MOST_MEMORY_KIB {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn upload(root: &str, file: &Utf8Path) -> Duration {
    let config = CloudConfig {
        name: "sink".into(),
        auth_url: format!("{root}/v3"),
        auth: Auth::Token("t".into()),
        scope: Scope::Default,
        region: None,
        interface: Interface::Public,
        endpoints: [].into(),
        tls: Tls::default(),
    };
    let cloud = Cloud::new(config, Patience::default(), CancellationToken::new()).unwrap();
    // Token and versions are not what is measured.
    cloud.images().get("x").await.unwrap();
    let begin = Instant::now();
    cloud.images().upload("x", file, "disk", &Teller::default()).await.unwrap_err();
    begin.elapsed()
}

fn curl(root: &str, file: &Utf8Path) -> Duration {
    let begin = Instant::now();
    let status = Command::new("curl")
        .args(["-sf", "-H", "Expect:", "-H", "Content-Type: application/octet-stream", "-T"])
        .arg(file)
        .arg(format!("{root}/v2/images/x/file"))
        .status()
        .unwrap();
    assert!(status.success() || status.code() == Some(22), "{status}");
    begin.elapsed()
}

/// As much of Keystone and Glance as an upload needs. Uploads are refused at
/// their end: so neither client looks at the image again.
fn serve(stream: TcpStream, root: &str) {
    let mut reader = BufReader::with_capacity(256 << 10, stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        for n in 0.. {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if n == 0 {
                first.clone_from(&line);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).unwrap();
        let (status, body) = if first.contains("/auth/tokens") {
            let endpoint =
                json!({ "interface": "public", "region": "r", "url": format!("{root}/v2") });
            let token = json!({ "token": {
                "issued_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z",
                "catalog": [{ "type": "image", "endpoints": [endpoint] }] } });
            ("201 Created\r\nX-Subject-Token: t", token.to_string())
        } else if first.starts_with("PUT") {
            ("413 Full", String::new())
        } else {
            ("200 OK", json!({ "id": "x", "status": "queued" }).to_string())
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The kernel's high-water mark of this process, sink and all.
fn peak_memory_kib() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
