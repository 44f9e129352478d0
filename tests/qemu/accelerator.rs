//! An accelerator is believed when a kernel has booted with it, and remembered.

use std::time::{Duration, Instant};

use crate::guest::{Folder, alone, guard, guest_folder};
use imgbuild::{
    model::Arch,
    platform::qemu::accelerator::{Question, choose},
};

#[tokio::test]
async fn a_choice_is_made_in_time_and_remembered() {
    let _alone = alone().await;
    let folder = Folder::new();
    let kernel = guest_folder().join("linux");
    let guard = guard();
    let question = Question {
        program: "qemu-system-x86_64",
        version: (10, 0),
        arch: Arch::X86_64,
        x86_64_level: 1,
        kernel: Some(&kernel),
        cache: folder.path(),
        guard: &guard,
    };
    let began = Instant::now();
    let first = choose(&question, None).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{first:?} after {:?}", began.elapsed());
    assert!(["kvm", "tcg"].contains(&first.name.as_str()), "{first:?}");
    // Nothing to try with: it can only be remembered.
    let again = choose(&Question { kernel: None, ..question }, None).await;
    if std::path::Path::new("/dev/kvm").exists() {
        assert_eq!(again, first);
    }
    assert_eq!(again.name, first.name);
}

#[tokio::test]
async fn what_the_spec_names_is_taken() {
    let folder = Folder::new();
    let guard = guard();
    let question = |arch, version| Question {
        program: "qemu-system-x86_64",
        version,
        arch,
        x86_64_level: 1,
        kernel: None,
        cache: folder.path(),
        guard: &guard,
    };
    for (wanted, arch, version, name, cpu) in [
        (Some("kvm"), Arch::X86_64, (10, 0), "kvm", "host"),
        (Some("tcg"), Arch::X86_64, (10, 0), "tcg", "max"),
        (Some("tcg"), Arch::X86_64, (7, 2), "tcg", "max,cx16=off"),
        (Some("auto"), Arch::Aarch64, (7, 2), "tcg", "max"),
    ] {
        let choice = choose(&question(arch, version), wanted).await;
        assert_eq!((choice.name.as_str(), choice.cpu.as_str()), (name, cpu), "{choice:?}");
    }
}
