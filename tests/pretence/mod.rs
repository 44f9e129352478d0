//! A cloud of pretence in which the quick installer seems to run, and imgbuild
//! with a `clouds.yaml` that leads there.

#![expect(unreachable_pub, reason = "shared by several test programs")]

use std::time::Duration;

use imgbuild::openstack::fake::{FakeCloud, Manners};

use crate::quick::Work;

/// What the quick installer says when all goes well.
pub const INSTALL: [&str; 10] = [
    "[    0.000000] Linux version 6.1.0",
    "imgbuild-quick: phase network",
    "imgbuild-quick: phase components",
    "imgbuild-quick: phase partitioning",
    "imgbuild-quick: phase base-system",
    "imgbuild-quick: phase packages",
    "imgbuild-quick: packages 10/10",
    "imgbuild-quick: phase boot-loader",
    "imgbuild-quick: phase end",
    "IMGBUILD-DONE",
];
/// What the system says that it installs.
pub const SYSTEM: [&str; 2] = ["Quick Linux on ttyS0", "quickhost login: "];

/// A cloud whose guests install for so long.
pub fn manners(guest: Duration) -> Manners {
    Manners {
        guest: Some(guest),
        console: INSTALL.map(str::to_owned).into(),
        booted: SYSTEM.map(str::to_owned).into(),
        // As the real Nova with libvirt does.
        console_when_off: true,
        ..Manners::default()
    }
}

/// A cloud, and a folder with a spec and a `clouds.yaml` that leads there.
pub async fn cloud(manners: Manners) -> (FakeCloud, Work) {
    let cloud = FakeCloud::start(manners).await.unwrap();
    let work = Work::new("ok", "");
    fs_err::write(work.path("clouds.yaml"), cloud.clouds_yaml()).unwrap();
    (cloud, work)
}

/// imgbuild, to be run while the cloud serves.
pub fn command(work: &Work, arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::from(work.command(arguments));
    command
        .env("OS_CLIENT_CONFIG_FILE", work.path("clouds.yaml"))
        .env_remove("OS_CLOUD")
        .kill_on_drop(true);
    command
}
