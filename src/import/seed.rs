//! The command lines of nova-image-builder's programs of 2013 and 2014.
//!
//! `nova-install` named a system and a source, `create_image.py` (also called
//! `imgbuild.py`) an answer file. What their options meant is in the table beside
//! each; what did nothing in them does nothing here, and is said.

use super::{
    Context, ImportError, Imported,
    draft::{self, Draft},
};
use crate::answer;

/// Makes a spec of a command line.
pub(super) fn import(words: &[String], cx: &Context<'_>) -> Result<Imported, ImportError> {
    let Some((program, words)) = words.split_first() else {
        return Err(ImportError::Unknown("an empty command line".to_owned()));
    };
    let name = program.rsplit('/').next().unwrap_or(program);
    match name.trim_end_matches(".py") {
        "nova-install" => nova_install(words, cx),
        "create_image" => create_image(words, cx),
        // `python create_image.py …`
        "python" | "python2" | "python3" if !words.is_empty() => import(words, cx),
        _ => Err(ImportError::Unknown(name.to_owned())),
    }
}

/// What an option takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
}

/// The options that were given, and the other words.
struct Given<'a> {
    options: Vec<(&'static str, &'a str)>,
    rest: Vec<&'a str>,
}

impl<'a> Given<'a> {
    fn read(words: &'a [String], known: &[(&'static str, Takes)]) -> Result<Self, ImportError> {
        let mut given = Self { options: Vec::new(), rest: Vec::new() };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                given.rest.push(word);
                continue;
            }
            let (option, value) =
                word.split_once('=').map_or((word, None), |it| (it.0, Some(it.1)));
            let spelled = option.trim_start_matches('-').replace('_', "-");
            let Some((name, takes)) = known.iter().find(|it| it.0 == spelled) else {
                return Err(ImportError::no_counterpart(
                    format!("the program has no option `{option}`"),
                    format!(
                        "it has {}",
                        known.iter().map(|it| it.0).collect::<Vec<_>>().join(", ")
                    ),
                ));
            };
            let value = match (takes, value) {
                (Takes::Nothing, _) => "",
                (Takes::Value, Some(value)) => value,
                (Takes::Value, None) => words.next().ok_or_else(|| {
                    ImportError::no_counterpart(
                        format!("`{option}` has no value"),
                        "write it behind the option",
                    )
                })?,
            };
            given.options.push((name, value));
        }
        Ok(given)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.options.iter().rev().find(|it| it.0 == name).map(|it| it.1)
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

fn nova_install(words: &[String], cx: &Context<'_>) -> Result<Imported, ImportError> {
    const KNOWN: &[(&str, Takes)] = &[
        ("os", Takes::Value),
        ("os-list", Takes::Nothing),
        ("install-iso", Takes::Value),
        ("install-tree", Takes::Value),
        ("install-script", Takes::Value),
        ("admin-pw", Takes::Value),
        ("license-key", Takes::Value),
        ("arch", Takes::Value),
        ("disk-size", Takes::Value),
        ("instance-flavor", Takes::Value),
        ("name", Takes::Value),
        ("image-storage", Takes::Value),
        ("debug", Takes::Nothing),
        ("direct-boot", Takes::Nothing),
        ("public", Takes::Nothing),
        ("inactivity-timeout", Takes::Value),
        ("request-floating-ip", Takes::Nothing),
    ];
    let given = Given::read(words, KNOWN)?;
    if given.has("os-list") {
        return Err(ImportError::no_counterpart(
            "`--os_list` makes no image",
            "`imgbuild os list` is its counterpart",
        ));
    }
    let Some(id) = given.get("os") else {
        return Err(ImportError::no_counterpart(
            "`nova-install` without `--os`",
            "it always needed one; `imgbuild os list` shows what there is",
        ));
    };
    let os = draft::system(&[id, &dashed(id)], cx)?;
    let arch = draft::arch(given.get("arch").unwrap_or_default())?;
    let mut draft = Draft::new(given.get("name").unwrap_or("new-image"), os, arch, &[])?;
    match (given.get("install-tree"), given.get("install-iso")) {
        (Some(_), Some(_)) => {
            return Err(ImportError::no_counterpart(
                "`--install_tree` and `--install_iso` exclude each other",
                "leave one of them out",
            ));
        }
        (Some(tree), None) => draft.set("source.tree.url", tree),
        (None, Some(iso)) => draft.set("source.iso.location", iso),
        (None, None) => {}
    }
    if let Some(path) = given.get("install-script") {
        let text = required(path, cx)?;
        draft.answer_with_password(path, &text, cx);
    } else {
        draft.built_in_template()?;
        if given.has("admin-pw") {
            draft.set("variables.root_password.description", "The password of `--admin_pw`");
            draft.set("variables.root_password.sensitive", true);
            draft.note("the password is not written down: set IMGBUILD_VAR_root_password");
        }
    }
    disk(given.get("disk-size").unwrap_or("10"), &mut draft)?;
    if given.has("disk-size") {
        draft.note("`--disk_size` is in effect now; nova-install always took 10");
    }
    flavor(&given, &mut draft);
    if given.has("direct-boot") {
        draft.set("install.boot", "direct");
    }
    if let Some(seconds) = given.get("inactivity-timeout") {
        let seconds: u64 = seconds.parse().map_err(|_| {
            ImportError::no_counterpart(
                "`--inactivity_timeout` is no number of seconds",
                "write a number",
            )
        })?;
        draft.set("install.idle", format!("{}s", seconds.max(60)));
    }
    // The result was called so.
    let result = format!("{}-jeos", given.get("name").unwrap_or("new-image"));
    match given.get("image-storage") {
        Some("cinder") => draft.set("target.volume.name", result),
        other => {
            draft.set("target.glance.name", result);
            if given.has("public") {
                draft.set("target.glance.visibility", "public");
            }
            if other == Some("both") {
                draft.note(
                    "`--image_storage both`: the image goes to Glance only, as it always did",
                );
            }
        }
    }
    for (option, note) in [
        ("license-key", "`--license_key` is left out: put it into the answer file"),
        (
            "request-floating-ip",
            "`--request_floating_ip`: name the network it is taken from in `platform.openstack.floating-ip`",
        ),
        ("debug", "`--debug` is left out: every build keeps its logs"),
    ] {
        if given.has(option) {
            draft.note(note);
        }
    }
    draft.finish("a `nova-install` command line")
}

fn create_image(words: &[String], cx: &Context<'_>) -> Result<Imported, ImportError> {
    const KNOWN: &[(&str, Takes)] = &[
        ("auth-url", Takes::Value),
        ("username", Takes::Value),
        ("tenant", Takes::Value),
        ("password", Takes::Value),
        ("glance-url", Takes::Value),
        ("root-password", Takes::Value),
        ("create-volume", Takes::Nothing),
        ("install-volume-size", Takes::Value),
        ("install-tree-url", Takes::Value),
        ("distro", Takes::Value),
        ("image-name", Takes::Value),
        ("leave-mess", Takes::Nothing),
        ("install-media-url", Takes::Value),
        ("install-media-file", Takes::Value),
        ("install-media-snapshot", Takes::Value),
    ];
    let given = Given::read(words, KNOWN)?;
    let [path] = given.rest.as_slice() else {
        return Err(ImportError::no_counterpart(
            "`create_image.py` names not one answer file",
            "it takes a kickstart or a preseed",
        ));
    };
    let text = required(path, cx)?;
    let inspection = answer::inspect(path, &text, cx.catalogue);
    let tree = given.get("install-tree-url");
    let stated = inspection.os_id().unwrap_or_default();
    let os = draft::system(&[&stated, tree.unwrap_or_default(), path], cx)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.rsplit_once('.').map_or(name, |it| it.0);
    let mut draft = Draft::new(given.get("image-name").unwrap_or(name), os, draft::arch("")?, &[])?;
    if given.has("install-media-snapshot") {
        return Err(ImportError::no_counterpart(
            "`--install-media-snapshot` is of a cloud that nobody knows any more",
            "name the ISO itself with `--install-media-url` or `--install-media-file`",
        ));
    }
    let medium = given.get("install-media-url").or(given.get("install-media-file"));
    let stated_tree = inspection.tree.map(|it| it.value);
    match (medium, tree.map(str::to_owned).or(stated_tree)) {
        (Some(iso), _) => draft.set("source.iso.location", iso),
        (None, Some(tree)) => draft.set("source.tree.url", tree),
        (None, None) => {}
    }
    draft.answer_with_password(path, &text, cx);
    disk(given.get("install-volume-size").unwrap_or("10"), &mut draft)?;
    flavor(&given, &mut draft);
    let result = given.get("image-name").map_or_else(|| draft.name.clone(), str::to_owned);
    if given.has("create-volume") {
        draft.set("target.volume.name", result);
    } else {
        draft.set("target.glance.name", result);
        draft.set("target.glance.visibility", "public");
        draft.note("the image is public, as create_image.py made it; that is more than most need");
    }
    if ["auth-url", "username", "tenant", "password", "glance-url"].iter().any(|it| given.has(it)) {
        draft.note("credentials are not written down: they come from `clouds.yaml` or OS_…");
    }
    if given.has("leave-mess") {
        draft.note("`--leave-mess` is `imgbuild build --on-error keep`");
    }
    draft.finish("a `create_image.py` command line")
}

fn flavor(given: &Given<'_>, draft: &mut Draft) {
    draft.section("platform.openstack");
    if let Some(flavor) = given.get("instance-flavor") {
        draft.set("platform.openstack.flavor", flavor);
    } else {
        draft.note("the flavor was `2` where none was named; now it is the smallest that fits");
    }
}

fn disk(size: &str, draft: &mut Draft) -> Result<(), ImportError> {
    let size = draft::size(size, "GiB").ok_or_else(|| {
        ImportError::no_counterpart(format!("`{size}` is no size of a disk"), "write gibibytes")
    })?;
    draft.set("install.disk", size);
    Ok(())
}

fn required(path: &str, cx: &Context<'_>) -> Result<String, ImportError> {
    cx.files.read(path).ok_or_else(|| {
        ImportError::no_counterpart(
            format!("there is no answer file `{path}`"),
            "its path counts from the working directory",
        )
    })
}

/// libosinfo's `fedora20` in the words of the catalogue.
fn dashed(id: &str) -> String {
    let digit = id.find(|c: char| c.is_ascii_digit()).unwrap_or(id.len());
    let (family, version) = id.split_at(digit);
    format!("{}-{version}", family.trim_end_matches('-'))
}
