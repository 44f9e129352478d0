//! `doctor`: what this machine can do, and what is missing.

use std::io::Write as _;

use super::{
    Surroundings,
    arguments::{Doctor, ReportFormat},
    failure::{Failure, Plain, Status},
    print_json,
};
use crate::{
    media,
    model::Arch,
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
    let host = Host { cache: cx.home.cache.clone(), guard: cx.guard.clone() };
    let mut checks = qemu::survey(&host, arch, &cx.home.work).await;
    checks.extend(media::survey(arch, cx.home.cache.as_std_path()));
    if arguments.format == ReportFormat::Json {
        print_json(&checks);
    } else {
        print(&checks);
    }
    if checks.iter().any(|it| it.grade == Grade::Missing) {
        return Err(Failure::silent(Status::Failed));
    }
    Ok(())
}

fn print(checks: &[Check]) {
    let mut out = std::io::stdout().lock();
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
