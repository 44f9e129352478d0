//! A real QEMU: what its guest sees, and how it ends.

use crate::guest::{Folder, alone, bare, guard, run, run_all, scripted, web_server};
use std::time::{Duration, Instant};

use imgbuild::{
    model::{Arch, DiskFormat},
    platform::Grade,
    platform::qemu::{
        Host,
        arguments::{Disk, MachineSpec, Uefi},
        firmware,
        machine::{End, Machine, MachineError},
        metadata::Metadata,
        qmp::QmpError,
        survey,
        traffic::Seen,
    },
};
use serde_json::json;
use tokio::task::LocalSet;

fn metadata() -> Metadata {
    Metadata {
        user_data: Some("the answers\n".into()),
        hostname: "quick".into(),
        instance_id: "i-1234".into(),
        public_keys: vec!["ssh-ed25519 AAAA me".into()],
    }
}

#[tokio::test]
async fn a_guest_finds_its_metadata_and_the_rest_of_the_network() {
    let _alone = alone().await;
    let folder = Folder::new();
    let port = web_server();
    let script = format!(
        "m=http://169.254.169.254
         wget -q -O - $m/latest/user-data
         wget -q -O - $m/openstack/latest/meta_data.json; echo
         # More than there are sockets, one after the other and at once.
         n=0; while [ $n -lt 40 ]; do
             wget -q -O /dev/null $m/latest/meta-data/instance-id || echo turned away $n
             n=$((n + 1))
         done; echo one by one: $n
         n=0; while [ $n -lt 40 ]; do
             wget -q -O /tmp/at-once-$n $m/2009-04-04/meta-data/instance-id &
             n=$((n + 1))
         done; wait
         echo at once: $(cat /tmp/at-once-* | grep -o i-1234 | wc -l)
         # As a guest does that takes the address to be on its link.
         route add -host 169.254.169.254 dev eth0
         wget -q -O - $m/latest/meta-data/hostname; echo
         wget -q -O - http://10.0.2.2:{port}/zeros/3000000 | md5sum
         wget -q -O - http://10.0.2.2:{port}/nothing
         wget -q -O - http://10.0.2.2:{port}/short
         wget -q -O - http://10.0.2.2:1/closed
         nslookup no-such-name.invalid
         ip -o link | grep -c eth
         "
    );
    LocalSet::new()
        .run_until(async {
            let spec = scripted(folder.path(), &script);
            let run = run_all(&spec, metadata(), folder.path()).await;
            assert_eq!(run.end, End::PoweredOff);
            let console = run.console.replace('\r', "");
            for line in [
                "guest: eth0 10.0.2.15 via 10.0.2.2, dns 10.0.2.3",
                "the answers",
                "one by one: 40",
                "at once: 40",
                "quick",
                // md5sum of three million zeros.
                "c9fc2d3dd83ab67a129ac10b09c9ebbb  -",
                "guest: done",
            ] {
                assert!(console.lines().any(|it| it == line), "no `{line}` in:\n{console}");
            }
            assert!(!console.contains("turned away"), "{console}");
            let server = format!("http://10.0.2.2:{port}");
            let request = |path: &str, status| Seen::Request {
                method: "GET".into(),
                url: format!("{server}{path}"),
                status,
            };
            for seen in [
                Seen::Metadata { path: "/latest/user-data".into() },
                request("/zeros/3000000", 200),
                request("/nothing", 404),
                request("/short", 200),
                Seen::CutShort { url: format!("{server}/short"), missing: Some(995) },
                Seen::Refused { server: "10.0.2.2:1".into() },
            ] {
                assert!(run.seen.contains(&seen), "not seen: {seen:?}\n{:#?}", run.seen);
            }
            let is_the_name = |it: &Seen| match it {
                // Without a network the host's own resolver has no answer.
                Seen::NameNotFound { name } | Seen::NameNotAnswered { name } => {
                    name == "no-such-name.invalid"
                }
                _ => false,
            };
            assert!(run.seen.iter().any(is_the_name), "{:#?}", run.seen);
        })
        .await;
}

#[tokio::test]
async fn the_ways_a_guest_can_end_are_told_apart() {
    let _alone = alone().await;
    for (how, expected) in [
        ("reboot -f", End::Rebooted),
        ("poweroff -f", End::PoweredOff),
        ("echo c >/proc/sysrq-trigger", End::Panicked),
    ] {
        let folder = Folder::new();
        LocalSet::new()
            .run_until(async {
                let spec = scripted(folder.path(), how);
                let mut machine =
                    Machine::start(&spec, metadata(), folder.path(), &guard()).await.unwrap();
                let run = run(&mut machine).await;
                assert_eq!(run.end, expected, "{how}\n{}", run.console);
                // It is still there to be asked.
                let counters = machine.counters().await;
                assert!(counters.processor.as_millis() > 100, "{counters:?}");
                assert!(counters.network > 100, "{counters:?}");
                let picture = folder.path().join("screen.png");
                machine.screenshot(&picture).await.unwrap();
                assert!(fs_err::read(&picture).unwrap().starts_with(b"\x89PNG"));
                let id = machine.id().unwrap();
                machine.stop().await;
                assert!(!is_running(id));
            })
            .await;
    }
}

/// Writes to the virtio-serial port of a name, as Anaconda's rsyslog does.
const TO_THE_PORT: &str = r#"
for port in /sys/class/virtio-ports/*; do
    if [ "$(cat "$port/name")" = org.example.log.0 ]; then
        echo 'the last words of a log' >"/dev/${port##*/}"
    fi
done
poweroff -f
"#;

#[tokio::test]
async fn a_guest_may_write_a_log_to_a_port() {
    let _alone = alone().await;
    let folder = Folder::new();
    LocalSet::new()
        .run_until(async {
            let mut spec = scripted(folder.path(), TO_THE_PORT);
            spec.log_port = Some("org.example.log.0".to_owned());
            let run = run_all(&spec, metadata(), folder.path()).await;
            assert_eq!(run.end, End::PoweredOff, "{run:?}");
            assert_eq!(run.log, "the last words of a log\n", "{}", run.console);
        })
        .await;
}

#[tokio::test]
async fn a_machine_without_room_for_its_disk_does_not_wait_for_ever() {
    let _alone = alone().await;
    let folder = Folder::new();
    let disk = folder.path().join("disk.img");
    fs_err::write(&disk, vec![0; 1 << 20]).unwrap();
    let full = json!({
        "node-name": "full", "driver": "blkdebug",
        "image": {"driver": "file", "filename": disk},
        // ENOSPC
        "inject-error": [{"event": "pwritev", "errno": 28}],
    });
    LocalSet::new()
        .run_until(async {
            let script = "dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync";
            let mut spec = scripted(folder.path(), script);
            let more = ["-blockdev", &full.to_string(), "-device", "virtio-blk-pci,drive=full"];
            spec.more = more.map(str::to_owned).to_vec();
            let run = run_all(&spec, metadata(), folder.path()).await;
            let End::Died { said } = run.end else { panic!("{run:?}") };
            assert!(said.contains("No space left on device"), "{said}");
        })
        .await;
}

#[tokio::test]
async fn what_a_guest_waits_for_is_known() {
    let _alone = alone().await;
    let folder = Folder::new();
    let url = format!("http://10.0.2.2:{}/slow", web_server());
    LocalSet::new()
        .run_until(async {
            let spec = scripted(folder.path(), &format!("wget -q -O - {url}"));
            let mut machine =
                Machine::start(&spec, metadata(), folder.path(), &guard()).await.unwrap();
            let began = Instant::now();
            while machine.unanswered().iter().all(|it| it.what != url) {
                assert!(began.elapsed().as_secs() < 120, "{:?}", machine.unanswered());
                _ = tokio::time::timeout(Duration::from_millis(100), machine.next()).await;
            }
            machine.stop().await;
        })
        .await;
}

#[tokio::test]
async fn a_survey_finds_what_these_tests_use() {
    let folder = Folder::new();
    let host = Host { cache: folder.path().to_owned(), guard: guard() };
    let checks = survey(&host, Arch::X86_64, &folder.path().join("not/there/yet")).await;
    for name in ["qemu-system-x86_64", "qemu-img", "UEFI firmware", "accelerator", "disk space"] {
        let check = checks.iter().find(|it| it.name == name);
        let check = check.unwrap_or_else(|| panic!("no {name} in {checks:#?}"));
        assert_ne!(check.grade, Grade::Missing, "{check:?}");
        assert_eq!(check.remedy.is_some(), check.grade == Grade::Warning, "{check:?}");
    }
}

#[tokio::test]
async fn what_qemu_has_against_a_machine_is_said() {
    let _alone = alone().await;
    let folder = Folder::new();
    LocalSet::new()
        .run_until(async {
            let mut spec = bare();
            spec.cpu = "no-such-cpu".into();
            let error =
                Machine::start(&spec, metadata(), folder.path(), &guard()).await.err().unwrap();
            assert!(matches!(error, MachineError::Refused { .. }), "{error:?}");
            assert!(error.to_string().contains("no-such-cpu"), "{error}");

            spec.program = "no-such-program".into();
            let error =
                Machine::start(&spec, metadata(), folder.path(), &guard()).await.err().unwrap();
            assert!(matches!(error, MachineError::NotStarted { .. }), "{error:?}");
        })
        .await;
}

#[tokio::test]
async fn a_qemu_that_is_killed_is_noticed() {
    let _alone = alone().await;
    let folder = Folder::new();
    LocalSet::new()
        .run_until(async {
            let mut machine =
                Machine::start(&bare(), metadata(), folder.path(), &guard()).await.unwrap();
            kill(machine.id().unwrap());
            let run = run(&mut machine).await;
            let End::Died { said } = run.end else { panic!("{run:?}") };
            assert!(said.contains("signal: 9"), "{said}");
            machine.stop().await;
        })
        .await;
}

/// The other half of the next test: a machine that is never stopped.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the next test reads it")]
#[ignore = "`make test` runs it through `a_machine_dies_with_imgbuild`, which calls it by name"]
async fn a_machine_for_the_next_test() {
    let folder = Folder::new();
    LocalSet::new()
        .run_until(async {
            let mut machine =
                Machine::start(&bare(), metadata(), folder.path(), &guard()).await.unwrap();
            println!("machine {}", machine.id().unwrap());
            run(&mut machine).await;
        })
        .await;
}

#[tokio::test]
async fn a_machine_dies_with_imgbuild() {
    use std::io::BufRead as _;
    let _alone = alone().await;
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "machine::a_machine_for_the_next_test", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(parent.stdout.take().unwrap()).lines();
    let machine: u32 = lines
        .map_while(Result::ok)
        .find_map(|it| it.split_once("machine ")?.1.trim().parse().ok())
        .unwrap();
    assert!(is_running(machine));
    parent.kill().unwrap();
    parent.wait().unwrap();
    let began = Instant::now();
    while is_running(machine) {
        assert!(began.elapsed().as_secs() < 2, "QEMU is still there");
        std::thread::yield_now();
    }
}

fn kill(id: u32) {
    let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
}

/// Whether the process runs; a zombie waits for somebody else.
fn is_running(id: u32) -> bool {
    fs_err::read_to_string(format!("/proc/{id}/stat"))
        .is_ok_and(|it| !it.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

#[tokio::test]
async fn every_kind_of_machine_is_one_that_qemu_makes() {
    let _alone = alone().await;
    let folder = Folder::new();
    let iso = folder.path().join("a.iso");
    fs_err::write(&iso, vec![0; 1 << 20]).unwrap();
    let disk = |n: usize, bus: &str| {
        let path = folder.path().join(format!("{bus}, {n}.img"));
        fs_err::write(&path, vec![0; 1 << 20]).unwrap();
        let (bus, read_only) = (bus.to_owned(), bus == "virtio" && n == 1);
        Disk { path, format: DiskFormat::Raw, bus, read_only, boots: n == 0 }
    };
    let arm = |it: &mut MachineSpec| {
        it.arch = Arch::Aarch64;
        it.program = "qemu-system-aarch64".into();
        it.machine = "virt".into();
    };
    let host = Host { cache: folder.path().to_owned(), guard: guard() };
    let no_arm_emulator = host.version("qemu-system-aarch64").await.is_none();
    LocalSet::new()
        .run_until(async {
            for (arch, machine, bus, nic, has_uefi) in [
                (Arch::X86_64, "q35", "virtio", "virtio-net-pci", false),
                (Arch::X86_64, "q35", "virtio", "virtio-net-pci", true),
                (Arch::X86_64, "q35", "sata", "e1000", false),
                (Arch::X86_64, "q35", "ide", "e1000e", false),
                (Arch::X86_64, "q35", "scsi", "virtio-net-pci", false),
                (Arch::X86_64, "pc", "ide", "e1000", false),
                (Arch::X86_64, "pc", "sata", "rtl8139", false),
                (Arch::X86_64, "pc", "virtio", "virtio-net-pci", true),
                (Arch::Aarch64, "virt", "virtio", "virtio-net-pci", true),
                (Arch::Aarch64, "virt", "scsi", "virtio-net-pci", true),
            ] {
                // `make setup` installs what aarch64 needs only when it is asked to.
                if arch == Arch::Aarch64 && (no_arm_emulator || firmware::find(arch).is_err()) {
                    continue;
                }
                let mut spec = bare();
                if arch == Arch::Aarch64 {
                    arm(&mut spec);
                }
                spec.machine = machine.into();
                spec.nic = nic.into();
                spec.disks = vec![disk(0, bus), disk(1, bus)];
                spec.cdrom = Some(iso.clone());
                if has_uefi {
                    let found = firmware::find(arch).unwrap();
                    let variables = folder.path().join("variables.fd");
                    fs_err::copy(&found.variables, &variables).unwrap();
                    spec.uefi = Some(Uefi { code: found.code, variables });
                }
                let machine = Machine::start(&spec, metadata(), folder.path(), &guard()).await;
                let machine = machine.unwrap_or_else(|it| panic!("{spec:#?}\n{it}"));
                assert!(machine.unanswered().is_empty());
                let missing = folder.path().join("no such folder/screen.png");
                let error = machine.screenshot(&missing).await.unwrap_err();
                assert!(matches!(error, MachineError::Screenshot(QmpError::Refused { .. })));
                machine.stop().await;
            }
        })
        .await;
}
