//! `test --fake-cloud`, `doctor --cloud` and `console`, as people type them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};
use imgbuild::{
    CancellationToken,
    engine::{Event, Journal, Lifetime, Resource, ResourceKind, Teller},
    openstack::{
        Cloud, Patience,
        compute::{Attachment, NewServer, Until},
        config::{self, Text, Texts},
        image::NewImage,
        wait::Backoff,
    },
    redact::Redactor,
};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_mins(1);

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.0.path()).unwrap().join(name)
    }

    /// imgbuild, with its folders and its clouds in here.
    fn imgbuild(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgbuild"));
        command
            .args(arguments)
            .env("IMGBUILD_WORK_DIR", self.path("work"))
            .env("IMGBUILD_CACHE_DIR", self.path("cache"))
            .env("OS_CLIENT_CONFIG_FILE", self.path("clouds.yaml"))
            .env_remove("OS_CLOUD")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.imgbuild(arguments).output().unwrap()
    }

    fn journal(&self, run: &str) -> Journal {
        let folder = self.path("work").join("runs").join(run);
        fs_err::create_dir_all(&folder).unwrap();
        Journal::open(&folder.join("journal.jsonl"), Redactor::default(), Teller::default())
            .unwrap()
    }
}

/// A fake cloud in a process of its own, killed at the end.
struct Served(Child);

impl Served {
    fn start(folder: &Folder, more: &[&str]) -> Self {
        let yaml = folder.path("clouds.yaml");
        let mut arguments = vec!["test", "--fake-cloud", "--clouds-yaml", yaml.as_str()];
        arguments.extend(more);
        let mut child = folder.imgbuild(&arguments).spawn().unwrap();
        // It says so when it serves.
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("serving"), "{line}");
        Self(child)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn connect(folder: &Folder) -> Cloud {
    let path = folder.path("clouds.yaml").into_string();
    let text = fs_err::read_to_string(&path).unwrap();
    let texts = Texts { clouds: Some(Text { path, text }), ..Texts::default() };
    let quick = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
    let patience = Patience { retry: quick, poll: quick, attempts: 2, ..Patience::default() };
    Cloud::new(config::resolve(&texts, Some("fake")).unwrap(), patience, CancellationToken::new())
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_cloud_of_pretence_is_served_until_it_is_interrupted() {
    let folder = Folder::new();
    // As soon as it says that it serves, it ends as it is told to.
    for signal in ["-INT", "-TERM"].repeat(5) {
        let mut child = folder.imgbuild(&["test", "--fake-cloud"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().as_deref(), Some("clouds:"));
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let ended = child.wait().unwrap();
        assert!(ended.success(), "{signal}: {ended}");
    }
}

#[test]
fn the_command_line_of_a_fake_cloud_is_checked() {
    let folder = Folder::new();
    let out = folder.run(&["test"]);
    assert_eq!(out.status.code(), Some(2));
    let out = folder.run(&["test", "--fake-cloud", "--fail", "POST /servers=teapot"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("`teapot` is no way to fail"), "{}", text(&out.stderr));
}

#[tokio::test]
async fn faults_are_asked_for_on_the_command_line() {
    let folder = Folder::new();
    let _served = Served::start(&folder, &["--fail", "GET /flavors=500*2"]);
    let cloud = connect(&folder);
    let err = cloud.compute().flavors().await.unwrap_err();
    assert_eq!(err.status(), Some(500), "{err}");
    assert!(!cloud.compute().flavors().await.unwrap().is_empty());
}

#[test]
fn doctor_looks_at_a_cloud() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]);
    let out = folder.run(&["doctor", "--cloud", "fake"]);
    let said = text(&out.stdout);
    assert!(out.status.success(), "{said} {}", text(&out.stderr));
    for part in ["ok       nova", "ok       way out", "ok       quota of cinder", "`tiny`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    drop(served);
    // Nobody is there any more.
    let out = folder.run(&["doctor", "--cloud", "fake", "--format", "json"]);
    assert_eq!(out.status.code(), Some(1));
    let checks: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let login = checks.as_array().unwrap().iter().find(|it| it["name"] == "login").unwrap();
    assert_eq!(login["grade"], "missing", "{login}");
    assert!(login["remedy"].is_string(), "{login}");
    let out = folder.run(&["doctor", "--cloud", "fkae"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("there is no cloud `fkae`"), "{}", text(&out.stderr));
}

#[test]
fn doctor_says_what_a_cloud_lacks() {
    let folder = Folder::new();
    let _served = Served::start(&folder, &["--fail", "GET /flavors/detail=500"]);
    let out = folder.run(&["doctor", "--cloud", "fake"]);
    assert_eq!(out.status.code(), Some(1));
    let said = text(&out.stdout);
    let at = said
        .lines()
        .position(|it| it.starts_with("MISSING  flavor"))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(said.lines().nth(at + 1).unwrap().contains("-> "), "{said}");
    assert!(said.contains("ok       network"), "{said}");
}

#[test]
fn a_fake_cloud_may_lack_a_service_and_room() {
    let folder = Folder::new();
    let _served = Served::start(&folder, &["--without", "cinder", "--quota", "1"]);
    let out = folder.run(&["doctor", "--cloud", "fake"]);
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("warning  cinder"), "{said}");
    assert!(said.contains("MISSING  quota of neutron"), "{said}");
    let out = folder.run(&["test", "--fake-cloud", "--without", "swift"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("`swift` is no service; there are keystone"));
}

#[test]
fn the_log_of_a_build_at_work_is_followed_to_its_end() {
    let folder = Folder::new();
    let journal = folder.journal("run-1");
    let log = folder.path("work/runs/run-1/console.log");
    fs_err::write(&log, "first\n").unwrap();
    let mut child = folder.imgbuild(&["console"]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    let mut file = fs_err::OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(b"second\n").unwrap();
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "second\n");
    // Another machine begins to speak, and the build ends.
    fs_err::write(log.with_file_name("console-verify.log"), "login: ").unwrap();
    drop(journal);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    assert_eq!(rest, "login: ");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_run_that_does_not_exist_is_wrong_usage() {
    let folder = Folder::new();
    for arguments in [&["console"][..], &["console", "gone"]] {
        assert_eq!(folder.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn the_console_of_a_server_that_outlived_its_build_is_read_from_the_cloud() {
    let folder = Folder::new();
    let said: Vec<_> = (1..=20).map(|n| format!("line {n}")).collect();
    let offer = "Please manually connect your vnc client to 10.11.12.77:1 to begin the install.";
    fs_err::write(folder.path("says"), format!("{}\n{offer}\n{}", said[0], said[1..].join("\n")))
        .unwrap();
    let says = folder.path("says");
    let _served = Served::start(&folder, &["--console", says.as_str(), "--guest", "4s"]);
    let cloud = connect(&folder);
    let deadline = tokio::time::Instant::now() + LIMIT;
    let image = NewImage { name: "boot".into(), disk_format: "raw".into(), ..NewImage::default() };
    let image = cloud.images().create(&image).await.unwrap();
    let disk = folder.path("disk");
    fs_err::write(&disk, "disk").unwrap();
    cloud.images().upload(&image.id, &disk, "disk", &Teller::default()).await.unwrap();
    cloud.images().wait_active(&image.id, deadline).await.unwrap();
    let server = NewServer {
        name: "server".into(),
        flavor: "flavor-tiny".into(),
        image: Some(image.id.clone()),
        network: Attachment::Auto,
        ..NewServer::default()
    };
    let server = cloud.compute().create_server(&server).await.unwrap();
    cloud.compute().wait(&server.id, Until::Active, deadline).await.unwrap();

    // A build that was killed after its log had the first line.
    let mut journal = folder.journal("run-2");
    let resource = Resource {
        label: "server".into(),
        kind: ResourceKind::Server,
        name: "server".into(),
        id: None,
        lifetime: Lifetime::Scratch,
    };
    journal.record(&Event::Claimed { resource }).unwrap();
    journal.record(&Event::Confirmed { label: "server".into(), id: server.id.clone() }).unwrap();
    drop(journal);
    fs_err::write(folder.path("work/runs/run-2/console.log"), "line 1\n").unwrap();

    let began = Instant::now();
    let command = folder.imgbuild(&["console", "run-2", "--cloud", "fake"]);
    let out = tokio::process::Command::from(command).output().await.unwrap();
    assert!(began.elapsed() < LIMIT);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let (printed, notes) = (text(&out.stdout), text(&out.stderr));
    // Nova has no console of what is off, so the very end may be missed; all
    // before that is there once and in order.
    let whole = fs_err::read_to_string(&says).unwrap();
    assert!(whole.starts_with(printed.trim_end()), "{printed} {notes}");
    assert!(printed.lines().count() >= 5, "{printed} {notes}");
    assert!(notes.contains("noVNC: http://vnc.invalid"), "{notes}");
    assert!(notes.contains("server `server` is SHUTOFF"), "{notes}");
    assert!(notes.contains("its screen: vncviewer 10.11.12.77:1"), "{notes}");
    // Without its cloud the log can be read still.
    fs_err::remove_file(folder.path("clouds.yaml")).unwrap();
    let out = folder.run(&["console", "run-2"]);
    assert!(out.status.success());
    assert_eq!(text(&out.stdout), "line 1\n");
    assert!(text(&out.stderr).contains("clouds.yaml"), "{}", text(&out.stderr));
}

#[test]
fn what_is_in_another_project_is_not_taken_for_gone() {
    let folder = Folder::new();
    let _served = Served::start(&folder, &[]);
    let mut journal = folder.journal("run-3");
    let resource = Resource {
        label: "install-server".into(),
        kind: ResourceKind::Server,
        name: "imgbuild-run-3-install".into(),
        id: Some("11111111-0000-4000-8000-000000000000".into()),
        lifetime: Lifetime::Scratch,
    };
    let begun = Event::BuildStarted {
        format: 1,
        run: "run-3".into(),
        name: "web".into(),
        inputs: "sha256:0".into(),
        stages: vec!["install".into()],
        cloud: Some("fake".into()),
        project: Some("somebody-elses".into()),
    };
    journal.record(&begun).unwrap();
    journal.record(&Event::Claimed { resource: resource.clone() }).unwrap();
    drop(journal);
    for arguments in [&["cleanup"][..], &["cleanup", "--cloud", "fake"], &["cleanup", "run-3"]] {
        let out = folder.run(arguments);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(4), "{arguments:?}: {said}");
        assert!(said.contains("it is in project somebody-elses"), "{arguments:?}: {said}");
    }
    assert_eq!(folder.journal("run-3").state().held, [resource]);
}
