//! Volumes and initrds are what mtools, `fsck.vfat`, `blkid` and `cpio` take
//! them for.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Stdio},
};

use imgbuild::{
    CancellationToken,
    media::{
        MediaError,
        config_drive::{self, ConfigDrive},
        initrd::{self, InitrdFile, Packing},
        volume::{self, VolumeFile},
    },
};
use proptest::prelude::*;

/// Paths that differ in more than case.
fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec("[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}[A-Za-z0-9_]", 1..4)
        .prop_map(|it| it.join("/"))
}

fn contents(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    (0..longest, any::<u8>())
        .prop_map(|(n, seed)| (0..n).map(|i| u8::try_from(i * 31 % 251).unwrap() ^ seed).collect())
}

fn write(files: &BTreeMap<String, Vec<u8>>, out: &Path) -> Result<volume::Volume, MediaError> {
    let files: Vec<_> = files.iter().map(|(path, bytes)| VolumeFile { path, bytes }).collect();
    volume::write("OEMDRV", &files, out, &CancellationToken::new())
}

#[track_caller]
fn assert_sound(volume: &Path) {
    let fsck = Command::new("fsck.vfat").args(["-n", "-v"]).arg(volume).output().unwrap();
    let said = String::from_utf8_lossy(&fsck.stdout);
    assert!(fsck.status.success(), "{said}");
    for complaint in ["differ", "not cleanly", "Auto", "wrong", "bad", "Free cluster summary"] {
        assert!(!said.contains(complaint), "{said}");
    }
}

fn mtype(volume: &Path, path: &str) -> Vec<u8> {
    let it = Command::new("mcopy")
        .arg("-i")
        .arg(volume)
        .args([&format!("::/{path}"), "-"])
        .output()
        .unwrap();
    assert!(it.status.success(), "{path}: {}", String::from_utf8_lossy(&it.stderr));
    it.stdout
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_volume_is_sound_and_holds_its_files(
        files in prop::collection::btree_map(paths(), contents(2_000_000), 0..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("volume");
        match write(&files, &out) {
            // Two of the paths were the same but for their case, or one lay in the other.
            Err(MediaError::FileName { .. }) => return Ok(()),
            it => { it.unwrap(); }
        }
        assert_sound(&out);
        for (path, bytes) in &files {
            prop_assert!(mtype(&out, path) == *bytes, "{}", path);
        }
    }

    #[test]
    fn cpio_reads_what_is_added_to_an_initrd(
        initrd in prop::collection::vec(any::<u8>(), 0..50),
        files in prop::collection::btree_map(paths(), contents(20_000), 1..8),
        gzip in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs_err::write(&old, &initrd).unwrap();
        let added: Vec<_> = files
            .iter()
            .map(|(path, bytes)| InitrdFile { path, bytes, mode: 0o640 })
            .collect();
        let packing = if gzip { Packing::Gzip } else { Packing::Plain };
        let cancel = CancellationToken::new();
        let size = match initrd::append(&old, &added, packing, &new, &cancel) {
            Err(MediaError::FileName { .. }) => return Ok(()),
            it => it.unwrap(),
        };
        let bytes = fs_err::read(&new).unwrap();
        prop_assert_eq!(bytes.len() as u64, size);
        prop_assert!(bytes.starts_with(&initrd));
        let start = initrd.len().next_multiple_of(4);
        prop_assert!(bytes[initrd.len()..start].iter().all(|it| *it == 0));
        let archive = if gzip { through(&["gzip", "-dc"], &bytes[start..]) } else { bytes[start..].to_vec() };
        let listed = String::from_utf8(through(&["cpio", "-it", "--quiet"], &archive)).unwrap();
        for path in files.keys() {
            prop_assert!(listed.lines().any(|it| it == path), "{} is not in {}", path, listed);
        }
        let into = folder.path().join("unpacked");
        fs_err::create_dir(&into).unwrap();
        through(&["cpio", "-i", "--quiet", "-D", into.to_str().unwrap()], &archive);
        for (path, bytes) in &files {
            prop_assert!(fs_err::read(into.join(path)).unwrap() == *bytes);
            prop_assert_eq!(into.join(path).metadata().unwrap().mode() & 0o7777, 0o640);
        }
    }
}

fn through(program: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn linux_sees_the_label_as_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("volume");
    for label in ["OEMDRV", "config-2", "cidata", "CIDATA", "AUTOYAST"] {
        volume::write(label, &[], &out, &CancellationToken::new()).unwrap();
        assert_sound(&out);
        let mut blkid = Command::new("blkid");
        let blkid = blkid.args(["-p", "-o", "value", "-s", "LABEL"]).arg(&out).output().unwrap();
        assert_eq!(String::from_utf8(blkid.stdout).unwrap().trim(), label);
    }
}

#[test]
fn a_config_drive_has_the_paths_of_novas() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("drive");
    let user_data = "rootpw hunter2\n".into();
    let (meta_data, network_data) = (serde_json::json!({"uuid": "x"}), serde_json::json!({}));
    let drive = ConfigDrive {
        user_data: &user_data,
        meta_data: &meta_data,
        ec2_meta_data: &meta_data,
        network_data: Some(&network_data),
    };
    assert_eq!(format!("{drive:?}"), "ConfigDrive");
    let first = config_drive::write(&drive, &out, &CancellationToken::new()).unwrap();
    assert_eq!(first, config_drive::write(&drive, &out, &CancellationToken::new()).unwrap());
    assert_sound(&out);
    assert_eq!(out.metadata().unwrap().mode() & 0o777, 0o600);
    for (path, text) in [
        ("openstack/latest/user_data", "rootpw hunter2\n"),
        ("openstack/latest/meta_data.json", r#"{"uuid":"x"}"#),
        ("openstack/latest/network_data.json", "{}"),
        ("ec2/latest/user-data", "rootpw hunter2\n"),
        ("ec2/latest/meta-data.json", r#"{"uuid":"x"}"#),
    ] {
        assert_eq!(String::from_utf8(mtype(&out, path)).unwrap(), text, "{path}");
    }
}

#[test]
fn many_files_in_one_folder_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("volume");
    let name = |i| format!("some/folder-{}/a file with a long name, number {i}", i % 7);
    let files: BTreeMap<_, _> = (0..300u32).map(|i| (name(i), vec![7; 600])).collect();
    write(&files, &out).unwrap();
    assert_sound(&out);
    for (path, bytes) in files.iter().step_by(37) {
        assert_eq!(mtype(&out, path), *bytes);
    }
}
