//! Whole builds in a cloud, as people type them. The cloud is one of pretence,
//! whose guests say what an installer says; `make test-openstack` builds in a
//! real one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod pretence;
#[expect(dead_code, reason = "other tests use the rest of it")]
mod quick;

use std::{path::PathBuf, process::Output, time::Duration};

use imgbuild::openstack::fake::{FakeCloud, Fault, Manners, Thing, When};
use pretence::{INSTALL, cloud, command};
use quick::{Work, text};

fn lines(of: &[&str]) -> Vec<String> {
    of.iter().map(|it| (*it).to_owned()).collect()
}

fn manners() -> Manners {
    pretence::manners(Duration::from_millis(1500))
}

/// Runs imgbuild while the cloud serves.
async fn imgbuild(work: &Work, arguments: &[&str]) -> Output {
    command(work, arguments).output().await.unwrap()
}

const BUILD: [&str; 6] = ["build", "quick.toml", "--cloud", "fake", "--format", "plain"];

/// What is in a cloud that a build could have made.
fn things(cloud: &FakeCloud) -> Vec<(&'static str, String)> {
    let mut things: Vec<_> =
        cloud.things().into_iter().map(|Thing { kind, name, .. }| (kind, name)).collect();
    things.sort();
    things
}

#[tokio::test]
async fn a_spec_becomes_an_image_in_glance_and_only_once() {
    let (cloud, work) = cloud(manners()).await;
    let before = things(&cloud);
    let output = imgbuild(&work, &BUILD).await;
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    for phase in ["phase network", "phase packages", "phase end", "packages 10 of 10"] {
        assert!(said.contains(phase), "{phase}: {said}");
    }
    let product = text(&output.stdout).trim().to_owned();
    let made: Vec<_> = cloud.things().into_iter().filter(|it| it.id == product).collect();
    assert_eq!(made.len(), 1, "{product}");
    assert_eq!(made[0].name, "quick");
    let mut after = things(&cloud);
    after.retain(|it| !before.contains(it));
    assert_eq!(after, [(made[0].kind, "quick".to_owned())]);
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
    assert!(!text(&work.everything(&output)).contains(quick::SECRET), "the password is somewhere");

    let n_requests = cloud.requests().len();
    let again = imgbuild(&work, &BUILD).await;
    assert!(text(&again.stderr).contains("nothing has changed"), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout).trim(), product);
    let asked = cloud.requests();
    let wrote = asked[n_requests..].iter().filter(|it| it.starts_with("POST /compute")).count();
    assert_eq!(wrote, 0, "{asked:?}");
}

#[tokio::test]
async fn a_spec_becomes_a_volume_and_its_snapshot() {
    let (cloud, work) = cloud(manners()).await;
    let before = things(&cloud);
    let output = imgbuild(&work, &[&BUILD[..], &["--target", "volume"]].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut after = things(&cloud);
    after.retain(|it| !before.contains(it));
    let kinds: Vec<_> = after.iter().map(|it| it.0).collect();
    assert_eq!(kinds, ["snapshot", "volume"], "{after:?}");
    assert!(after.iter().all(|it| it.1 == "quick"), "{after:?}");
}

#[tokio::test]
async fn an_image_and_a_snapshot_are_made_of_one_disk_and_each_is_proved() {
    let (cloud, work) = cloud(manners()).await;
    let before = things(&cloud);
    append(
        &work,
        "[platform.openstack]\n[target.volume]\nname = \"disk\"\n[target.glance]\ntags = [\"golden\"]\n\
         min-disk = \"2500 MiB\"\nmin-memory = \"768 MiB\"\n",
    );
    let output = imgbuild(&work, &BUILD).await;
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("verify done") && said.contains("verify-image done"), "{said}");
    let mut after = things(&cloud);
    after.retain(|it| !before.contains(it));
    assert_eq!(
        after,
        [
            ("image", "quick".to_owned()),
            ("snapshot", "disk".to_owned()),
            ("volume", "disk".to_owned())
        ]
    );
    let products = text(&output.stdout).trim().to_owned();
    let (snapshot, image) = products.split_once(' ').unwrap();
    assert_eq!(cloud.record(snapshot).unwrap()["name"], "disk");
    let image = cloud.record(image).unwrap();
    assert_eq!((&image["name"], &image["tags"][0]), (&"quick".into(), &"golden".into()));
    assert_eq!((&image["min_disk"], &image["min_ram"]), (&3.into(), &768.into()));

    // Nothing has changed; and either can be asked for alone.
    let again = imgbuild(&work, &BUILD).await;
    assert_eq!(text(&again.stdout).trim(), products);
    let alone = imgbuild(&work, &[&BUILD[..], &["--target", "glance", "--force"]].concat()).await;
    assert!(alone.status.success(), "{}", text(&alone.stderr));
    let kinds = |it: &str| things(&cloud).iter().filter(|thing| thing.0 == it).count();
    assert_eq!((kinds("image"), kinds("snapshot")), (2, 1));
}

#[tokio::test]
async fn an_installer_is_started_from_its_kernel_and_its_result_from_its_disk() {
    for (more, target) in
        [("", "glance"), ("[platform.openstack]\nvolume-backed = true\n", "glance"), ("", "volume")]
    {
        let (cloud, work) = cloud(manners()).await;
        append(&work, &format!("boot = \"direct\"\n{more}"));
        let before = things(&cloud);
        let output = imgbuild(&work, &[&BUILD[..], &["--target", target]].concat()).await;
        let said = text(&output.stderr);
        assert!(output.status.success(), "{target} {more}: {said}");
        let mut after = things(&cloud);
        after.retain(|it| !before.contains(it));
        assert!(after.iter().all(|it| it.1 == "quick"), "{after:?}");
        assert_eq!(work.leftovers(), Vec::<PathBuf>::new());
        for made in cloud.things().iter().filter(|it| it.name == "quick") {
            let record = cloud.record(&made.id).unwrap().to_string();
            for key in ["kernel_id", "ramdisk_id", "os_command_line"] {
                assert!(!record.contains(key), "{record}");
            }
        }
    }
}

#[tokio::test]
async fn a_cloud_that_starts_no_kernel_is_told_of_with_the_remedy() {
    for more in ["", "[platform.openstack]\nvolume-backed = true\n"] {
        let (cloud, work) = cloud(Manners { starts_kernels: false, ..manners() }).await;
        append(&work, &format!("boot = \"direct\"\n{more}"));
        let spec = fs_err::read_to_string(work.path("quick.toml")).unwrap();
        fs_err::write(work.path("quick.toml"), spec.replace("\"15s\"", "\"3s\"")).unwrap();
        let before = things(&cloud);
        let output = imgbuild(&work, &BUILD).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("did not start the installer's kernel"), "{said}");
        assert!(said.contains("`install.boot = \"disk\"`"), "{said}");
        assert_eq!(things(&cloud), before, "{said}");
    }
}

#[tokio::test]
async fn a_command_line_with_a_secret_is_no_property_of_an_image() {
    let (cloud, work) = cloud(manners()).await;
    append(&work, "boot = \"direct\"\nparameters = [\"pw={{ password }}\"]\n");
    let output = imgbuild(&work, &BUILD).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("secret") && said.contains("help:"), "{said}");
    assert!(!cloud.requests().iter().any(|it| it.starts_with("POST /image")), "{said}");
}

#[tokio::test]
async fn boot_media_are_kept_for_the_next_build_only_where_that_is_asked_for() {
    for boot in ["disk", "direct"] {
        let (cloud, work) = cloud(manners()).await;
        append(&work, &format!("boot = \"{boot}\"\n"));
        let before = things(&cloud);
        let build = [&BUILD[..], &["--force", "--cache-media"]].concat();
        let kept = |cloud: &FakeCloud| -> Vec<String> {
            let mut things = cloud.things();
            things.retain(|it| it.name.starts_with("imgbuild-"));
            things.into_iter().map(|it| it.id).collect()
        };
        for n in 0..2 {
            let output = imgbuild(&work, &build).await;
            let said = text(&output.stderr);
            assert!(output.status.success(), "{said}");
            assert_eq!(said.contains("cached, image"), n == 1, "{said}");
            assert_eq!(kept(&cloud).len(), if boot == "disk" { 1 } else { 2 }, "{said}");
            let record = cloud.record(text(&output.stdout).trim()).unwrap().to_string();
            assert!(!record.contains("imgbuild_sha256"), "{record}");
        }
        let output = imgbuild(&work, &["cleanup", "--cache", "--cloud", "fake"]).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(kept(&cloud).is_empty(), "{:?}", things(&cloud));
        let mut after = things(&cloud);
        after.retain(|it| !before.contains(it));
        assert!(after.iter().all(|it| it.1 == "quick"), "{after:?}");
    }
}

/// Lengthens the spec, whose last table is `[install]`.
fn append(work: &Work, more: &str) {
    let spec = fs_err::read_to_string(work.path("quick.toml")).unwrap();
    fs_err::write(work.path("quick.toml"), format!("{spec}{more}")).unwrap();
}

/// A build that fails, and leaves nothing behind.
async fn failure(manners: Manners, more: &[&str]) -> String {
    let (cloud, work) = cloud(manners).await;
    let before = things(&cloud);
    let output = imgbuild(&work, &[&BUILD[..], more].concat()).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(text(&output.stdout).is_empty(), "{said}");
    assert_eq!(things(&cloud), before, "{said}");
    assert_eq!(work.leftovers(), Vec::<PathBuf>::new(), "{said}");
    assert_eq!(work.machines(), Vec::<u32>::new(), "nothing runs here");
    said
}

#[tokio::test]
async fn an_error_of_the_installer_is_told_in_its_words() {
    let mut console = lines(&INSTALL[..5]);
    console.push(
        "imgbuild-quick: error: base system: the package base-files could not be unpacked".into(),
    );
    // It hangs after its error: nothing but the console tells.
    let said =
        failure(Manners { console, guest: None, ..manners() }, &["--target", "volume"]).await;
    assert!(said.contains("base-files could not be unpacked"), "{said}");
    assert!(said.contains("base-system"), "{said}");
}

#[tokio::test]
async fn a_poweroff_without_a_word_is_no_success() {
    let console = lines(&INSTALL[..4]);
    let said = failure(Manners { console, ..manners() }, &[]).await;
    assert!(said.contains("stage `install` failed"), "{said}");
    assert!(!said.contains("was not seen"), "{said}");
    // Nova's own default: with the machine its console is gone.
    let console = lines(&INSTALL[..4]);
    let forgetful = Manners { console, console_when_off: false, ..manners() };
    let said = failure(forgetful, &[]).await;
    assert!(said.contains("no console of a server that is off"), "{said}");
}

#[tokio::test]
async fn a_server_that_somebody_deletes_is_missed_at_once() {
    let (cloud, work) =
        cloud(Manners { guest: None, console: lines(&INSTALL[..5]), ..manners() }).await;
    let build = imgbuild(&work, &BUILD);
    let somebody = async {
        let patience = imgbuild::openstack::Patience::default();
        let cancel = imgbuild::CancellationToken::new();
        let own = imgbuild::openstack::Cloud::new(cloud.config(), patience, cancel).unwrap();
        let id = loop {
            let server = cloud.things().into_iter().find(|it| it.kind == "server");
            let is_up = server.as_ref().and_then(|it| cloud.record(&it.id));
            if let (Some(server), true) = (server, is_up.is_some_and(|it| it["status"] == "ACTIVE"))
            {
                break server.id;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let until = tokio::time::Instant::now() + Duration::from_mins(1);
        let which = imgbuild::openstack::release::Which::Id(&id);
        own.compute().release_server(which, until).await.unwrap();
    };
    let (output, ()) = tokio::join!(build, somebody);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("somebody deleted the machine"), "{said}");
    assert!(!said.contains("was not seen"), "{said}");
}

#[tokio::test]
async fn the_fault_of_a_server_is_told() {
    let fault = Some("No valid host was found. There are not enough hosts available.".to_owned());
    let said = failure(Manners { fault, ..manners() }, &[]).await;
    assert!(said.contains("No valid host was found"), "{said}");
}

#[tokio::test]
async fn an_image_that_does_not_boot_is_not_kept() {
    let booted =
        lines(&["Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"]);
    let said = failure(Manners { booted, ..manners() }, &[]).await;
    assert!(said.contains("stage `verify` failed"), "{said}");
}

#[tokio::test]
async fn what_a_cloud_lacks_is_found_before_the_first_write() {
    let flavors = vec![("small".to_owned(), 64, 1)];
    let (cloud, work) = cloud(Manners { flavors, ..manners() }).await;
    let output = imgbuild(&work, &BUILD).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("flavor"), "{said}");
    let wrote = |it: &&String| !it.starts_with("GET") && !it.contains("/auth/tokens");
    assert_eq!(cloud.requests().iter().find(wrote), None);
}

#[tokio::test]
async fn requests_that_fail_once_do_not_fail_a_build() {
    let (cloud, work) = cloud(manners()).await;
    let before = things(&cloud).len();
    for (path, fault) in [
        ("POST /compute/v2.1/servers", Fault::ReplyLost),
        ("PUT /image", Fault::Unavailable),
        ("POST /image/v2/images", Fault::ReplyLost),
        ("PATCH /image", Fault::Broken),
        ("DELETE /compute", Fault::Unavailable),
        ("GET /compute/v2.1/servers/", Fault::Expired),
    ] {
        cloud.fail(When::Matching(path.to_owned(), 1), fault);
    }
    let output = imgbuild(&work, &BUILD).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(things(&cloud).len(), before + 1, "{:?}", things(&cloud));
}

#[tokio::test]
async fn what_a_killed_build_left_in_the_cloud_is_given_back() {
    let (cloud, work) =
        cloud(Manners { guest: None, console: lines(&INSTALL[..5]), ..manners() }).await;
    let before = things(&cloud);
    let mut command = tokio::process::Command::from(work.command(&BUILD));
    command.env("OS_CLIENT_CONFIG_FILE", work.path("clouds.yaml")).env_remove("OS_CLOUD");
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let is_up = async {
        while !things(&cloud).iter().any(|it| it.0 == "server") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), is_up).await.unwrap();
    child.kill().await.unwrap();
    assert_ne!(things(&cloud), before);

    // In another cloud all of it would seem to be gone.
    let other = FakeCloud::start(manners()).await.unwrap();
    let clouds = other.clouds_yaml().replace("clouds:\n", "").replace("fake:", "other:");
    fs_err::write(work.path("clouds.yaml"), cloud.clouds_yaml() + &clouds).unwrap();
    let left = things(&cloud);
    let output = imgbuild(&work, &["cleanup", "--cloud", "other"]).await;
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("it is in the cloud `fake`"), "{said}");
    assert_eq!(things(&cloud), left);

    let output = imgbuild(&work, &["cleanup"]).await;
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}{}", text(&output.stdout));
    assert_eq!(things(&cloud), before, "{said}");
}

#[tokio::test]
async fn older_images_go_when_the_new_one_is_proved_and_not_before() {
    let (cloud, work) = cloud(manners()).await;
    let keep = "[platform.openstack]\n[target.glance]\nname = \"quick\"\nkeep = 1\n";
    let spec = fs_err::read_to_string(work.path("quick.toml")).unwrap();
    fs_err::write(work.path("quick.toml"), format!("{spec}\n{keep}")).unwrap();
    let ids = |cloud: &FakeCloud| -> Vec<String> {
        cloud.things().into_iter().filter(|it| it.name == "quick").map(|it| it.id).collect()
    };
    let build = [&BUILD[..], &["--force"]].concat();

    let first = imgbuild(&work, &build).await;
    assert!(first.status.success(), "{}", text(&first.stderr));
    // One that cannot be deleted costs neither the new one nor the build.
    let older = format!("DELETE /image/v2/images/{}", text(&first.stdout).trim());
    cloud.fail(When::Matching(older, usize::MAX), Fault::Conflict);
    fs_err::write(work.path("quick.toml"), format!("{spec}\n{keep}protected = true\n")).unwrap();
    let second = imgbuild(&work, &build).await;
    let said = text(&second.stderr);
    assert!(second.status.success() && said.contains("older images are left"), "{said}");
    assert_eq!(ids(&cloud).len(), 2, "{said}");

    cloud.heal();
    let third = imgbuild(&work, &build).await;
    let said = text(&third.stderr);
    // What is protected is hidden, what is not is gone.
    assert!(third.status.success() && said.contains("is protected: hidden"), "{said}");
    assert_eq!(ids(&cloud), [text(&second.stdout).trim(), text(&third.stdout).trim()], "{said}");
}

#[tokio::test]
async fn an_answer_file_that_is_too_long_for_nova_goes_into_the_initrd() {
    let (cloud, work) = cloud(manners()).await;
    let long = format!("# {}\n", "long ".repeat(12_000));
    let spec = fs_err::read_to_string(work.path("quick.toml")).unwrap();
    let spec = spec.replace("#imgbuild-quick\n", &format!("#imgbuild-quick\n{long}"));
    fs_err::write(work.path("quick.toml"), &spec).unwrap();
    let output = imgbuild(&work, &BUILD).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("user-data") && said.contains("initrd"), "{said}");
    assert!(!cloud.requests().iter().any(|it| it.starts_with("POST /compute")), "{said}");

    let spec = spec.replace("idle = \"15s\"", "delivery = \"initrd\"\nidle = \"3s\"");
    fs_err::write(work.path("quick.toml"), &spec).unwrap();
    // The pretended guest cannot tell an installer without user-data from a system.
    let output = imgbuild(&work, &BUILD).await;
    let said = text(&output.stderr);
    assert!(said.contains("install ..."), "{said}");
}

/// An ISO with the quick installer in it, where there is a program to make one.
fn iso(work: &Work) -> bool {
    let target = option_env!("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let made = std::process::Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-V", "QUICK", "-o"])
        .arg(work.path("quick.iso"))
        .arg(target.join("quick-installer"))
        .output();
    made.is_ok_and(|it| it.status.success())
}

#[tokio::test]
async fn an_iso_is_brought_once_and_put_into_the_drive_of_each_server() {
    let (cloud, work) = cloud(manners()).await;
    if !iso(&work) {
        return;
    }
    let spec = fs_err::read_to_string(work.path("quick.toml")).unwrap();
    let begin = spec.find("[source.kernel]").unwrap();
    let end = spec.find("[answer]").unwrap();
    let source =
        "[source.iso]\nlocation = \"quick.iso\"\nkernel = \"linux\"\ninitrd = \"initrd.gz\"\n";
    let spec = format!("{}{source}{}", &spec[..begin], &spec[end..]);
    fs_err::write(work.path("quick.toml"), &spec).unwrap();
    let before = things(&cloud);
    let added = |cloud: &FakeCloud| {
        let mut things = things(cloud);
        things.retain(|it| !before.contains(it));
        things
    };

    let first = imgbuild(&work, &BUILD).await;
    assert!(first.status.success(), "{}", text(&first.stderr));
    let kept = ("image", "imgbuild-medium-quick.iso".to_owned());
    assert_eq!(added(&cloud), [kept.clone(), ("image", "quick".to_owned())]);
    let second = imgbuild(&work, &[&BUILD[..], &["--target", "volume"]].concat()).await;
    let said = text(&second.stderr);
    assert!(second.status.success() && said.contains("the ISO is in the cloud already"), "{said}");
    let kinds: Vec<_> = added(&cloud).into_iter().map(|it| it.0).collect();
    assert_eq!(kinds, ["image", "image", "snapshot", "volume"], "{:?}", added(&cloud));
    // Installer and result, twice; only the installers read from it.
    let drives: Vec<bool> =
        cloud.devices().iter().map(|it| it.iter().any(|it| it["device_type"] == "cdrom")).collect();
    assert_eq!(drives, [true, false, true, false]);
}

/// The quick installer's spec, with its source and its `[install]` changed.
fn respec(work: &Work, source: Option<&str>, install: &str) {
    let spec = fs_err::read_to_string(work.path("quick.toml")).unwrap();
    let (begin, end) = (spec.find("[source.kernel]").unwrap(), spec.find("[answer]").unwrap());
    let source = source.unwrap_or(&spec[begin..end]);
    let spec = format!("{}{source}{}", &spec[..begin], &spec[end..]);
    let spec = spec.replace("[install]\n", &format!("[install]\n{install}"));
    fs_err::write(work.path("quick.toml"), &spec).unwrap();
}

#[tokio::test]
async fn a_medium_that_the_cloud_has_is_put_into_the_drive() {
    let (cloud, work) = cloud(manners()).await;
    if !iso(&work) {
        return;
    }
    let source =
        "[source.iso]\nlocation = \"quick.iso\"\nkernel = \"linux\"\ninitrd = \"initrd.gz\"\n";
    respec(&work, Some(source), "");
    let plan = ["plan", "quick.toml", "--cloud", "fake", "--source.image", "dvd"];
    let output = imgbuild(&work, &plan).await;
    let said = text(&output.stdout);
    assert!(said.contains("CD-ROM   image dvd"), "{said}");
    assert!(said.contains("MISSING  source image"), "{said}");
    let output = imgbuild(&work, &[&BUILD[..], &["--source.image", "dvd"]].concat()).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));

    // The medium of an earlier build is as good as any.
    assert!(imgbuild(&work, &BUILD).await.status.success());
    let medium = "imgbuild-medium-quick.iso";
    let images = |cloud: &FakeCloud| things(cloud).iter().filter(|it| it.0 == "image").count();
    let n_images = images(&cloud);
    let more = ["--source.image", medium, "--force"];
    let output = imgbuild(&work, &[&BUILD[..], &more].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(images(&cloud), n_images + 1, "the product alone");

    let output = imgbuild(&work, &[&BUILD[..], &["--target", "volume"]].concat()).await;
    let snapshot = text(&output.stdout).trim().to_owned();
    let more = ["--source.volume-snapshot", &snapshot, "--force"];
    let output = imgbuild(&work, &[&BUILD[..], &more].concat()).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let drives: Vec<bool> =
        cloud.devices().iter().map(|it| it.iter().any(|it| it["device_type"] == "cdrom")).collect();
    assert_eq!(drives, [true, false].repeat(4));

    let output = imgbuild(&work, &["build", "quick.toml", "--source.image", medium]).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--platform openstack"), "{said}");
}

#[tokio::test]
async fn a_plan_names_everything_and_what_the_cloud_lacks() {
    let flavors = vec![("small".to_owned(), 64, 1)];
    let (cloud, work) = cloud(Manners { flavors, ..manners() }).await;
    let plan = ["plan", "quick.toml", "--cloud", "fake", "--target", "volume"];
    let output = imgbuild(&work, &plan).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("MISSING  flavor"), "{said}");
    let wrote = |it: &&String| !it.starts_with("GET") && !it.contains("/auth/tokens");
    assert_eq!(cloud.requests().iter().find(wrote), None);

    let n_requests = cloud.requests().len();
    let output = imgbuild(&work, &[&plan[..], &["--offline"]].concat()).await;
    assert_eq!(cloud.requests().len(), n_requests, "--offline asks nobody");
    let said = text(&output.stdout);
    let stages = said.split("\nto fetch:").next().unwrap().trim_end();
    let stages: Vec<_> =
        stages.lines().filter(|it| !it.contains("boots  ") && !it.contains("  from ")).collect();
    insta::assert_snapshot!("openstack_plan", stages.join("\n"));
}

#[test]
fn what_is_not_done_in_a_cloud_is_said_before_anything_is_started() {
    let cases = [
        (
            "[[stages]]\nname = \"change\"\nafter = \"install\"\nssh = { run = [\"true\"] }\n",
            "`change`",
        ),
        (
            "[[stages]]\nname = \"change\"\nafter = \"verify\"\nssh = { run = [\"true\"], keep = true }\n",
            "`change`",
        ),
        (
            "boot = \"direct\"\n[[stages]]\nname = \"change\"\nafter = \"install\"\nssh = { run = [\"true\"], keep = true }\n",
            "install again",
        ),
        ("[platform.openstack]\nfloating-ip = \"public\"\n", "floating-ip"),
    ];
    for (more, expected) in cases {
        let work = Work::new("ok", more);
        let output = work.command(&BUILD).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(expected) && said.contains("help:"), "{said}");
        assert!(!work.path("work/runs").exists(), "{said}");
    }
}
