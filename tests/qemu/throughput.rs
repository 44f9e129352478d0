//! How fast the wire is, beside QEMU's own user network.
//!
//! `make bench-wire`

use crate::guest::{Folder, alone, run_all, scripted, web_server};
use imgbuild::platform::qemu::{arguments::MachineSpec, metadata::Metadata};
use tokio::task::LocalSet;

const MEGABYTES: f64 = 100.0;

#[tokio::test]
#[ignore = "a measurement, not a proof: `make bench-wire`"]
#[expect(clippy::print_stdout, reason = "a measurement, for people")]
async fn a_download_through_the_wire_and_through_plain_user_networking() {
    let _alone = alone().await;
    let folder = Folder::new();
    let port = web_server();
    let script = format!(
        "wget -q -O /dev/null http://10.0.2.2:{port}/zeros/1000000
         a=$(cut -d' ' -f1 /proc/uptime)
         wget -q -O /dev/null http://10.0.2.2:{port}/zeros/100000000
         b=$(cut -d' ' -f1 /proc/uptime)
         echo seconds $(echo \"$b $a - p\" | dc)"
    );
    let spec = scripted(folder.path(), &script);
    LocalSet::new()
        .run_until(async {
            for round in 0..3 {
                let before = processor_time();
                let run = run_all(&spec, Metadata::default(), folder.path()).await;
                let between = processor_time();
                let wire = rate(&run.console);
                let plain = rate(&plain(&spec));
                let (with, without) = (between - before, processor_time() - between);
                println!(
                    "round {round}: wire {wire:.1} MB/s, plain {plain:.1} MB/s; processor time \
                     of this program {with} ms and {without} ms (the web server alone)"
                );
            }
        })
        .await;
}

/// Of this program, in milliseconds, see proc(5).
fn processor_time() -> u64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    fields.map(|it| it.parse::<u64>().unwrap() * 10).sum()
}

fn rate(console: &str) -> f64 {
    let seconds = console.lines().find_map(|it| it.trim().strip_prefix("seconds "));
    MEGABYTES / seconds.unwrap().trim().parse::<f64>().unwrap()
}

/// The console of the same guest under QEMU alone.
fn plain(spec: &MachineSpec) -> String {
    let direct = spec.direct.as_ref().unwrap();
    let output = std::process::Command::new(&spec.program)
        .args(["-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"])
        .args(["-smp", "1", "-m", "256M", "-nodefaults", "-display", "none", "-serial", "stdio"])
        .args(["-nic", "user,model=virtio-net-pci", "-device", "virtio-rng-pci", "-no-reboot"])
        .args(["-kernel", direct.kernel.as_str(), "-append", &direct.command_line])
        .args(["-initrd", direct.initrd.as_ref().unwrap().as_str()])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
