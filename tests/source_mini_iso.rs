//! The `mini.iso` of debian-installer: kernel and initrd at its root, and no
//! package, so that the answer file names a mirror as for a tree.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{process::Command, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use imgbuild::{
    CancellationToken,
    catalogue::{Catalogue, Dialect, Os},
    engine::{Event, Teller},
    guard::Guard,
    installer,
    model::{Arch, Build},
    render::{self, Extras},
    source::{Cache, FetchCx, fetch},
    spec::{Mode, check_text, document::Syntax, variables::Inputs},
};
use tokio::sync::mpsc::unbounded_channel;

/// How images name their files, and what they are called where nobody says.
const FORMS: &[(&[&str], &str)] = &[
    (&["-R", "-J"], "ISOIMAGE"),
    (&["--norock", "-J"], "CDROM"),
    (&["--norock", "-iso-level", "1"], "ISOIMAGE"),
    (&["-R", "-b", "boot.img", "-c", "boot.cat", "-no-emul-boot"], "ISOIMAGE"),
];

struct Templates;

impl render::TemplateLoader for Templates {
    fn load(&self, name: &str) -> Option<String> {
        fs_err::read_to_string(format!("{}/templates/{name}", env!("CARGO_MANIFEST_DIR"))).ok()
    }
}

/// A `mini.iso`; `None` where there is no xorriso.
fn mini(folder: &Utf8Path, options: &[&str], volume_id: &str) -> Option<Utf8PathBuf> {
    let tree = folder.join("tree");
    fs_err::create_dir_all(tree.join("boot/grub")).unwrap();
    for (path, body) in [
        ("linux", "kernel"),
        ("initrd.gz", "initrd"),
        ("boot.img", "loader"),
        ("boot/grub/grub.cfg", "menu"),
    ] {
        fs_err::write(tree.join(path), body).unwrap();
    }
    let out = folder.join("mini.iso");
    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-V", volume_id, "-o", out.as_str()]).args(options);
    let Ok(made) = xorriso.arg(&tree).output() else {
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("skipped: xorriso is not installed");
        }
        return None;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(out)
}

fn build(os: &Os, iso: &Utf8Path, catalogue: &Catalogue) -> Build {
    let text = format!(
        "version = 1\nname = \"mini\"\nos = \"{}\"\n[source.iso]\nlocation = \"{iso}\"\n",
        os.id
    );
    let inputs = Inputs::default();
    match check_text("mini.toml", &text, Syntax::Toml, &inputs, catalogue, Mode::Build) {
        Ok(checked) => checked.build,
        Err(errors) => panic!("{}: {:?}", os.id, errors.reports()),
    }
}

/// The systems that debian-installer installs.
fn systems(catalogue: &Catalogue) -> Vec<Arc<Os>> {
    let all = catalogue.ids().into_iter().filter_map(|it| catalogue.get(&it));
    all.filter(|it| it.dialect == Dialect::Preseed).collect()
}

#[tokio::test]
async fn kernel_and_initrd_of_a_mini_iso_are_found_at_its_root() {
    let catalogue = Catalogue::built_in();
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(folder.path()).unwrap();
    let guard = Guard::new(env!("CARGO_BIN_EXE_imgbuild").into());
    for (options, volume_id) in FORMS {
        let Some(iso) = mini(folder, options, volume_id) else { return };
        for os in systems(&catalogue) {
            let (sender, mut told) = unbounded_channel();
            let cx = FetchCx::new(guard.clone(), Teller::new(sender), CancellationToken::new());
            let build = build(&os, &iso, &catalogue);
            let cache = Cache::new(folder.join("cache"));
            let files = fetch(&build.source, &os, Arch::X86_64, &cache, &cx.unwrap())
                .await
                .unwrap_or_else(|it| panic!("{} {options:?}: {it}", os.id));
            assert_eq!(fs_err::read(&files.kernel.path).unwrap(), b"kernel", "{}", os.id);
            assert_eq!(fs_err::read(&files.initrd.path).unwrap(), b"initrd", "{}", os.id);
            assert_eq!(files.iso.as_deref(), Some(&*iso), "the machine gets it as its CD-ROM");
            while let Ok(event) = told.try_recv() {
                assert!(!matches!(event, Event::Said { .. }), "{}: {event:?}", os.id);
            }
        }
    }
}

#[test]
fn without_packages_on_the_medium_the_answer_file_names_the_public_mirror() {
    let catalogue = Catalogue::built_in();
    for os in systems(&catalogue) {
        let build = build(&os, "mini.iso".into(), &catalogue);
        let loader: Arc<dyn render::TemplateLoader> = Arc::new(Templates);
        let answer = render::answer_file(&build, &loader, &Extras { ssh_public_key: None });
        let answer = answer.unwrap().expose().to_owned();
        let tree = os.tree_url(Arch::X86_64).unwrap();
        let (protocol, rest) = tree.split_once("://").unwrap();
        let (host, folder) = rest.split_once('/').unwrap();
        for line in [
            format!("d-i mirror/{protocol}/hostname string {host}\n"),
            format!("d-i mirror/{protocol}/directory string /{folder}\n"),
        ] {
            assert!(answer.contains(&line), "{}: no {line}{answer}", os.id);
        }
        let sources = answer.lines().filter(|it| it.contains("echo 'deb http"));
        for line in sources.filter(|_| host.starts_with("archive.")) {
            assert!(line.contains(host), "{}: {line}", os.id);
        }
        let line = installer::kernel_command_line(&build, &installer::context(&build)).unwrap();
        assert!(!line.text().contains("mini.iso"), "{}", line.text());
    }
}
