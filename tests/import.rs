//! Specs made of what other tools describe: right, or an error that names what has
//! no counterpart.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use imgbuild::{
    answer,
    catalogue::Catalogue,
    import::{self, Context, Files, ImportError, Imported},
    render::{self, Extras},
    spec::{Mode, check_text, document::Syntax, variables::Inputs},
};

#[derive(Default)]
struct Folder(BTreeMap<&'static str, &'static str>);

impl Files for Folder {
    fn read(&self, path: &str) -> Option<String> {
        self.0.get(path).map(|it| (*it).to_owned())
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().filter(|it| !it.contains('/')).map(|it| (*it).to_owned()).collect()
    }
}

struct Templates(Vec<(String, String)>);

impl render::TemplateLoader for Templates {
    fn load(&self, name: &str) -> Option<String> {
        let own = self.0.iter().find(|it| it.0 == name).map(|it| it.1.clone());
        let built_in = format!("{}/templates/{name}", env!("CARGO_MANIFEST_DIR"));
        own.or_else(|| fs_err::read_to_string(built_in).ok())
    }
}

fn run(
    name: &str,
    text: &str,
    files: &[(&'static str, &'static str)],
    variables: &[(&str, &str)],
) -> Result<Vec<Imported>, ImportError> {
    let catalogue = Catalogue::built_in();
    let variables: Vec<_> = variables.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect();
    let cx = Context {
        catalogue: &catalogue,
        files: &Folder(files.iter().copied().collect()),
        os: None,
        variables: &variables,
        variable_files: &[],
    };
    import::file(name, text, &cx)
}

fn command(line: &str, files: &[(&'static str, &'static str)]) -> Result<Imported, ImportError> {
    let catalogue = Catalogue::built_in();
    let cx = Context {
        catalogue: &catalogue,
        files: &Folder(files.iter().copied().collect()),
        os: None,
        variables: &[],
        variable_files: &[],
    };
    import::command(&shell_words::split(line).unwrap(), &cx)
}

/// The answer file that the installer would get, once all of it is right.
fn answers(imported: &Imported) -> String {
    let catalogue = Catalogue::built_in();
    let inputs = Inputs::default();
    let checked =
        check_text("x.toml", &imported.spec, Syntax::Toml, &inputs, &catalogue, Mode::Validate)
            .unwrap_or_else(|it| panic!("{}\n{:?}", imported.spec, it.reports()));
    let loader: std::sync::Arc<dyn render::TemplateLoader> =
        std::sync::Arc::new(Templates(imported.files.clone()));
    let rendered =
        render::answer_file(&checked.build, &loader, &Extras { ssh_public_key: None }).unwrap();
    let findings = answer::check_build(&checked.build, rendered.expose());
    let all: Vec<_> = findings.iter().map(|it| format!("{}: {it}", it.line)).collect();
    assert!(!findings.is_fatal(), "{all:?}\n{}", rendered.expose());
    rendered.expose().to_owned()
}

fn message(error: &ImportError) -> String {
    use miette::Diagnostic as _;
    assert!(error.help().is_some() || matches!(error, ImportError::Syntax { .. }), "{error}");
    error.to_string()
}

const TDL: &str = "<!-- ours -->\n<template><name>box</name>\n\
    <os><name>CentOS-7</name><version>9</version><arch>x86_64</arch>\n\
    <install type='url'><url>http://mirror.example/7/os/x86_64/</url></install></os>\n\
    <disk><size>20</size></disk>\n\
    <packages><package name='vim-enhanced'/></packages>\n\
    <repositories><repository name='extra one'><url>http://r.example/</url></repository></repositories>\n\
    <files><file name='/etc/motd'>hello &amp; welcome</file></files>\n\
    <commands><command name='second' position='2'>echo {{ two }}</command>\n\
    <command name='first' position='1'>set -x\necho one</command></commands>\n</template>\n";

#[test]
fn a_tdl_becomes_a_spec_that_does_the_same() {
    let text = TDL.replace("CentOS-7", "CentOS").replace("<version>9", "<version>7.9");
    let imported = run("box.tdl", &text, &[], &[]).unwrap().remove(0);
    assert_eq!(imported.name, "box");
    assert!(imported.spec.contains("disk = \"20 GiB\""), "{}", imported.spec);
    let answers = answers(&imported);
    assert!(answers.contains("url --url=http://mirror.example/7/os/x86_64/"));
    assert!(answers.contains("\nvim-enhanced\n"));
    let place = |it: &str| answers.find(it).unwrap_or_else(|| panic!("{it}\n{answers}"));
    assert!(place("/etc/yum.repos.d/extra_one.repo") < place("/etc/motd"));
    assert!(place("/etc/motd") < place("sh -e $f"));
    assert!(place("c2V0IC14CmVjaG8gb25lCg==") < place("ZWNobyB7eyB0d28gfX0K"));
}

#[test]
fn a_tdl_that_cannot_be_carried_over_says_what_cannot() {
    for (from, to, word) in [
        ("<name>CentOS-7</name>", "<name>Windows</name>", "Windows"),
        ("<name>CentOS-7</name>", "", "os/name"),
        ("x86_64</arch>", "i386</arch>", "box.tdl:3: images for `i386`"),
        ("type='url'", "type='floppy'", "floppy"),
        ("<size>20", "<size>many", "many"),
        ("position='2'", "position='1'", "position 1"),
        ("<file name='/etc/motd'", "<file", "name"),
        ("'vim-enhanced'/>", "'vim-enhanced'>", "box.tdl:"),
        ("<template>", "<other>", ""),
    ] {
        let text = TDL.replace(from, to).replace("CentOS-7", "CentOS").replace(">9<", ">7<");
        let error = run("box.tdl", &text, &[], &[]).err();
        let error = error.unwrap_or_else(|| panic!("{to} is accepted"));
        assert!(message(&error).contains(word), "{to}: {error}");
    }
}

const PRESEED: &str = "d-i partman-auto/method string regular\n\
    d-i partman-auto/disk string /dev/vda\n\
    d-i partman/choose_partition select finish\n\
    d-i partman/confirm boolean true\n\
    d-i passwd/root-password-crypted password *\n\
    d-i passwd/make-user boolean false\n\
    d-i finish-install/reboot_in_progress note\n";

const HCL: &str = r#"
packer {
  required_plugins {
    qemu = { version = ">= 1.0", source = "github.com/hashicorp/qemu" }
  }
}
variable "release" {
  type    = string
  default = "13.1.0"
}
variable "memory" { default = 2048 }
locals {
  base = "https://images.example/${var.release}"
  iso  = "${local.base}/debian-${var.release}-amd64-netinst.iso"
}
source "qemu" "small" {
  iso_url          = local.iso
  iso_checksum     = "file:${local.base}/SHA256SUMS"
  http_directory   = "${path.root}/http"
  boot_command     = ["<esc><wait>", "auto url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/d/p.cfg hostname=web<enter>"]
  disk_size        = "20G"
  memory           = var.memory
  cpus             = 4
  efi_boot         = true
  format           = "qcow2"
  disk_compression = true
  accelerator      = "kvm"
  vm_name          = "web-${formatdate("YYYY", timestamp())}"
  ssh_username     = "root"
  qemuargs         = [["-m", "3072M"], ["-display", "none"]]
  output_directory = "out"
}
source "virtualbox-iso" "small" { iso_url = local.iso }
build {
  sources = ["source.qemu.small", "source.virtualbox-iso.small"]
  provisioner "shell" { inline = ["true"] }
}
"#;

#[test]
fn packers_hcl_becomes_a_spec_and_what_is_left_is_listed() {
    let all = run("web.pkr.hcl", HCL, &[("http/d/p.cfg", PRESEED)], &[]).unwrap();
    let [imported] = all.as_slice() else { panic!("one builder carries over") };
    for line in [
        "os = \"debian-13\"",
        "location = \"https://images.example/13.1.0/debian-13.1.0-amd64-netinst.iso\"",
        "checksum-file = \"https://images.example/13.1.0/SHA256SUMS\"",
        "memory = \"3072 MiB\"",
        "disk = \"20 GiB\"",
        "cpus = 4",
        "firmware = \"uefi\"",
        "file = \"p.cfg\"",
        "\"hostname=web\"",
        "compression = \"zlib\"",
        "path = \"out/small.qcow2\"",
    ] {
        assert!(imported.spec.contains(line), "{line}\n{}", imported.spec);
    }
    let notes = imported.notes.join("\n");
    for word in ["virtualbox-iso", "provisioner `shell`", "vm_name", "-display", "poweroff"] {
        assert!(notes.contains(word), "{word}\n{notes}");
    }
    assert!(answers(imported).contains("debian-installer/exit/poweroff boolean true"));
}

#[test]
fn packers_variables_come_from_outside_and_from_files_beside_it() {
    let beside = [
        ("http/d/p.cfg", PRESEED),
        ("more.pkr.hcl", "variable \"unused\" {}\n"),
        ("x.auto.pkrvars.hcl", "release = \"12.5.0\"\n"),
    ];
    let imported = run("web.pkr.hcl", HCL, &beside, &[]).unwrap().remove(0);
    assert!(imported.spec.contains("os = \"debian-12\""));
    let imported = run("web.pkr.hcl", HCL, &beside, &[("release", "11.0.0")]).unwrap().remove(0);
    assert!(imported.spec.contains("os = \"debian-11\""));
}

const JSON: &str = r#"{
  "variables": {"version": "7", "disk": "40960", "mirror": null},
  "builders": [
    {"type": "qemu", "name": "seven", "iso_url": "{{user `mirror`}}/CentOS-{{user `version`}}-x86_64-Minimal-2009.iso",
     "iso_checksum_type": "sha256", "iso_checksum": "07B94E6B1A0B0260B94C83D6BB76B26BF7A310DC78D7A9C7432809FB9BC6194A",
     "disk_size": "{{user `disk`}}", "http_directory": "http",
     "boot_command": ["<tab> text ks=http://{{ .HTTPIP }}:{{ .HTTPPort }}/ks.cfg<enter>"],
     "qemuargs": [["-m", "512M"]]},
    {"type": "vmware-iso"}
  ],
  "provisioners": [{"type": "ansible"}],
  "post-processors": [["compress", {"type": "vagrant"}]]
}"#;

#[test]
fn packers_json_becomes_a_spec() {
    let kickstart =
        "text\nreboot\nrootpw --lock\nbootloader\nautopart\ncdrom\n%packages\n@core\n%end\n";
    let files: [(&'static str, &'static str); 1] = [("http/ks.cfg", kickstart)];
    let error = run("a.json", JSON, &files, &[]).err().unwrap();
    assert!(message(&error).contains("`mirror`"), "{error}");
    let all = run("a.json", JSON, &files, &[("mirror", "http://m.example")]).unwrap();
    let imported = &all[0];
    assert!(imported.spec.contains("os = \"centos-7.9\""), "{}", imported.spec);
    assert!(imported.spec.contains("sha256:07b94e6b"), "{}", imported.spec);
    assert!(answers(imported).starts_with("text\npoweroff\n"));
    // 512 MB is less than this installer needs.
    assert!(!imported.spec.contains("512 MiB"));
    let notes = imported.notes.join("\n");
    for word in ["ansible", "compress", "vagrant", "vmware-iso"] {
        assert!(notes.contains(word), "{word}");
    }
}

#[test]
fn an_openstack_builder_becomes_an_installation() {
    let text = r#"
source "openstack" "x" {
  source_image_name = "Ubuntu 24.04"
  image_name        = "web"
  flavor            = "m1.small"
  networks          = ["a", "b"]
  image_visibility  = "private"
  metadata          = { owner = "me" }
}
"#;
    let imported = run("x.pkr.hcl", text, &[], &[]).unwrap().remove(0);
    for line in
        ["os = \"ubuntu-24.04\"", "flavor = \"m1.small\"", "owner = \"me\"", "network = \"a\""]
    {
        assert!(imported.spec.contains(line), "{line}\n{}", imported.spec);
    }
    assert!(imported.notes.iter().any(|it| it.contains("installs Ubuntu 24.04")));
}

#[test]
fn templates_that_cannot_be_carried_over_say_what_cannot() {
    for (text, word) in [
        ("source \"amazon-ebs\" \"x\" {}", "amazon-ebs"),
        ("build {}", "no builders"),
        ("source \"qemu\" \"x\" {\n  disk_image = true\n}", "disk_image"),
        ("source \"qemu\" \"x\" {}", "iso_url"),
        ("source \"qemu\" \"x\" {\n  iso_url = var.iso\n}", "iso_url"),
        ("source \"qemu\" \"x\" {\n  iso_url = \"http://a/plan9.iso\"\n}", "plan9"),
        ("source \"qemu\" \"x\" {\n  iso_url = \"http://a/debian-13-i386.iso\"\n}", "i386"),
        ("source \"qemu\" {{\n", "x.pkr.hcl:1"),
        // The line is named.
        ("\nsource \"qemu\" \"x\" {\n  memory = 1\n  disk_image = true\n}", "x.pkr.hcl:4: "),
        ("\nsource \"qemu\" \"x\" {\n}", "x.pkr.hcl:2: the builder `x` has no `iso_url`"),
        (
            "variable \"iso\" {\n  default = null\n}\nsource \"qemu\" \"x\" {\n  iso_url = var.iso\n}",
            "x.pkr.hcl:5: `iso_url` of the builder `x` is empty: it is `var.iso`",
        ),
        (
            "locals {\n  urls = [var.nowhere]\n}\nsource \"qemu\" \"x\" {\n  iso_urls = local.urls\n}",
            "x.pkr.hcl:5: `iso_urls` of the builder `x` cannot be worked out: the variable `nowhere` \
             has no value",
        ),
    ] {
        let error = run("x.pkr.hcl", text, &[], &[]).err().unwrap_or_else(|| panic!("{text}"));
        assert!(message(&error).contains(word), "{text}: {error}");
    }
    let missing = run("web.pkr.hcl", HCL, &[], &[]).err().unwrap();
    assert!(message(&missing).contains("http/d/p.cfg"), "{missing}");
}

#[test]
fn a_file_without_builders_says_where_they_are() {
    let sources = "source \"qemu\" \"x\" {}";
    let error = run("variables.pkr.hcl", "variable \"x\" {}", &[("sources.pkr.hcl", sources)], &[]);
    assert!(message(&error.err().unwrap()).contains("they are in `sources.pkr.hcl`"));
}

/// Two builders whose answer files are made of one template.
const SERVED: &str = r#"
variable "mirror" {
  default = "${env("MIRROR")}"
}
locals {
  isos = compact([try(var.missing.iso, ""), "http://a/debian-13.1.0-amd64-netinst.iso"])
  from = var.mirror != "" ? var.mirror : "ftp.debian.org"
}
source "qemu" "small" {
  iso_urls     = local.isos
  boot_command = ["auto url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/p.cfg<enter>"]
  http_content = { "/p.cfg" = templatefile("${path.root}/p.pkrtpl", { word = "one", from = local.from }) }
  vm_name      = "box"
}
source "qemu" "large" {
  iso_urls     = local.isos
  boot_command = ["auto url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/p.cfg<enter>"]
  http_content = { "/p.cfg" = templatefile("${path.root}/p.pkrtpl", { word = "two", from = local.from }) }
  vm_name      = "box"
}
source "qemu" "third" {
  iso_urls     = local.isos
  boot_command = ["auto url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/p.cfg<enter>"]
  http_content = { "/p.cfg" = file("gone.cfg") }
}
"#;

#[test]
fn each_builder_has_its_own_answer_file_or_its_own_reason() {
    let preseed = "d-i netcfg/get_hostname string ${word}\n\
        %{ if from != \"\" ~}\nd-i mirror/http/hostname string ${from}\n%{ endif ~}\n";
    let all = run("web.pkr.hcl", SERVED, &[("p.pkrtpl", preseed)], &[]).unwrap();
    let names: Vec<_> = all.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["box", "box-2"]);
    let file = |at: usize| all[at].files[0].clone();
    assert_eq!((file(0).0, file(1).0), ("p.cfg".to_owned(), "box-2-p.cfg".to_owned()));
    assert!(file(0).1.contains("string one\nd-i mirror/http/hostname string ftp.debian.org"));
    assert!(file(1).1.contains("string two\n"));
    assert!(all[1].spec.contains("name = \"box-2\""), "{}", all[1].spec);
    assert!(all[1].spec.contains("file = \"box-2-p.cfg\""), "{}", all[1].spec);
    let left_out = all[0].notes.last().unwrap();
    assert!(left_out.contains("`third` is left out: web.pkr.hcl:24: "), "{left_out}");
    assert!(left_out.contains("`gone.cfg` is not there"), "{left_out}");
}

const KICKSTART: &str = "url --url=http://m.example/releases/18/Fedora/x86_64/os/\n\
    rootpw ${adminpw}\nbootloader\nautopart\nzerombr\nclearpart --all --initlabel\npoweroff\n\
    %packages\n@core\n%end\n";

#[test]
fn command_lines_of_2013_become_specs() {
    let files = [("f18.ks", KICKSTART)];
    let imported = command(
        "./create_image.py --auth-url http://k:5000/v2.0 --username u --tenant t --password geheim \
         --glance-url http://g --root-password geheim --create-volume --install-volume-size 12 f18.ks",
        &files,
    )
    .unwrap();
    for line in ["os = \"fedora-18\"", "disk = \"12 GiB\"", "[target.volume]", "sensitive = true"] {
        assert!(imported.spec.contains(line), "{line}\n{}", imported.spec);
    }
    assert!(!format!("{imported:?}").contains("geheim"));
    assert!(imported.files[0].1.contains("rootpw {{ admin_password }}"));

    let imported = command(
        "nova-install --os fedora20 --install_tree http://m.example/20/ --name web --public \
         --instance_flavor 3 --admin_pw geheim --inactivity_timeout=240 --request_floating_ip",
        &[],
    )
    .unwrap();
    for line in [
        "os = \"fedora-20\"",
        "url = \"http://m.example/20/\"",
        "name = \"web-jeos\"",
        "visibility = \"public\"",
        "flavor = \"3\"",
        "idle = \"240s\"",
    ] {
        assert!(imported.spec.contains(line), "{line}\n{}", imported.spec);
    }
    assert!(!format!("{imported:?}").contains("geheim"));
    answers(&imported);
    for (line, word) in [
        ("nova-install --os win2k8r2", "win2k8r2"),
        ("nova-install", "--os"),
        ("nova-install --os rhel6.4 --colour red", "--colour"),
        ("nova-install --os rhel6.4 --install_iso a --install_tree b", "exclude"),
        ("nova-install --os rhel6.4 --arch ppc64", "ppc64"),
        ("nova-install --os_list", "os_list"),
        ("create_image.py none.ks", "none.ks"),
        ("create_image.py", "answer file"),
        ("rm -rf /", "rm"),
    ] {
        let error = command(line, &files).err().unwrap_or_else(|| panic!("{line}"));
        assert!(message(&error).contains(word), "{line}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "(<template>|<os>|\\{\"builders\": ?\\[|source \"qemu\" \"x\" \\{\n|[a-z_]{1,9} ?= ?|\\$\\{|[\"<>{}\\[\\]/a-zé:,.\n 0-9]){0,30}") {
        for name in ["a.tdl", "a.json", "a.pkr.hcl"] {
            _ = run(name, &text, &[], &[]);
        }
        if let Ok(words) = shell_words::split(&text) {
            let catalogue = Catalogue::built_in();
            let cx = Context { catalogue: &catalogue, files: &Folder::default(), os: None,
                variables: &[], variable_files: &[] };
            _ = import::command(&words, &cx);
        }
    }
}
