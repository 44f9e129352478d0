//! A guest for tests that does as a script says, and a web server for it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use imgbuild::{
    guard::Guard,
    media::initrd::{self, InitrdFile, Packing},
    model::Arch,
    platform::qemu::{
        arguments::{DirectKernel, MachineSpec},
        machine::{End, Happening, Machine},
        metadata::Metadata,
        traffic::Seen,
    },
    units::Size,
};
use tokio::sync::{Mutex, MutexGuard};

/// Guests are slow under emulation; two at once would be slower still.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Waits until no other test of this program has a machine.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().await
}

/// Guards through the imgbuild of this build.
pub(crate) fn guard() -> Guard {
    Guard::new(env!("CARGO_BIN_EXE_imgbuild").into())
}

/// A folder that is gone after the test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.0.path()).unwrap()
    }
}

/// A machine with nothing to boot from.
pub(crate) fn bare() -> MachineSpec {
    MachineSpec {
        name: "test".into(),
        program: std::env::var("IMGBUILD_TEST_QEMU")
            .unwrap_or_else(|_| "qemu-system-x86_64".into()),
        arch: Arch::X86_64,
        machine: "q35".into(),
        accelerator: "tcg".into(),
        cpu: "max".into(),
        cpus: 1,
        memory: Size::mib(256),
        uefi: None,
        disks: vec![],
        cdrom: None,
        direct: None,
        nic: "virtio-net-pci".into(),
        forwards: vec![],
        bios_on_console: false,
        log_port: None,
        more: vec![],
    }
}

/// A machine that does as the shell script says and switches itself off.
pub(crate) fn scripted(folder: &Utf8Path, script: &str) -> MachineSpec {
    let built = guest_folder();
    let initrd = folder.join("initrd");
    let file = InitrdFile { path: "script", bytes: script.as_bytes(), mode: 0o644 };
    let cancel = imgbuild::CancellationToken::new();
    let from = built.join("initrd.gz");
    initrd::append(from.as_std_path(), &[file], Packing::Plain, initrd.as_std_path(), &cancel)
        .unwrap();
    MachineSpec {
        direct: Some(DirectKernel {
            kernel: built.join("linux"),
            initrd: Some(initrd),
            command_line: "console=ttyS0 quiet panic=-1".into(),
        }),
        ..bare()
    }
}

/// Kernel and initrd, fetched once.
pub(crate) fn guest_folder() -> Utf8PathBuf {
    let folder = Utf8PathBuf::from(
        std::env::var("IMGBUILD_TEST_GUEST")
            .unwrap_or_else(|_| format!("{}/qemu-guest", env!("CARGO_TARGET_TMPDIR"))),
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu/guest/build");
    let status = std::process::Command::new(script).arg(&folder).status().unwrap();
    assert!(status.success(), "{script} failed");
    folder
}

/// What a guest did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) console: String,
    pub(crate) log: String,
    pub(crate) seen: Vec<Seen>,
    pub(crate) end: End,
}

/// Runs a machine to its end.
pub(crate) async fn run(machine: &mut Machine) -> Run {
    let (mut console, mut log, mut seen) = (String::new(), String::new(), Vec::new());
    let all = async {
        loop {
            match machine.next().await {
                Happening::Console(bytes) => console.push_str(&String::from_utf8_lossy(&bytes)),
                Happening::Log(bytes) => log.push_str(&String::from_utf8_lossy(&bytes)),
                Happening::Network(it) => seen.push(it),
                Happening::Ended(end) => return end,
            }
        }
    };
    let end = tokio::time::timeout(Duration::from_mins(4), all).await;
    let Ok(end) = end else { panic!("the guest does not end:\n{console}\n{seen:#?}") };
    Run { console, log, seen, end }
}

/// Starts a machine, runs it to its end, stops it.
pub(crate) async fn run_all(spec: &MachineSpec, metadata: Metadata, folder: &Utf8Path) -> Run {
    let mut machine = Machine::start(spec, metadata, folder, &guard()).await.unwrap();
    let run = run(&mut machine).await;
    machine.stop().await;
    run
}

/// A web server on this machine's loopback: `/zeros/N` is N bytes, `/slow` is
/// never answered, `/short` breaks off, anything else is not there.
pub(crate) fn web_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|it| !it.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or("/");
    if let Some(size) = path.strip_prefix("/zeros/") {
        let size: usize = size.parse().unwrap_or(0);
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {size}\r\n\r\n")?;
        let block = vec![0; 256 << 10];
        let mut left = size;
        while left > 0 {
            let n = left.min(block.len());
            stream.write_all(&block[..n])?;
            left -= n;
        }
        return Ok(());
    }
    match path {
        // Nothing is said until the guest gives up.
        "/slow" => std::io::copy(&mut stream, &mut std::io::sink()).map(|_| ()),
        "/short" => write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nshort"),
        _ => write!(stream, "HTTP/1.0 404 Not Found\r\nContent-Length: 5\r\n\r\nnope\n"),
    }
}
