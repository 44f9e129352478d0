//! The fake cloud and a real one are spoken to alike, and nothing is left.
//!
//! With `IMGBUILD_TEST_CLOUD=NAME` the conversation is held with that cloud of
//! `clouds.yaml`, too; `tests/openstack/up` brings up one called `oslab`.
//! `IMGBUILD_TEST_DISK` is a qcow2 image that boots, speaks and powers off.

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
        Cloud, Patience, config,
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
    let disk = Utf8PathBuf::from(std::env::var("IMGBUILD_TEST_DISK").unwrap());
    let world = World {
        prefix: format!("imgbuild-test-{}", std::process::id()),
        disk,
        format: "qcow2",
        patience: Duration::from_mins(10),
    };
    let cloud = Cloud::new(
        config::load(Some(&name)).unwrap(),
        Patience::default(),
        CancellationToken::new(),
    )
    .unwrap();
    let mut claims = Claims::default();
    let begin = std::time::Instant::now();
    let held = hold(&cloud, &world, &mut claims).await;
    let took = begin.elapsed();
    let leftovers = unwind(&cloud, &claims, world.patience).await;
    assert!(leftovers.is_empty(), "{leftovers:?}");
    held.unwrap();
    println!("held in {took:?}, {} requests in all", cloud.session().n_requests());
}
