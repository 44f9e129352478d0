//! Results and servers in a cloud that are reached over SSH: what is made for it,
//! and that it is given back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared by several test programs")]
mod pretence;
#[expect(dead_code, reason = "shared by several test programs")]
mod quick;

use std::{path::PathBuf, process::Output, time::Duration};

use imgbuild::openstack::fake::{FakeCloud, Fault, Manners, When};
use pretence::command;
use quick::{Work, text};

const BUILD: [&str; 6] = ["build", "quick.toml", "--cloud", "fake", "--format", "plain"];

fn manners() -> Manners {
    pretence::manners(Duration::from_secs(1))
}

fn things(cloud: &FakeCloud) -> Vec<(&'static str, String)> {
    let mut things: Vec<_> = cloud.things().into_iter().map(|it| (it.kind, it.name)).collect();
    things.sort();
    things
}

/// What `ssh` is for a build: it writes down what it was asked, and answers.
const SSH: &str = r#"#!/bin/sh
echo "$@" >> "$HOME/asked"
for last; do :; done
case $last in
true) exit 0 ;;
*nginx*) echo "is installed, 1.26"; exit 0 ;;
*missing*) echo "is not there"; exit 1 ;;
esac
exit 0
"#;
/// What `ansible-playbook` is: it writes down what it was asked.
const PLAYBOOK: &str = "#!/bin/sh\necho \"$@\" >> \"$HOME/asked\"\n";
/// An `ssh` that never reaches anybody.
const NO_WAY: &str = r#"#!/bin/sh
echo "ssh: connect to host 172.24.4.99 port 22: No route to host" >&2
exit 255
"#;
const FLOATING: &str = "[platform.openstack]\nfloating-ip = \"public\"\n";

/// A cloud in which requests fail, a spec, and imgbuild that finds this for `ssh`.
async fn prepared(
    more: &str,
    ssh: &str,
    faults: &[(&str, usize, Fault)],
) -> (FakeCloud, Work, tokio::process::Command) {
    use std::os::unix::fs::PermissionsExt as _;
    let cloud = FakeCloud::start(manners()).await.unwrap();
    for (path, times, fault) in faults {
        cloud.fail(When::Matching((*path).to_owned(), *times), *fault);
    }
    let work = Work::new("ok", more);
    fs_err::write(work.path("clouds.yaml"), cloud.clouds_yaml()).unwrap();
    fs_err::create_dir(work.path("bin")).unwrap();
    for (name, text) in [("ssh", ssh), ("ansible-playbook", PLAYBOOK)] {
        let program = work.path(&format!("bin/{name}"));
        fs_err::write(&program, text).unwrap();
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs_err::write(work.path("site.yml"), "[]\n").unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", work.path("bin").display());
    let mut build = command(&work, &BUILD);
    build.env("PATH", path);
    (cloud, work, build)
}

/// Builds with guests that let in and do as they are told, while requests fail.
async fn reached(more: &str, faults: &[(&str, usize, Fault)]) -> (FakeCloud, Work, Output) {
    let (cloud, work, mut build) = prepared(more, SSH, faults).await;
    let obeys = async {
        let is_told = || {
            fs_err::read_to_string(work.path("asked"))
                .is_ok_and(|it| it.trim_end().ends_with("poweroff"))
        };
        while !is_told() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cloud.switch_guests_off();
        std::future::pending::<()>().await;
    };
    let output = tokio::select! {
        output = build.output() => output.unwrap(),
        () = obeys => unreachable!("it waits for ever"),
    };
    (cloud, work, output)
}

#[tokio::test]
async fn a_result_is_reached_with_what_is_made_for_it_and_given_back() {
    let before = things(&FakeCloud::start(manners()).await.unwrap());
    let ssh = "[verify]\nssh = { user = \"root\", command = \"uptime\", packages = [\"nginx\"] }\n";
    for (more, address) in [(FLOATING, "root@172.24.4.99"), ("", "root@10.")] {
        let (cloud, work, output) = reached(&format!("{ssh}{more}"), &[]).await;
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        let asked = fs_err::read_to_string(work.path("asked")).unwrap();
        assert!(asked.contains(address) && asked.contains("uptime"), "{asked}");
        assert!(said.contains("is installed, 1.26"), "{said}");
        let requests = cloud.requests().join("\n");
        let made = |path: &str| requests.contains(&format!("POST {path}"));
        assert!(made("/compute/v2.1/os-keypairs"), "{requests}");
        assert!(made("/network/v2.0/security-groups"), "{requests}");
        assert_eq!(made("/network/v2.0/floatingips"), more.contains("floating-ip"), "{requests}");
        let mut after = things(&cloud);
        after.retain(|it| !before.contains(it));
        assert_eq!(after, [("image", "quick".to_owned())]);
        assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn a_result_that_lacks_something_is_not_kept() {
    let more = "[verify]\nssh = { user = \"root\", files = [\"/missing\"] }\n\
                [platform.openstack]\nfloating-ip = \"public\"\n";
    let (cloud, work, output) = reached(more, &[]).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is not there"), "{said}");
    let before = things(&FakeCloud::start(manners()).await.unwrap());
    assert_eq!(things(&cloud), before, "{said}");
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new(), "{said}");
}

#[tokio::test]
async fn a_stage_works_in_the_installed_server_before_it_is_captured() {
    let stage = |work: &str, more: &str| {
        format!("[[stages]]\nname = \"change\"\nafter = \"install\"\n{work}\n{FLOATING}{more}")
    };
    let ssh = "ssh = { run = [\"echo changed > /etc/stage\"], keep = true }";
    let ansible = "ansible = { playbook = \"site.yml\", keep = true }";
    let over_ssh = "root@172.24.4.99 echo changed > /etc/stage";
    let before = things(&FakeCloud::start(manners()).await.unwrap());
    for (more, wanted) in [
        (stage(ssh, ""), over_ssh),
        (stage(ssh, "volume-backed = true\n"), over_ssh),
        (stage(ansible, ""), "ansible_host=172.24.4.99 ansible_port=22 ansible_user=root"),
    ] {
        let (cloud, work, output) = reached(&more, &[]).await;
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        let asked = fs_err::read_to_string(work.path("asked")).unwrap();
        assert!(asked.contains(wanted), "{asked}");
        assert!(asked.trim_end().ends_with("poweroff"), "{asked}");
        let mut after = things(&cloud);
        after.retain(|it| !before.contains(it));
        assert_eq!(after, [("image", "quick".to_owned())]);
        assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn nothing_of_what_reaches_a_result_is_lost_when_requests_fail() {
    let more = "[verify]\nssh = { user = \"root\" }\n\
                [platform.openstack]\nfloating-ip = \"public\"\n";
    let before = things(&FakeCloud::start(manners()).await.unwrap());
    let lost: Vec<_> = [
        "POST /compute/v2.1/os-keypairs",
        "POST /network/v2.0/security-groups",
        "POST /network/v2.0/floatingips",
    ]
    .map(|it| (it, 1, Fault::ReplyLost))
    .into();
    let (cloud, _work, output) = reached(more, &lost).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut after = things(&cloud);
    after.retain(|it| !before.contains(it));
    assert_eq!(after, [("image", "quick".to_owned())]);

    let for_good = [("POST /network/v2.0/floatingips", usize::MAX, Fault::Conflict)];
    let (cloud, work, output) = reached(more, &for_good).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(things(&cloud), before, "{}", text(&output.stderr));
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_guest_that_is_not_reached_is_told_with_what_ssh_said() {
    let proof = "[verify]\nssh = { user = \"root\" }\ntimeout = \"10s\"\n";
    let stage = "[[stages]]\nname = \"change\"\nafter = \"install\"\ntimeout = \"10s\"\n\
                 ssh = { run = [\"true\"], keep = true }\n";
    let before = things(&FakeCloud::start(manners()).await.unwrap());
    for more in [proof, stage] {
        let more = format!("{more}{FLOATING}");
        let (cloud, work, mut build) = prepared(&more, NO_WAY, &[]).await;
        let output = build.output().await.unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for wanted in ["172.24.4.99", "port 22", "No route to host", "security groups"] {
            assert!(said.contains(wanted), "{said}");
        }
        assert_eq!(things(&cloud), before, "{said}");
        assert_eq!(work.leftovers(), Vec::<PathBuf>::new(), "{said}");
    }
}

/// Waits until a build has the address of the server that it tries to reach.
async fn is_addressed(cloud: &FakeCloud) {
    let made = async {
        while !things(cloud).iter().any(|it| it.0 == "floating ip") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), made).await.unwrap();
}

#[tokio::test]
async fn what_a_killed_build_made_to_reach_a_guest_is_given_back() {
    let before = things(&FakeCloud::start(manners()).await.unwrap());
    let more = format!("[verify]\nssh = {{ user = \"root\" }}\n{FLOATING}");
    let (cloud, work, mut build) = prepared(&more, NO_WAY, &[]).await;
    let mut child = build.spawn().unwrap();
    is_addressed(&cloud).await;
    child.kill().await.unwrap();
    let left: Vec<_> = things(&cloud).into_iter().filter(|it| !before.contains(it)).collect();
    for kind in ["keypair", "security group", "floating ip", "server"] {
        assert!(left.iter().any(|it| it.0 == kind), "{kind}: {left:?}");
    }

    let output = command(&work, &["cleanup"]).output().await.unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}{}", text(&output.stdout));
    assert_eq!(things(&cloud), before, "{said}");
}

#[tokio::test]
async fn servers_take_the_port_or_the_address_that_the_spec_gives_them() {
    let ssh = "[verify]\nssh = { user = \"root\" }\n[platform.openstack]\n";
    for (where_to, address, own) in [
        ("port = \"build-port\"\n", "root@10.11.12.77", false),
        ("network = \"private\"\nfixed-ip = \"10.11.12.13\"\n", "root@10.11.12.13", true),
    ] {
        let (cloud, work, mut build) = prepared(&format!("{ssh}{where_to}"), SSH, &[]).await;
        let port = cloud.add_port("build-port", "");
        let output = build.output().await.unwrap();
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        let asked = fs_err::read_to_string(work.path("asked")).unwrap();
        assert!(asked.contains(address), "{asked}");
        // A port has its groups; and it is there for the next build.
        let made =
            cloud.requests().iter().any(|it| it.contains("POST /network/v2.0/security-groups"));
        assert_eq!(made, own);
        assert_eq!(cloud.record(&port).unwrap()["device_id"], "");
        assert!(things(&cloud).contains(&("image", "quick".to_owned())));
    }
}

#[tokio::test]
async fn a_port_that_is_missing_or_in_use_is_told_of_before_anything_is_made() {
    for (is_used, wanted) in [(false, "no port `build-port`"), (true, "is in use by")] {
        let more = "[platform.openstack]\nport = \"build-port\"\n";
        let (cloud, _work, mut build) = prepared(more, SSH, &[]).await;
        if is_used {
            cloud.add_port("build-port", "another-server");
        }
        let before = things(&cloud);
        let output = build.output().await.unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(wanted), "{said}");
        assert_eq!(things(&cloud), before);
    }
}

#[tokio::test]
async fn what_builds_left_whose_journals_are_lost_is_found_by_its_names() {
    let before = things(&FakeCloud::start(manners()).await.unwrap());
    let more = format!("[verify]\nssh = {{ user = \"root\" }}\n{FLOATING}");
    let (cloud, work, mut build) = prepared(&more, NO_WAY, &[]).await;
    let mut child = build.spawn().unwrap();
    is_addressed(&cloud).await;
    let lost = ["cleanup", "--cloud", "fake", "--lost", "0s"];
    // A build that is at work here is left alone.
    let output = command(&work, &lost).output().await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    child.kill().await.unwrap();
    fs_err::remove_dir_all(work.path("work")).unwrap();

    let left = things(&cloud);
    assert!(left.len() >= before.len() + 5, "{left:?}");
    let young = ["cleanup", "--cloud", "fake", "--lost", "1h"];
    let output = command(&work, &young).output().await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(things(&cloud), left, "too young");
    let output = command(&work, &lost).output().await.unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("given back: Server imgbuild-"), "{said}");
    assert_eq!(things(&cloud), before, "{said}");
}
