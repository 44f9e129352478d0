//! Operating systems for the tests of specs, as the catalogue would have them.
#![expect(unreachable_pub, reason = "shared by several test programs")]

use std::{collections::BTreeMap, sync::Arc};

use imgbuild::{
    catalogue::{
        BootParameters, Dialect, InstallerKind, IsoLayout, MachineNeeds, Os, PackageLayout,
        TreeLayout,
    },
    model::{Arch, Delivery},
    spec::{Checked, Mode, OsLookup, SpecErrors, check_text, document::Syntax, variables::Inputs},
    units::Size,
};

/// A handful of systems.
pub struct Systems(Vec<Arc<Os>>);

impl Systems {
    pub fn new() -> Self {
        Self(vec![
            Arc::new(debian("debian-12", "12", "bookworm")),
            Arc::new(debian("debian-13", "13", "trixie")),
            Arc::new(fedora()),
            Arc::new(isolinux()),
        ])
    }
}

impl OsLookup for Systems {
    fn get(&self, id: &str) -> Option<Arc<Os>> {
        self.0.iter().find(|it| it.id == id || it.aliases.iter().any(|it| it == id)).cloned()
    }

    fn ids(&self) -> Vec<String> {
        self.0.iter().map(|it| it.id.clone()).collect()
    }
}

/// Checks a text, named by its language.
pub fn check(name: &str, text: &str, inputs: &Inputs, mode: Mode) -> Result<Checked, SpecErrors> {
    let syntax = Syntax::of_file_name(name).unwrap_or(Syntax::Toml);
    check_text(name, text, syntax, inputs, &Systems::new(), mode)
}

fn debian(id: &str, version: &str, codename: &str) -> Os {
    Os {
        id: id.to_owned(),
        aliases: vec![codename.to_owned()],
        title: format!("Debian {version} ({codename})"),
        family: "debian".to_owned(),
        version: version.to_owned(),
        codename: Some(codename.to_owned()),
        installer: InstallerKind::DebianInstaller,
        dialect: Dialect::Preseed,
        dialect_version: None,
        template: Some("debian/preseed.cfg".to_owned()),
        end_of_life: None,
        arches: vec![Arch::X86_64, Arch::Aarch64],
        tree: Some(TreeLayout {
            url: Some("http://ftp.debian.org/debian".to_owned()),
            kernel: "dists/{codename}/linux".to_owned(),
            initrd: "dists/{codename}/initrd.gz".to_owned(),
            checksums: vec!["SHA256SUMS".to_owned()],
            treeinfo_family: None,
            treeinfo_version: None,
        }),
        iso: Some(IsoLayout {
            kernel: vec!["install.amd/vmlinuz".to_owned()],
            initrd: vec!["install.amd/initrd.gz".to_owned()],
            volume_id: None,
            file: None,
        }),
        package: Some(PackageLayout {
            name: format!("debian-installer-{version}-netboot-{{debarch}}"),
            kernel: "linux".to_owned(),
            initrd: "initrd.gz".to_owned(),
        }),
        machine: machine(512, 1024, 4),
        boot: boot(&[Delivery::Metadata, Delivery::Initrd]),
        glance: BTreeMap::new(),
        sources: Vec::new(),
    }
}

fn fedora() -> Os {
    Os {
        id: "fedora-43".to_owned(),
        aliases: Vec::new(),
        title: "Fedora 43".to_owned(),
        family: "fedora".to_owned(),
        version: "43".to_owned(),
        codename: None,
        installer: InstallerKind::Anaconda,
        dialect: Dialect::Kickstart,
        template: Some("fedora/kickstart.ks".to_owned()),
        package: None,
        machine: machine(2048, 3072, 10),
        boot: BootParameters {
            volume_label: Some("OEMDRV".to_owned()),
            ..boot(&[Delivery::Metadata, Delivery::Volume])
        },
        ..debian("fedora", "43", "")
    }
}

/// A system that comes as an ISO alone, for one architecture, without a template.
fn isolinux() -> Os {
    Os {
        id: "isolinux-1".to_owned(),
        aliases: Vec::new(),
        title: "Isolinux 1".to_owned(),
        template: None,
        arches: vec![Arch::X86_64],
        tree: None,
        package: None,
        codename: None,
        ..debian("isolinux", "1", "")
    }
}

fn machine(memory_minimum: u64, memory: u64, disk_gib: u64) -> MachineNeeds {
    MachineNeeds {
        memory_minimum: Size::mib(memory_minimum),
        memory: Size::mib(memory),
        disk_minimum: Size::gib(disk_gib),
        disk_bus: "virtio".to_owned(),
        nic: "virtio-net-pci".to_owned(),
        machine: "q35".to_owned(),
        x86_64_level: 1,
        disk_device: "/dev/vda".to_owned(),
        log_port: None,
    }
}

fn boot(delivery: &[Delivery]) -> BootParameters {
    BootParameters {
        delivery: delivery.iter().map(|it| (*it, Vec::new())).collect(),
        ..BootParameters::default()
    }
}
