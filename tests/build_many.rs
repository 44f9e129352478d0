//! Many builds at once, as people type them: a folder of specs, `-j`, what a
//! cloud's quotas have room for, and one Ctrl-C for all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "what was measured")]
#![expect(clippy::cast_precision_loss, reason = "a rate for people")]

mod pretence;
#[expect(dead_code, reason = "shared by several test programs")]
mod quick;

use std::{
    path::PathBuf,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use imgbuild::openstack::fake::{FakeCloud, Manners, Thing};
use pretence::command;
use quick::{Work, text};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

fn manners() -> Manners {
    pretence::manners(Duration::from_millis(1500))
}

/// A folder `specs` with a spec for each name, made of the quick one.
fn specs(work: &Work, names: &[&str]) {
    let spec = fs_err::read_to_string(work.path("quick.toml")).unwrap();
    fs_err::create_dir_all(work.path("specs")).unwrap();
    for name in names {
        let own = spec.replace("name = \"quick\"", &format!("name = \"{name}\""));
        fs_err::write(work.path(&format!("specs/{name}.toml")), own).unwrap();
    }
}

async fn cloud(manners: Manners, names: &[&str]) -> (FakeCloud, Work) {
    let (cloud, work) = pretence::cloud(manners).await;
    specs(&work, names);
    (cloud, work)
}

async fn imgbuild(work: &Work, arguments: &[&str]) -> Output {
    command(work, arguments).output().await.unwrap()
}

fn made(cloud: &FakeCloud, kind: &str) -> Vec<String> {
    let things = cloud.things().into_iter().filter(|it| it.kind == kind);
    let mut names: Vec<_> = things.map(|Thing { name, .. }| name).collect();
    names.sort();
    names
}

/// The events of one stream, in order.
fn events(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

/// How many builds were at it at once, by an event stream.
fn most_at_once(events: &[Value]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for event in events {
        match event["event"].as_str().unwrap() {
            "build-started" => now += 1,
            "build-finished" => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most
}

#[tokio::test]
async fn a_folder_is_built_two_at_a_time_in_the_order_of_its_specs() {
    let (cloud, work) = cloud(manners(), &["a", "b", "c", "d"]).await;
    // A part of specs is no spec.
    fs_err::write(work.path("specs/common.toml"), "[install]\ncpus = 1\n").unwrap();
    let build = ["build", "specs", "--cloud", "fake", "-j", "2"];
    let output = imgbuild(&work, &[&build[..], &["--format", "json"]].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let events = events(&output);
    assert_eq!(most_at_once(&events), 2);
    let begun: Vec<_> = events
        .iter()
        .filter(|it| it["event"] == "build-started")
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    // Two are asked about at once, and either may be the first to begin.
    assert_eq!(begun.len(), 4);
    for (place, name) in begun.iter().enumerate() {
        let turn = ["a", "b", "c", "d"].iter().position(|it| it == name).unwrap();
        assert!(turn <= place + 1, "{begun:?}");
    }
    for event in events.iter().filter(|it| it["event"] != "builds-finished") {
        let (name, run) = (event["name"].as_str().unwrap(), event["run"].as_str().unwrap());
        assert!(run.ends_with(&format!("-{name}")), "{event}");
    }
    let last = events.last().unwrap();
    assert_eq!(last["event"], "builds-finished");
    assert!(last["builds"].as_array().unwrap().iter().all(|it| it["outcome"] == "succeeded"));
    assert_eq!(made(&cloud, "image"), ["a", "b", "c", "d"]);
    assert_eq!(made(&cloud, "server"), Vec::<String>::new());
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());

    // Nothing has changed: nothing is done.
    let again = imgbuild(&work, &[&build[..], &["--format", "plain"]].concat()).await;
    let said = text(&again.stderr);
    assert!(again.status.success() && said.contains("4 of 4 builds made"), "{said}");
    assert_eq!(text(&again.stdout).lines().count(), 4);
}

#[tokio::test]
async fn what_a_cloud_lacks_says_of_which_build() {
    // Warnings of one build are its own: it asks for more processors than there are.
    let (_cloud, work) = cloud(manners(), &["a", "b"]).await;
    let greedy = work.path("specs/b.toml");
    let spec = fs_err::read_to_string(&greedy).unwrap().replace("cpus = 1", "cpus = 4");
    fs_err::write(&greedy, spec).unwrap();
    let build = ["build", "specs", "--cloud", "fake", "-j", "2", "--format", "plain"];
    let output = imgbuild(&work, &build).await;
    let said = text(&output.stderr);
    assert!(said.contains("b:\nwarning  flavor"), "{said}");
    assert!(!said.contains("a:\nwarning"), "{said}");
}

#[tokio::test]
async fn quotas_bound_how_many_run_whatever_j_says() {
    let names = ["a", "b", "c", "d", "e"];
    // Two servers may be.
    let (cloud, work) = cloud(Manners { quota: 2, ..manners() }, &names).await;
    let build = ["build", "specs", "--cloud", "fake", "-j", "5", "--format", "json"];
    let output = imgbuild(&work, &build).await;
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}{}", text(&output.stdout));
    let events = events(&output);
    // A port is the router's, so that one build is all there is room for.
    assert_eq!(most_at_once(&events), 1);
    let waits = |it: &&Value| it["text"].as_str().is_some_and(|it| it.starts_with("waits: "));
    assert_eq!(events.iter().filter(waits).count(), 4);
    assert_eq!(made(&cloud, "image"), names);
}

#[tokio::test]
async fn who_is_refused_for_a_quota_waits_for_another_of_ours() {
    // There is room for one server, and the cloud says that there is for more.
    let little = |quota| Manners { quota, told_quota: Some(10), ..manners() };
    let build = ["build", "specs", "--cloud", "fake", "-j", "2", "--format", "plain"];
    let (one, work) = cloud(little(1), &["a", "b"]).await;
    let output = imgbuild(&work, &build).await;
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("waits until another build in this cloud has ended"), "{said}");
    assert!(said.contains("Quota exceeded for instances"), "{said}");
    assert_eq!(made(&one, "image"), ["a", "b"]);

    // Where none of ours goes on there is nothing to wait for.
    let (none, work) = cloud(little(0), &["a", "b"]).await;
    let output = imgbuild(&work, &build).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("0 of 2 builds made"), "{said}");
    assert_eq!(made(&none, "image"), Vec::<String>::new());
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn one_that_fails_stops_the_others_only_where_that_is_wanted() {
    let (cloud, work) = cloud(manners(), &["a", "b", "c"]).await;
    let spec = fs_err::read_to_string(work.path("specs/b.toml")).unwrap();
    // This one waits in vain for what its result should say.
    let more = "[verify]\nconsole = \"what is never said\"\ntimeout = \"3s\"\n";
    fs_err::write(work.path("specs/b.toml"), format!("{spec}{more}")).unwrap();
    let build = ["build", "specs", "--cloud", "fake", "-j", "2", "--format", "plain"];
    let output = imgbuild(&work, &build).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("2 of 3 builds made") && said.contains("b: verify FAILED"), "{said}");
    assert_eq!(made(&cloud, "image"), ["a", "c"]);

    let all_or_none = ["build", "specs", "--cloud", "fake", "--fail-fast", "--force"];
    fs_err::rename(work.path("specs/b.toml"), work.path("specs/0.toml")).unwrap();
    let output = imgbuild(&work, &all_or_none).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("0 of 3 builds made") && said.contains("not begun"), "{said}");
    assert_eq!(made(&cloud, "server"), Vec::<String>::new());
}

#[tokio::test]
async fn builds_that_would_make_the_same_are_refused_before_anything_starts() {
    let (cloud, work) = cloud(manners(), &["a"]).await;
    fs_err::copy(work.path("specs/a.toml"), work.path("specs/b.toml")).unwrap();
    for (more, wanted) in
        [(&["--cloud", "fake"][..], "the image `a` in the cloud"), (&[], "a.qcow2`")]
    {
        let output = imgbuild(&work, &[&["build", "specs"], more].concat()).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("two builds make") && said.contains(wanted), "{said}");
        assert!(said.contains("`a` of specs/a.toml and"), "{said}");
    }
    assert!(cloud.requests().is_empty());
    assert!(!work.path("work").exists(), "no run was begun");
}

/// What the kernel says of the most memory that a process has had, in MiB.
fn peak_memory(process: u32) -> u64 {
    let status = fs_err::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// Two hundred builds that all wait for their guests.
#[tokio::test]
async fn two_hundred_waiting_builds_cost_little() {
    const N: usize = 200;
    let slow = Manners { quota: 500, guest: None, ..manners() };
    let names: Vec<_> = (0..N).map(|n| format!("image-{n:03}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let cloud = FakeCloud::start(slow).await.unwrap();
    let work = Work::new("ok", "");
    fs_err::write(work.path("clouds.yaml"), cloud.clouds_yaml()).unwrap();
    // Nothing of this boots: small files are as good as a kernel and an initrd.
    fs_err::write(work.path("linux"), vec![1; 20_000]).unwrap();
    fs_err::write(work.path("initrd.gz"), vec![2; 20_000]).unwrap();
    let spec = fs_err::read_to_string(work.path("quick.toml")).unwrap();
    let (begin, end) = (spec.find("[source.kernel]").unwrap(), spec.find("[answer]").unwrap());
    let kernel = work.path("linux").display().to_string();
    let initrd = work.path("initrd.gz").display().to_string();
    let source = format!("[source.kernel]\nkernel = \"{kernel}\"\ninitrd = \"{initrd}\"\n\n");
    let spec = format!("{}{source}{}", &spec[..begin], &spec[end..]).replace("15s", "1h");
    fs_err::write(work.path("quick.toml"), spec).unwrap();
    specs(&work, &names);

    let build = ["build", "specs", "--cloud", "fake", "-j", "200", "--format", "json"];
    let mut child = command(&work, &build)
        .stdout(Stdio::piped())
        // Nobody reads it, and a full pipe would hold everything up.
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let since = Instant::now();
    let mut stream = BufReader::new(child.stdout.take().unwrap()).lines();
    let counting = tokio::spawn(async move {
        let mut n_waiting = 0;
        while let Some(line) = stream.next_line().await.unwrap() {
            let event: Value = serde_json::from_str(&line).unwrap();
            n_waiting +=
                usize::from(event["event"] == "phase-reached" && event["phase"] == "network");
            if n_waiting == N {
                break;
            }
        }
        (n_waiting, stream)
    });
    let (n_waiting, mut lines) =
        tokio::time::timeout(Duration::from_mins(5), counting).await.unwrap().unwrap();
    assert_eq!(n_waiting, N, "all wait for their guests");
    let all_wait = since.elapsed();

    let before = cloud.requests().len();
    let watched = Duration::from_secs(20);
    tokio::time::sleep(watched).await;
    let n_requests = cloud.requests().len() - before;
    let id = child.id().unwrap();
    let memory = peak_memory(id);
    let a_minute = n_requests as f64 * 60.0 / watched.as_secs_f64() / N as f64;
    println!(
        "{N} builds wait after {:.0} s: {memory} MiB at most, {a_minute:.1} requests a minute each",
        all_wait.as_secs_f64()
    );
    assert!(memory <= 200, "{memory} MiB");
    assert!(a_minute <= 10.0, "{a_minute} requests a minute each");

    // One Ctrl-C for all.
    assert!(kill("-INT", id));
    let drained = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let output = child.wait_with_output().await.unwrap();
    drained.await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    for kind in ["server", "image", "port", "volume"] {
        let left = made(&cloud, kind).into_iter().filter(|it| it.contains("image-")).count();
        assert_eq!(left, 0, "{kind}s");
    }
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
}

fn kill(signal: &str, process: u32) -> bool {
    let mut kill = std::process::Command::new("kill");
    kill.args([signal, &process.to_string()]).status().unwrap().success()
}

/// Real machines: two at once, each with a run and an undoing of its own.
#[tokio::test]
async fn two_machines_install_at_once_and_one_interruption_ends_both() {
    let work = Work::new("ok", "");
    specs(&work, &["a", "b"]);
    let build = ["build", "specs", "-j", "2", "--format", "json"];
    let output = imgbuild(&work, &build).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(most_at_once(&events(&output)), 2);
    for name in ["a.qcow2", "b.qcow2"] {
        assert!(work.path(name).is_file(), "{name}");
    }
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());

    let work = Work::new("slow", "");
    specs(&work, &["a", "b"]);
    let mut child =
        command(&work, &build).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut installing = std::collections::BTreeSet::new();
    while installing.len() < 2 {
        let line = lines.next_line().await.unwrap().unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == "phase-reached" {
            installing.insert(event["name"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(work.machines().len(), 2);
    assert!(kill("-INT", child.id().unwrap()));
    let drained = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let output = child.wait_with_output().await.unwrap();
    drained.await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
    assert_eq!(work.machines(), Vec::<u32>::new());
}
