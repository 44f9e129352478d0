//! `doctor`: what this machine or a cloud can do, and what is missing.

use std::time::Duration;

use super::{
    Surroundings,
    arguments::{Doctor, ReportFormat},
    failure::{Failure, Plain, Status},
    print_json,
};
use crate::{
    CancellationToken, media,
    model::Arch,
    openstack::{
        self, Cloud, Patience,
        preflight::{Wanted, survey},
        wait::Backoff,
    },
    platform::{
        Check, Grade,
        qemu::{self, Host},
    },
};

/// `imgbuild doctor`
pub(super) async fn doctor(arguments: &Doctor, cx: &Surroundings) -> Result<(), Failure> {
    let arch = match arguments.arch.as_str() {
        "x86_64" | "amd64" => Arch::X86_64,
        "aarch64" | "arm64" => Arch::Aarch64,
        other => {
            return Err(Failure::usage(Plain::new(
                format!("`{other}` is not an architecture imgbuild knows"),
                "use x86_64 or aarch64",
            )));
        }
    };
    let checks = match &arguments.cloud {
        Some(cloud) => {
            // The boot disk is made here, wherever it is booted.
            let mut checks = media::survey(arch, cx.home.cache.as_std_path());
            checks.extend(cloud_checks(cloud).await?);
            checks
        }
        None => local_checks(arch, cx).await,
    };
    if arguments.format == ReportFormat::Json {
        print_json(&checks);
    } else {
        print_to(&checks, &mut crate::ui::stdout());
    }
    if checks.iter().any(|it| it.grade == Grade::Missing) {
        return Err(Failure::silent(Status::Failed));
    }
    Ok(())
}

async fn local_checks(arch: Arch, cx: &Surroundings) -> Vec<Check> {
    let host = Host { cache: cx.home.cache.clone(), guard: cx.guard.clone() };
    let mut checks = qemu::survey(&host, arch, &cx.home.work).await;
    checks.extend(media::survey(arch, cx.home.cache.as_std_path()));
    checks
}

/// What a cloud has of what every build needs.
async fn cloud_checks(name: &str) -> Result<Vec<Check>, Failure> {
    let config = openstack::config::load(Some(name)).map_err(|it| Failure::failed(*it))?;
    // Somebody waits for the answer: a service that is away is away.
    let patience = Patience {
        request: Duration::from_secs(20),
        attempts: 2,
        retry: Backoff::new(Duration::from_millis(500), Duration::from_secs(2)),
        ..Patience::default()
    };
    let cloud = Cloud::new(config, patience, CancellationToken::new()).map_err(Failure::failed)?;
    survey(&cloud, &Wanted::default()).await.map_err(Failure::failed)
}

/// Prints findings, a line each, with what to do below it.
pub(super) fn print_to(checks: &[Check], out: &mut dyn std::io::Write) {
    for check in checks {
        let mark = match check.grade {
            Grade::Good => "ok     ",
            Grade::Warning => "warning",
            Grade::Missing => "MISSING",
        };
        _ = writeln!(out, "{mark}  {:<24} {}", check.name, check.found);
        if let Some(remedy) = &check.remedy {
            _ = writeln!(out, "         {:<24} -> {remedy}", "");
        }
    }
}
