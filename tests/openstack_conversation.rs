//! The fake cloud and a real one are spoken to alike, and nothing is left.
//!
//! With `IMGBUILD_TEST_CLOUD=oslab` the conversation is held with the cloud that
//! `tests/openstack/up` brings up, too (`oslab-app`: by an application credential);
//! with another name, with that cloud of
//! the user's `clouds.yaml`, which must have the same networks and flavors.
//! `IMGBUILD_TEST_DISK` is a qcow2 image that boots, speaks and powers off; `up`
//! makes one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "how long a real cloud took is worth knowing")]

#[path = "openstack/conversation.rs"]
mod conversation;

use std::time::Duration;

use camino::Utf8PathBuf;
use conversation::{Claims, World, hold, unwind};
use imgbuild::{
    CancellationToken,
    openstack::{
        Cloud, Patience,
        config::{self, Text, Texts},
        fake::{FakeCloud, Manners},
    },
};

#[tokio::test]
async fn the_conversation_is_held_with_the_fake_cloud() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Utf8PathBuf::from_path_buf(dir.path().join("disk")).unwrap();
    fs_err::write(&disk, vec![7; 3 << 20]).unwrap();
    let fake = FakeCloud::start(Manners { page: 2, ..Manners::default() }).await.unwrap();
    let world = World {
        prefix: "imgbuild-run-1".into(),
        disk,
        format: "qcow2",
        patience: Duration::from_secs(20),
    };
    let quick = imgbuild::openstack::wait::Backoff::new(
        Duration::from_millis(5),
        Duration::from_millis(20),
    );
    let patience = Patience { retry: quick, poll: quick, ..Patience::default() };
    let cloud = Cloud::new(fake.config(), patience, CancellationToken::new()).unwrap();
    let mut claims = Claims::default();
    hold(&cloud, &world, &mut claims).await.unwrap();
    let leftovers = unwind(&cloud, &claims, world.patience).await;
    assert!(leftovers.is_empty(), "{leftovers:?}");
    assert_eq!(fake.things(), []);
}

#[tokio::test]
async fn the_conversation_is_held_with_a_real_cloud() {
    let Ok(name) = std::env::var("IMGBUILD_TEST_CLOUD") else { return };
    // As in `tests/openstack/lib.sh`.
    let state = std::env::var("OSLAB_STATE").unwrap_or_else(|_| "/var/tmp/oslab".into());
    let disk = std::env::var("IMGBUILD_TEST_DISK")
        .unwrap_or_else(|_| format!("{state}/disk/disk.qcow2"))
        .into();
    let config = if name.starts_with("oslab") {
        let path = format!("{state}/clouds.yaml");
        let text = fs_err::read_to_string(&path).unwrap();
        let texts = Texts { clouds: Some(Text { path, text }), ..Texts::default() };
        config::resolve(&texts, Some(&name)).unwrap()
    } else {
        config::load(Some(&name)).unwrap()
    };
    let world = World {
        prefix: format!("imgbuild-test-{}", std::process::id()),
        disk,
        format: "qcow2",
        patience: Duration::from_mins(10),
    };
    let cloud = Cloud::new(config, Patience::default(), CancellationToken::new()).unwrap();
    let mut claims = Claims::default();
    let begin = std::time::Instant::now();
    let held = hold(&cloud, &world, &mut claims).await;
    let took = begin.elapsed();
    let leftovers = unwind(&cloud, &claims, world.patience).await;
    assert!(leftovers.is_empty(), "{leftovers:?}");
    held.unwrap();
    println!("held in {took:?}, {} requests in all", cloud.session().n_requests());
}
