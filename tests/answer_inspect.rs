//! What imgbuild works out from an answer file alone.

use imgbuild::{
    answer::{End, FindingSeverity, Inspection, RemoteView, check, inspect, lint},
    catalogue::{Catalogue, Dialect},
};
use proptest::prelude::*;

fn look(name: &str, text: &str) -> Inspection {
    inspect(name, text, &Catalogue::built_in())
}

struct Expected {
    dialect: Dialect,
    os: Option<&'static str>,
    tree: Option<&'static str>,
    end: End,
}

fn assert_looks_like(name: &str, text: &str, expected: &Expected) {
    let found = look(name, text);
    assert_eq!(found.dialect, Some(expected.dialect), "{name}");
    assert_eq!(found.os_id().as_deref(), expected.os, "{name}: {found:?}");
    assert_eq!(found.tree.as_ref().map(|it| it.value.as_str()), expected.tree, "{name}: {found:?}");
    assert_eq!(found.end.as_ref().map(|it| it.value), Some(expected.end), "{name}");
    // Whatever an editor did to the lines.
    for other in [text.replace('\n', "\r\n"), format!("\u{feff}{text}")] {
        let again = look(name, &other);
        assert_eq!(again.os_id(), found.os_id(), "{name}");
        assert_eq!(
            again.tree.map(|it| (it.value, it.line)),
            found.tree.clone().map(|it| (it.value, it.line)),
            "{name}"
        );
        assert_eq!(again.end.map(|it| it.value), found.end.clone().map(|it| it.value), "{name}");
    }
}

#[test]
fn a_kickstart_states_tree_release_and_end() {
    for (url, os) in [
        (
            "url --url=http://archives.fedoraproject.org/pub/archive/fedora/linux/releases/18/Fedora/x86_64/os/",
            "fedora-18",
        ),
        ("url --url=\"http://vault.centos.org/6.4/os/x86_64/\"  # quoted", "centos-6.4"),
        ("url --url https://repo.almalinux.org/almalinux/9/BaseOS/$basearch/os/", "alma-9"),
        (
            "url --noverifyssl --url='https://dl.rockylinux.org/pub/rocky/9/BaseOS/x86_64/os/'",
            "rocky-9",
        ),
    ] {
        let text = format!(
            "install\n# a comment\n{url}\nrootpw --plaintext hunter22\nreboot\npoweroff\n\
             %packages\n@core\n%end\n%post\nreboot\nurl --url=http://other/\n%end\n"
        );
        let tree = url.split(['\'', '"', ' ', '=']).find(|it| it.starts_with("http")).unwrap();
        let tree = tree.replace("$basearch", "x86_64");
        let expected = Expected {
            dialect: Dialect::Kickstart,
            os: Some(os),
            tree: Some(Box::leak(tree.into_boxed_str())),
            end: End::Poweroff,
        };
        assert_looks_like("x.ks", &text, &expected);
        let found = look("x.ks", &text);
        assert_eq!(found.tree.as_ref().unwrap().line, 3);
        assert!(found.passwords[0].value.is_plain);
    }
}

#[test]
fn the_last_end_directive_counts() {
    for (ends, end) in [
        ("poweroff\nreboot", End::Reboot),
        ("reboot\nshutdown", End::Poweroff),
        ("halt", End::Halt),
        ("", End::Asks),
    ] {
        let text = format!("rootpw --lock\nbootloader\n{ends}\n%packages\n%end\n");
        assert_eq!(look("a.ks", &text).end.unwrap().value, end, "{ends}");
    }
}

#[test]
fn the_files_of_2013_are_understood() {
    let preseed = "#ubuntu_baseurl=http://us.archive.ubuntu.com/ubuntu/dists/quantal/\n\
                   d-i debian-installer/locale string en_US\n\
                   d-i network-console/password password ${adminpw}\n\
                   d-i passwd/root-password password ${adminpw}\n\
                   d-i debian-installer/exit/poweroff boolean true\n";
    let expected = Expected {
        dialect: Dialect::Preseed,
        os: Some("ubuntu-12.10"),
        tree: Some("http://us.archive.ubuntu.com/ubuntu"),
        end: End::Poweroff,
    };
    assert_looks_like("ubuntu-12.10-jeos.preseed", preseed, &expected);
    let found = look("x", preseed);
    assert_eq!(found.remote[0].value, RemoteView::WaitingSsh);
    assert_eq!(found.residue.len(), 2);

    let kickstart = "url --url=REPLACE THIS\nvnc --password=${adminpw}\nrootpw ${adminpw}\n\
                     poweroff\n%packages\n@base\n%end\n";
    let expected = Expected {
        dialect: Dialect::Kickstart,
        os: Some("rhel-6.10"),
        tree: None,
        end: End::Poweroff,
    };
    assert_looks_like("rhel-6-jeos.ks", kickstart, &expected);
    let found = look("rhel-6-jeos.ks", kickstart);
    assert_eq!(found.remote[0].value, RemoteView::Vnc);
    assert_eq!(found.doubts.len(), 1);
}

#[test]
fn a_preseed_states_mirror_and_suite() {
    let text = "d-i mirror/country string manual\nd-i mirror/http/hostname string 10.0.2.2:3142\n\
                d-i mirror/http/directory string /debian\nd-i mirror/http/proxy string\n\
                d-i mirror/suite string trixie\nd-i debian-installer/exit/poweroff boolean true\n";
    let expected = Expected {
        dialect: Dialect::Preseed,
        os: Some("debian-13"),
        tree: Some("http://10.0.2.2:3142/debian"),
        end: End::Poweroff,
    };
    assert_looks_like("preseed.cfg", text, &expected);
    let halting = format!("{text}d-i debian-installer/exit/halt boolean true\n");
    assert_eq!(look("x", &halting).end.unwrap().value, End::Halt);
    let without = "d-i mirror/http/hostname string archive.ubuntu.com\nd-i a/b note\n";
    let expected = Expected {
        dialect: Dialect::Preseed,
        os: None,
        tree: Some("http://archive.ubuntu.com/ubuntu"),
        end: End::Reboot,
    };
    assert_looks_like("preseed.cfg", without, &expected);
    let chosen = "d-i mirror/http/countries select US\nd-i mirror/http/mirror select \
                  us.archive.ubuntu.com\nd-i mirror/suite string xenial\n";
    let found = look("preseed.cfg", chosen);
    assert_eq!(found.tree.unwrap().value, "http://us.archive.ubuntu.com/ubuntu");
    let moving = "d-i mirror/suite string stable\nd-i mirror/http/hostname string ftp.debian.org\n";
    assert_eq!(look("preseed.cfg", moving).doubts.len(), 1);
}

#[test]
fn an_autoyast_profile_states_product_and_end() {
    let text = "<?xml version=\"1.0\"?>\n<!DOCTYPE profile>\n\
         <profile xmlns=\"http://www.suse.com/1.0/yast2ns\" \
         xmlns:config=\"http://www.suse.com/1.0/configns\">\n<general><mode>\
         <confirm config:type=\"boolean\">false</confirm>\
         <halt config:type=\"boolean\">true</halt></mode></general>\n\
         <add-on><add_on_products config:type=\"list\"><listentry>\
         <media_url>http://download.opensuse.org/distribution/leap/15.6/repo/oss</media_url>\
         </listentry></add_on_products></add-on>\n\
         <users config:type=\"list\"><user><username>root</username>\
         <user_password>hunter22</user_password></user></users>\n</profile>\n";
    let expected = Expected {
        dialect: Dialect::Autoyast,
        os: Some("opensuse-15.6"),
        tree: None,
        end: End::Poweroff,
    };
    assert_looks_like("autoinst.xml", text, &expected);
    assert!(look("x", text).passwords[0].value.is_plain);
}

#[test]
fn agama_and_autoinstall_are_recognised() {
    let agama = "{\n  \"product\": { \"id\": \"openSUSE_Leap\" },\n  \
                 \"root\": { \"password\": \"x\" }\n}\n";
    let expected = Expected {
        dialect: Dialect::Agama,
        os: Some("opensuse-16.0"),
        tree: None,
        end: End::Poweroff,
    };
    assert_looks_like("leap.json", agama, &expected);
    let rolling = agama.replace("openSUSE_Leap", "Tumbleweed");
    assert_eq!(look("x.json", &rolling).os_id().as_deref(), Some("opensuse-tumbleweed-agama"));
    let autoinstall = "#cloud-config\nautoinstall:\n  version: 1\n  identity:\n    \
                       hostname: a\n    username: b\n    password: $6$x$y\n  apt:\n    \
                       sources_list: |\n      deb http://a/ubuntu noble main\n  shutdown: poweroff\n";
    let expected = Expected {
        dialect: Dialect::Autoinstall,
        os: Some("ubuntu-24.04"),
        tree: None,
        end: End::Poweroff,
    };
    assert_looks_like("user-data", autoinstall, &expected);
    // What stands in `debconf-selections` does not make it a preseed.
    let text = "#cloud-config\nautoinstall:\n  version: 1\n  debconf-selections: |\n    \
                tasksel tasksel/first multiselect server\n";
    assert_eq!(look("user-data", text).dialect, Some(Dialect::Autoinstall));
}

#[test]
fn what_is_no_answer_file_is_not_taken_for_one() {
    for text in [
        "",
        "hello",
        "#!/bin/sh\nreboot\n",
        "version = 1\nname = \"x\"\nos = \"debian-13\"\n",
        "[package]\nname = \"x\"\n",
        "<html></html>",
        "{\"a\": 1}",
        "a: b\n",
    ] {
        assert_eq!(look("x", text).dialect, None, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_text_does_not_panic(
        head in prop::sample::select(vec!["", "d-i a/b string ", "url --url=", "%packages\n", "<profile ",
            "{\"product\": ", "#cloud-config\nautoinstall:\n  ", "part / --size="]),
        text in "(?s).{0,200}",
    ) {
        let text = format!("{head}{text}");
        let found = look("x", &text);
        for os in ["debian-13", "fedora-18", "rhel-9", "opensuse-15.6", "opensuse-16.0", "ubuntu-24.04"] {
            let os = Catalogue::built_in().get(os).unwrap();
            let findings = check(&os, &text);
            if let Some(report) = findings.report("x", &text) {
                _ = format!("{:?}", miette::Report::new(report));
            }
            _ = lint(&found, Some(&os), &text);
        }
    }
}

#[test]
fn mistakes_are_found_at_their_line() {
    let kickstart =
        "rootpw --iscrypted *\nbootloader\nclearpart --all\npoweroff\n%packages\n%end\n";
    let preseed = "d-i partman-auto/method string regular\nd-i partman/choose_partition select \
                   finish\nd-i partman/confirm boolean true\nd-i finish-install/reboot_in_progress \
                   note\nd-i passwd/make-user boolean false\nd-i passwd/root-password-crypted \
                   password *\nd-i debian-installer/exit/poweroff boolean true\n";
    let autoinstall = "#cloud-config\nautoinstall:\n  version: 1\n  shutdown: poweroff\n  \
                       user-data: {disable_root: false}\n";
    let autoyast = "<profile xmlns=\"http://www.suse.com/1.0/yast2ns\" \
                    xmlns:config=\"http://www.suse.com/1.0/configns\"><general><mode>\
                    <confirm config:type=\"boolean\">false</confirm>\
                    <halt config:type=\"boolean\">true</halt></mode></general>\n";
    for (os, text, code, line) in [
        ("rhel-9", format!("{kickstart}part / --size=1\n"), "", 0),
        ("rhel-9", format!("{kickstart}part / --size=x\n"), "kickstart::options", 7),
        ("rhel-9", format!("{kickstart}part / --sise=1\n"), "kickstart::unknown-option", 7),
        (
            "rhel-9",
            format!("{kickstart}partt / --size=1\nautopart\n"),
            "kickstart::unknown-command",
            7,
        ),
        ("rhel-9", format!("{kickstart}autopart\npart / --size=1\n"), "kickstart::options", 8),
        ("rhel-5.9", format!("{kickstart}autopart\npart / --size=1\n"), "", 0),
        ("rhel-9", format!("{kickstart}autopart\ninstall\n"), "kickstart::removed-command", 8),
        ("rhel-8", format!("{kickstart}autopart\ninstall\n"), "kickstart::deprecated-command", 8),
        ("rhel-9", format!("{kickstart}autopart\n%post\necho\n"), "kickstart::no-end", 8),
        ("rhel-5.9", format!("{kickstart}autopart\n%post\necho\n"), "", 0),
        (
            "rhel-9",
            format!("{kickstart}autopart\n").replace("%packages", "%packages --instLangs=en"),
            "kickstart::deprecated-soon",
            5,
        ),
        (
            "rhel-8",
            format!("{kickstart}autopart\n").replace("%packages", "%packages --instLangs=en"),
            "",
            0,
        ),
        ("rhel-9", format!("{kickstart}autopart\nlang \"en\n"), "kickstart::quotes", 8),
        ("rhel-9", format!("{kickstart}autopart\nrootpw hunter22\n"), "answer::plain-password", 8),
        ("rhel-9", format!("{kickstart}autopart\nreboot\n"), "answer::reboots", 8),
        ("rhel-9", format!("{kickstart}autopart\nlang {{{{ locale }}}}\n"), "answer::residue", 8),
        ("debian-13", preseed.to_owned(), "", 0),
        ("debian-13", format!("{preseed}d-i mirror/suite\n"), "preseed::syntax", 8),
        ("debian-13", format!("{preseed}d-i mirror/suite sting trixie\n"), "preseed::type", 8),
        ("debian-13", format!("{preseed}d-i partman/confirm boolean yes\n"), "preseed::boolean", 8),
        (
            "debian-13",
            format!("{preseed}d-i passwd/make-usr boolean false\n"),
            "preseed::unknown-question",
            8,
        ),
        ("debian-13", format!("{preseed}d-i time/zone boolean true\n"), "preseed::other-type", 8),
        ("debian-13", format!("{preseed}d-i a/b string x \\\n"), "preseed::open-end", 8),
        ("debian-13", preseed.replace(" password *", " password !"), "preseed::asked", 6),
        (
            "debian-13",
            preseed.replace("d-i partman/choose_partition select finish\n", ""),
            "preseed::asked",
            6,
        ),
        ("ubuntu-24.04", autoinstall.to_owned(), "", 0),
        ("ubuntu-24.04", format!("{autoinstall}late-commands: []\n"), "autoinstall::nesting", 6),
        ("ubuntu-24.04", format!("{autoinstall}  packges: []\n"), "autoinstall::unknown-key", 6),
        ("ubuntu-24.04", format!("{autoinstall}  x: [\n"), "autoinstall::yaml", 6),
        ("ubuntu-24.04", format!("{autoinstall}  allow-pw: true\n"), "autoinstall::nesting", 6),
        (
            "ubuntu-24.04",
            format!("{autoinstall}  ssh:\n    packages: []\n"),
            "autoinstall::nesting",
            7,
        ),
        (
            "ubuntu-24.04",
            format!("{autoinstall}  ssh: {{install-server: often}}\n"),
            "autoinstall::value",
            6,
        ),
        // Where the schema is closed the installer stops at it.
        (
            "ubuntu-24.04",
            format!("{autoinstall}  keyboard: {{layout: us, colour: red}}\n"),
            "autoinstall::unknown-key",
            6,
        ),
        (
            "ubuntu-24.04",
            format!("{autoinstall}  keyboard: {{layout: us}}\n  colour: red\n"),
            "autoinstall::unknown-key",
            7,
        ),
        // YAML as Python reads it.
        ("ubuntu-24.04", format!("{autoinstall}  ssh: {{install-server: yes}}\n"), "", 0),
        (
            "ubuntu-24.04",
            format!("{autoinstall}  ssh: {{install-server: 'yes'}}\n"),
            "autoinstall::value",
            6,
        ),
        ("ubuntu-24.04", format!("{autoinstall}  updates: some\n"), "autoinstall::value", 6),
        (
            "opensuse-15.6",
            format!("{autoyast}<mode><halt>x</halt></mode></profile>\n"),
            "autoyast::unknown-section",
            2,
        ),
        (
            "opensuse-15.6",
            format!("{autoyast}<final_halt>true</final_halt></profile>\n"),
            "autoyast::nesting",
            2,
        ),
        (
            "opensuse-16.0",
            "{\n\"product\": {\"id\": \"x\"},\n\"hashedPassword\": true,\n\"root\": {}\n}\n".to_owned(),
            "agama::nesting",
            3,
        ),
        (
            "opensuse-16.0",
            "{\n\"product\": {\"id\": \"x\"},\n\"root\": {},\n\"software\": {\"packages\": \"vim\"}\n}\n".to_owned(),
            "agama::value",
            4,
        ),
        ("opensuse-15.6", format!("{autoyast}</profile>\n"), "", 0),
        ("opensuse-15.6", autoyast.to_owned(), "autoyast::xml", 1),
        (
            "opensuse-15.6",
            format!("{autoyast}</profile>").replace("\">false</confirm>", "\">true</confirm>"),
            "autoyast::asks",
            1,
        ),
        ("opensuse-16.0", "{\n\"product\": {}\n}\n".to_owned(), "agama::product", 2),
        (
            "opensuse-16.0",
            "{\n\"product\": {\"id\": \"x\"},\n\"root\": 1,\n}\n".to_owned(),
            "agama::json",
            4,
        ),
        ("debian-13", kickstart.to_owned(), "answer::other-dialect", 1),
    ] {
        let os = Catalogue::built_in().get(os).unwrap();
        let findings = check(&os, &text);
        let found: Vec<_> = findings.iter().map(|it| (it.code, it.line)).collect();
        if code.is_empty() {
            assert!(findings.is_empty(), "{found:?}\n{text}");
        } else {
            assert!(found.contains(&(code, line)), "{code} {line}: {found:?}\n{text}");
        }
    }
}

#[test]
fn masked_text_keeps_findings_at_their_lines() {
    let text = "rootpw --plaintext hunter22\nautopart\nbootloader\nreboot\n%packages\n%end\n";
    let os = Catalogue::built_in().get("rhel-9").unwrap();
    let findings = check(&os, text);
    let masked = text.replace("hunter22", "<sensitive:root_password>");
    let report = findings.report("ks", &masked).unwrap();
    let shown = format!("{:?}", miette::Report::new(report));
    assert!(!shown.contains("hunter22"), "{shown}");
    assert!(shown.contains("4 │ reboot"), "{shown}");
}

#[test]
fn autoinstall_values_are_what_the_schema_of_subiquity_says() {
    let os = Catalogue::built_in().get("ubuntu-24.04").unwrap();
    let start = "#cloud-config\nautoinstall:\n  version: 1\n  shutdown: poweroff\n  \
                 user-data: {disable_root: false}\n";
    for (line, is_right) in [
        ("packages: [vim, '3']", true),
        ("packages: [3]", false),
        ("keyboard: {layout: us, toggle: null}", true),
        ("keyboard: {layout: 0}", false),
        ("keyboard: {layout: us, variant: null}", false),
        ("proxy:", true),
        ("proxy: 3128", false),
        ("locale: C", true),
        ("locale:", false),
        ("kernel: {flavor: hwe}", true),
        ("kernel: {flavor: hwe, package: linux-generic}", false),
        ("oem: {install: auto}", true),
        ("oem: {install: never}", false),
        ("network: {version: 2, ethernets: {}}", true),
        ("network: {network: {version: 2}}", true),
        ("network: {version: 1}", false),
        ("network: {ethernets: {}}", false),
        ("apt: {mirror-selection: {primary: [country-mirror, {uri: 'http://a'}]}}", true),
        ("apt: {mirror-selection: {primary: [{arches: [amd64]}]}}", false),
        ("apt: {preferences: [{package: a, pin: b, pin-priority: 200}]}", true),
        ("apt: {preferences: [{package: a, pin: b, pin-priority: high}]}", false),
        ("identity: {username: a, hostname: b, password: $6$x$y, groups: {append: [c]}}", true),
        ("identity: {username: a, hostname: b, password: $6$x$y, groups: c}", false),
        ("late-commands: [reboot, [sh, -c, x]]", true),
        ("late-commands: [[sh, 1]]", false),
        ("reporting: {here: {type: print}}", true),
        ("reporting: {here: {}}", false),
        ("ubuntu-pro: {token: C1234567890123456789012345}", false),
        ("ubuntu-pro: {token: C1234567891234567891234567}", true),
        ("updates: {}", false),
        ("active-directory: {realm: a}", false),
        ("source: {name: a}", true),
        ("keyboard: {layout: us}\n  colour: red", true),
    ] {
        let text = format!("{start}  {line}\n");
        let found = check(&os, &text);
        let is_wrong = found.iter().any(|it| {
            it.severity == FindingSeverity::Error
                && ["autoinstall::value", "autoinstall::unknown-key"].contains(&it.code)
        });
        assert_eq!(!is_wrong, is_right, "{line}: {found:?}");
    }
}

#[test]
fn a_part_of_an_answer_file_is_known_by_its_name() {
    for (name, dialect) in [
        ("parts/timezone.ks", Some(Dialect::Kickstart)),
        ("timezone.ks.in", Some(Dialect::Kickstart)),
        ("late.preseed", Some(Dialect::Preseed)),
        ("notes.txt", None),
    ] {
        assert_eq!(look(name, "timezone --utc Europe/Prague\n").dialect, dialect, "{name}");
        assert_eq!(look(name, "\n").dialect, None, "{name}");
    }
}

#[test]
fn two_network_lines_without_a_device_are_doubtful() {
    let os = Catalogue::built_in().get("rhel-7").unwrap();
    let doubts = |lines: &str| {
        let text = format!("rootpw --lock\n{lines}poweroff\n%packages\n%end\n");
        let found = check(&os, &text);
        found.iter().filter(|it| it.code == "kickstart::doubtful").map(|it| it.line).collect()
    };
    let twice: Vec<_> = doubts("network --bootproto=dhcp\nnetwork --hostname=web\n");
    assert_eq!(twice, [3]);
    let named: Vec<_> = doubts("network --device=eth0\nnetwork --hostname=web\n");
    assert!(named.is_empty());
}

#[test]
fn key_takes_one_installation_number() {
    let os = Catalogue::built_in().get("rhel-5").unwrap();
    for (line, is_right) in
        [("key", false), ("key a b", false), ("key a", true), ("key --skip", true)]
    {
        let text = format!("rootpw --lock\n{line}\npoweroff\n%packages\n");
        let found = check(&os, &text);
        assert_eq!(found.iter().all(|it| it.line != 2), is_right, "{line}: {found:?}");
    }
}
