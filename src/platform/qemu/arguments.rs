//! A machine as QEMU's command line. Pure.

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    model::{Arch, DiskFormat},
    units::Size,
};

/// File descriptors that a QEMU process inherits, by what they are for.
pub mod descriptors {
    /// The serial console.
    pub const CONSOLE: i32 = 20;
    /// The QEMU Machine Protocol.
    pub const QMP: i32 = 21;
    /// The guest's network card.
    pub const GUEST_WIRE: i32 = 22;
    /// The user-mode network.
    pub const NETWORK_WIRE: i32 = 23;
    /// What the guest writes to its port for logs.
    pub const LOG: i32 = 24;
}

/// A machine to start.
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// A name, for lists of processes.
    pub name: String,
    /// The QEMU program.
    pub program: String,
    /// The processor architecture.
    pub arch: Arch,
    /// `q35`, `pc`, `virt`.
    pub machine: String,
    /// `kvm`, `tcg`.
    pub accelerator: String,
    /// The processor model.
    pub cpu: String,
    /// Processors.
    pub cpus: u32,
    /// Memory.
    pub memory: Size,
    /// UEFI, where it is not a BIOS.
    pub uefi: Option<Uefi>,
    /// Disks, in the order the guest sees them.
    pub disks: Vec<Disk>,
    /// An ISO image in a CD-ROM drive.
    pub cdrom: Option<Utf8PathBuf>,
    /// A kernel that is started without a boot loader.
    pub direct: Option<DirectKernel>,
    /// The model of the network card.
    pub nic: String,
    /// Ports of this machine's loopback that lead to ports of the guest.
    pub forwards: Vec<(u16, u16)>,
    /// Whether a BIOS writes to the serial console as well as to the screen.
    pub bios_on_console: bool,
    /// The name of a virtio-serial port that the guest may write a log to.
    pub log_port: Option<String>,
    /// More arguments, as they are.
    pub more: Vec<String>,
}

/// UEFI firmware.
#[derive(Clone, Debug)]
pub struct Uefi {
    /// Its code, shared and never written.
    pub code: Utf8PathBuf,
    /// This machine's own copy of its variables.
    pub variables: Utf8PathBuf,
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its file.
    pub path: Utf8PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// `virtio`, `ide`, `sata`, `scsi`.
    pub bus: String,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// Whether the firmware tries to boot from it.
    pub boots: bool,
}

/// A kernel that is started without a boot loader.
#[derive(Clone, Debug)]
pub struct DirectKernel {
    /// The kernel.
    pub kernel: Utf8PathBuf,
    /// The initrd.
    pub initrd: Option<Utf8PathBuf>,
    /// The command line. Every user of this machine can read it.
    pub command_line: String,
}

/// The arguments of QEMU, without the program's name.
pub fn arguments(spec: &MachineSpec) -> Vec<String> {
    let mut line = Line::default();
    line.flag("-nodefaults").flag("-no-user-config");
    line.pair("-name", &format!("imgbuild-{}", spec.name));
    line.pair("-machine", &machine(spec));
    line.pair("-accel", &accelerator(&spec.accelerator));
    line.pair("-cpu", &spec.cpu);
    line.pair("-smp", &spec.cpus.to_string());
    line.pair("-m", &format!("{}M", spec.memory.as_mib()));
    line.pair("-display", "none");
    // A card to take screenshots of.
    let video = if spec.arch == Arch::X86_64 { "VGA" } else { "virtio-gpu-pci" };
    line.pair("-device", video);
    line.pair("-device", "virtio-rng-pci");
    line.pair("-device", "pvpanic-pci");
    if spec.arch == Arch::X86_64 {
        // Linux knows the one on PCI since 5.14, this one since 3.9.
        line.pair("-device", "pvpanic");
    }
    // Whatever the guest does, QEMU stays until it was asked how it is.
    line.pair("-action", "reboot=shutdown,shutdown=pause,panic=pause");
    line.pair("-chardev", &format!("socket,id=console,fd={}", descriptors::CONSOLE));
    line.pair("-serial", "chardev:console");
    line.pair("-chardev", &format!("socket,id=qmp,fd={}", descriptors::QMP));
    line.pair("-mon", "chardev=qmp,mode=control");
    if let Some(name) = &spec.log_port {
        line.pair("-device", "virtio-serial-pci,id=ports");
        line.pair("-chardev", &format!("socket,id=log,fd={}", descriptors::LOG));
        line.pair(
            "-device",
            &format!("virtserialport,bus=ports.0,chardev=log,name={}", name.replace(',', ",,")),
        );
    }
    network(spec, &mut line);
    if let Some(uefi) = &spec.uefi {
        let code = file(&uefi.code);
        line.pair("-drive", &format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"));
        let variables = file(&uefi.variables);
        line.pair("-drive", &format!("if=pflash,unit=1,format=raw,file={variables}"));
    }
    for (n, disk) in spec.disks.iter().enumerate() {
        drive(spec, n, disk, &mut line);
    }
    if let Some(iso) = &spec.cdrom {
        cdrom(spec, iso, &mut line);
    }
    if let Some(direct) = &spec.direct {
        line.pair("-kernel", direct.kernel.as_str());
        if let Some(initrd) = &direct.initrd {
            line.pair("-initrd", initrd.as_str());
        }
        line.pair("-append", &direct.command_line);
    }
    line.0.extend(spec.more.iter().cloned());
    line.0
}

/// Without graphics, QEMU has SeaBIOS write what it says to the serial port too
/// (`etc/sercon-port`, SeaBIOS `docs/Runtime_config.md`). The card stays.
fn machine(spec: &MachineSpec) -> String {
    let is_on = spec.bios_on_console && spec.arch == Arch::X86_64 && spec.uefi.is_none();
    if is_on { format!("{},graphics=off", spec.machine) } else { spec.machine.clone() }
}

fn accelerator(name: &str) -> String {
    match name {
        // One thread a processor; a larger translation cache than the default
        // pays off within minutes of an installer's work.
        "tcg" => "tcg,thread=multi,tb-size=512".to_owned(),
        other => other.to_owned(),
    }
}

/// One card, as in Nova. Its frames go through imgbuild, which answers for the
/// metadata address and passes everything else on to QEMU's user network.
fn network(spec: &MachineSpec, line: &mut Line) {
    let guest = descriptors::GUEST_WIRE;
    line.pair("-netdev", &format!("stream,id=card,addr.type=fd,addr.str={guest}"));
    line.pair("-device", &format!("{},netdev=card,mac=52:54:00:12:34:56,romfile=", spec.nic));
    let mut user = vec!["user,id=user".to_owned()];
    for (host, guest) in &spec.forwards {
        user.push(format!("hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
    }
    line.pair("-netdev", &user.join(","));
    let network = descriptors::NETWORK_WIRE;
    line.pair("-netdev", &format!("stream,id=wire,addr.type=fd,addr.str={network}"));
    line.pair("-netdev", "hubport,id=hub-user,hubid=0,netdev=user");
    line.pair("-netdev", "hubport,id=hub-wire,hubid=0,netdev=wire");
}

fn drive(spec: &MachineSpec, n: usize, disk: &Disk, line: &mut Line) {
    let format = match disk.format {
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Raw => "raw",
    };
    // What is lost when the host crashes is built again. Freed and zeroed
    // blocks take no space in the image.
    let access = if disk.read_only { "readonly=on" } else { "discard=unmap,detect-zeroes=unmap" };
    line.pair(
        "-drive",
        &format!(
            "if=none,id=disk{n},file={},format={format},cache=unsafe,{access}",
            file(&disk.path)
        ),
    );
    let boot = if disk.boots { format!(",bootindex={}", n + 1) } else { String::new() };
    // Of this bus, which one it is.
    let nth = spec.disks.iter().take(n).filter(|it| it.bus == disk.bus).count();
    let device = match (disk.bus.as_str(), spec.machine.as_str()) {
        // Two channels with two disks each; the CD-ROM has the second channel.
        ("ide", "pc") => format!("ide-hd,drive=disk{n},bus=ide.{},unit={}{boot}", nth / 2, nth % 2),
        ("sata", "pc") => {
            if nth == 0 {
                line.pair("-device", "ich9-ahci,id=ahci");
            }
            format!("ide-hd,drive=disk{n},bus=ahci.{nth}{boot}")
        }
        // The ports of the AHCI controller that q35 has.
        ("ide" | "sata", _) => format!("ide-hd,drive=disk{n},bus=ide.{nth}{boot}"),
        ("scsi", _) => {
            if nth == 0 {
                line.pair("-device", "virtio-scsi-pci,id=scsi");
            }
            format!("scsi-hd,drive=disk{n},bus=scsi.0{boot}")
        }
        _ => format!("virtio-blk-pci,drive=disk{n}{boot}"),
    };
    line.pair("-device", &device);
}

fn cdrom(spec: &MachineSpec, iso: &Utf8Path, line: &mut Line) {
    line.pair(
        "-drive",
        &format!("if=none,id=cdrom,media=cdrom,readonly=on,format=raw,file={}", file(iso)),
    );
    // The disk comes first: an empty one is passed over, and an installed one
    // must not start the installer again.
    let device = match (spec.arch, spec.machine.as_str()) {
        (Arch::X86_64, "pc") => "ide-cd,drive=cdrom,bus=ide.1,bootindex=9",
        (Arch::X86_64, _) => "ide-cd,drive=cdrom,bus=ide.5,bootindex=9",
        (Arch::Aarch64, _) => {
            line.pair("-device", "virtio-scsi-pci,id=cdrom-bus");
            "scsi-cd,drive=cdrom,bus=cdrom-bus.0,bootindex=9"
        }
    };
    line.pair("-device", device);
}

/// A file name in an option: commas are doubled, see qemu(1).
fn file(path: &Utf8Path) -> String {
    path.as_str().replace(',', ",,")
}

#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.to_owned());
        self
    }

    fn pair(&mut self, option: &str, value: &str) {
        self.0.push(option.to_owned());
        self.0.push(value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MachineSpec {
        MachineSpec {
            name: "test".into(),
            program: "qemu-system-x86_64".into(),
            arch: Arch::X86_64,
            machine: "q35".into(),
            accelerator: "tcg".into(),
            cpu: "max".into(),
            cpus: 2,
            memory: Size::gib(1),
            uefi: None,
            disks: vec![Disk {
                path: "/runs/a,b/disk.qcow2".into(),
                format: DiskFormat::Qcow2,
                bus: "virtio".into(),
                read_only: false,
                boots: true,
            }],
            cdrom: None,
            direct: None,
            nic: "virtio-net-pci".into(),
            forwards: vec![(2222, 22)],
            bios_on_console: false,
            log_port: None,
            more: vec![],
        }
    }

    #[test]
    fn a_machine_is_this_command_line() {
        insta::assert_snapshot!(arguments(&spec()).join("\n"));
    }

    #[test]
    fn a_comma_in_a_path_is_part_of_the_path() {
        assert!(arguments(&spec()).iter().any(|it| it.contains("file=/runs/a,,b/disk.qcow2,")));
    }

    #[test]
    fn a_bios_is_heard_on_the_console_and_nothing_else_is_changed() {
        let spec = MachineSpec { bios_on_console: true, ..spec() };
        assert_eq!(machine(&spec), "q35,graphics=off");
        assert_eq!(machine(&MachineSpec { arch: Arch::Aarch64, ..spec }), "q35");
    }

    #[test]
    fn the_disk_boots_before_the_cdrom() {
        let with_cdrom = MachineSpec { cdrom: Some("/a.iso".into()), ..spec() };
        let text = arguments(&with_cdrom).join(" ");
        assert!(
            text.contains("drive=disk0,bootindex=1")
                && text.contains("drive=cdrom,bus=ide.5,bootindex=9")
        );
    }
}
