//! Oz's TDL: an image in XML.
//!
//! `name`, `os` with `install`, `disk`; what `oz-customize` would do after the
//! installation, `packages`, `repositories`, `files` and `commands`, is done by
//! the installer at its end.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    Context, ImportError, Imported,
    draft::{self, Draft},
};
use crate::{
    answer::{Element, parse_xml},
    catalogue::Dialect,
};

/// Makes a spec of a TDL.
pub(super) fn import(name: &str, text: &str, cx: &Context<'_>) -> Result<Imported, ImportError> {
    let (root, wrong) = match parse_xml(text) {
        Ok(root) => (root, None),
        Err((at, message)) => (Element::default(), Some((at, message))),
    };
    if let Some((at, message)) = wrong {
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        return Err(ImportError::Syntax { name: name.to_owned(), line, message });
    }
    if root.name != "template" {
        return Err(ImportError::Unknown(name.to_owned()));
    }
    let value = |path: &[&str]| root.find(path).map(|it| it.text.clone()).unwrap_or_default();
    let required = |path: &[&str]| {
        let found = value(path);
        if found.is_empty() {
            let path = path.join("/");
            return Err(ImportError::no_counterpart(
                format!("`{name}` has no `{path}`, which every TDL has"),
                "add it to the file",
            )
            .about(format!("<{}>", path.split('/').next().unwrap_or_default())));
        }
        Ok(found)
    };
    let image = required(&["name"])?;
    let distro = required(&["os", "name"])?;
    let version = required(&["os", "version"])?;
    let arch = draft::arch(&required(&["os", "arch"])?).map_err(|it| it.about("<arch>"))?;
    let words = format!("{distro}-{}", version.to_ascii_lowercase().replace(".0-", "-"));
    let os = draft::system(&[&format!("{distro} {version}"), &words.to_ascii_lowercase()], cx)
        .map_err(|it| it.about("<os>"))?;
    let mut draft = Draft::new(&image, os, arch, &[]).map_err(|it| it.about("<arch>"))?;
    if let Some(about) = root.find(&["description"]).filter(|it| !it.text.is_empty()) {
        draft.note(about.text.clone());
    }
    source(&root, &mut draft)?;
    let disk = value(&["disk", "size"]);
    if disk.is_empty() {
        draft.set("install.disk", "10 GiB");
    } else {
        let size = draft::size(&disk, "GiB").ok_or_else(|| {
            ImportError::no_counterpart(
                format!("`disk/size` is `{disk}`, which is no size"),
                "write a number of gibibytes, or one with M, G or T",
            )
            .about("<disk")
        })?;
        draft.set("install.disk", size);
    }
    draft.built_in_template()?;
    password(&root, &mut draft);
    customise(&root, &mut draft)?;
    draft.finish("an Oz TDL")
}

fn source(root: &Element, draft: &mut Draft) -> Result<(), ImportError> {
    let Some(install) = root.find(&["os", "install"]) else {
        return Err(ImportError::no_counterpart(
            "the TDL has no `os/install`",
            "add it: `<install type='url'><url>…</url></install>`",
        )
        .about("<os>"));
    };
    let kind = install.attribute("type").unwrap_or_default();
    let location = install.find(&[kind]).map(|it| it.text.clone()).unwrap_or_default();
    if location.is_empty() {
        return Err(ImportError::no_counterpart(
            format!("`os/install` of type `{kind}` names no location"),
            "Oz installs from `url` and `iso`; name one of them",
        )
        .about("<install"));
    }
    let plain = location.strip_prefix("file://").map_or(location.as_str(), |it| it);
    match kind {
        "url" => {
            // For Debian and Ubuntu Oz names the mirror, as specs do.
            draft.set("source.tree.url", location.clone());
        }
        "iso" => draft.set("source.iso.location", plain),
        other => {
            return Err(ImportError::no_counterpart(
                format!("`os/install` is of type `{other}`"),
                "Oz installs from `url` and `iso`; name one of them",
            )
            .about("<install"));
        }
    }
    for (element, digest) in [("md5sum", "md5"), ("sha1sum", "sha1"), ("sha256sum", "sha256")] {
        let Some(stated) = install.find(&[element]) else { continue };
        if digest == "sha1" {
            draft.note("`sha1sum` is not checked: SHA-1 proves nothing");
        } else if kind == "iso" {
            let file = stated.text.strip_prefix("file://").map_or(stated.text.as_str(), |it| it);
            draft.set("source.iso.checksum-file", file);
        } else {
            draft.note(format!("`{element}` is of an ISO, and this installs from a tree"));
        }
    }
    if install.find(&["initrd"]).is_some() || install.find(&["kernel"]).is_some() {
        draft.note("`kernel` and `initrd` are left out: the tree's own are used");
    }
    if root.find(&["os", "key"]).is_some_and(|it| !it.text.is_empty()) {
        draft.note("the product key is left out");
    }
    Ok(())
}

/// Oz sets a root password that is written in the file, and a known one where
/// there is none. Here it comes from outside.
fn password(root: &Element, draft: &mut Draft) {
    if root.find(&["os", "rootpw"]).is_some() {
        draft.set("variables.root_password.description", "Root's password, in the TDL `rootpw`");
        draft.set("variables.root_password.sensitive", true);
        draft.note("the root password is not written down: set IMGBUILD_VAR_root_password");
    } else {
        draft.note("root has no password; Oz's default was a known one. Set `root_password` or `ssh_authorized_keys`");
    }
}

fn customise(root: &Element, draft: &mut Draft) -> Result<(), ImportError> {
    let named = |it: &Element| it.attribute("name").unwrap_or_default().to_owned();
    let list = |outer: &str, inner: &str| -> Vec<Element> {
        let outer = root.find(&[outer]);
        let all = outer.map(|it| it.children.as_slice()).unwrap_or_default();
        all.iter().filter(|it| it.name == inner).cloned().collect()
    };
    let packages: Vec<_> = list("packages", "package").iter().map(named).collect();
    if packages.iter().any(String::is_empty) {
        return Err(
            ImportError::no_counterpart("a `package` has no `name`", "name it").about("<package")
        );
    }
    if !packages.is_empty() {
        let packages: Vec<_> = packages.iter().map(|it| draft::literal(it)).collect();
        draft.set("answer.values.packages", packages);
    }
    let mut commands = Vec::new();
    for repository in list("repositories", "repository") {
        let name = named(&repository);
        let url = repository.find(&["url"]).map(|it| it.text.clone()).unwrap_or_default();
        if name.is_empty() || url.is_empty() {
            return Err(ImportError::no_counterpart(
                "a `repository` has no name or no `url`",
                "give it both",
            )
            .about("<repository"));
        }
        let signed = repository.find(&["signed"]).is_some_and(|it| it.text == "yes");
        match repository_command(draft.os.dialect, &name, &url, signed) {
            Some(command) => commands.push(command),
            None => draft.note(format!("the repository `{name}` is left out: {url}")),
        }
    }
    for file in list("files", "file") {
        commands.push(write_file(&file, draft)?);
    }
    commands.extend(positioned(list("commands", "command"), draft)?);
    commands.retain(|it| !it.is_empty());
    if !commands.is_empty() {
        draft.set("answer.values.late_commands", commands);
        draft.note("files, repositories and commands are done by the installer at its end, not in the booted system");
    }
    Ok(())
}

fn repository_command(dialect: Dialect, name: &str, url: &str, signed: bool) -> Option<String> {
    let text = match dialect {
        Dialect::Kickstart => {
            let check = u8::from(signed);
            let file: String =
                name.chars().map(|it| if it.is_alphanumeric() { it } else { '_' }).collect();
            let text =
                format!("[{file}]\nname={name}\nbaseurl={url}\nenabled=1\ngpgcheck={check}\n");
            return Some(decoded(&text, &format!("/etc/yum.repos.d/{file}.repo")));
        }
        Dialect::Autoyast => {
            format!("zypper --non-interactive addrepo {} {}", quoted(url), quoted(name))
        }
        _ => return None,
    };
    Some(draft::literal(&text))
}

fn write_file(file: &Element, draft: &mut Draft) -> Result<String, ImportError> {
    let Some(path) = file.attribute("name").filter(|it| it.starts_with('/')) else {
        return Err(ImportError::no_counterpart(
            "a `file` has no `name` with its path",
            "name the place it is written to",
        )
        .about("<file"));
    };
    Ok(match content(file, path)? {
        Content::Text(text) => decoded(&text, path),
        Content::Url(url) => {
            draft.note(format!(
                "`{path}` comes from {url}, which is left out: fetch it in `late_commands`"
            ));
            String::new()
        }
    })
}

/// Commands in the order of their positions, those without one after them.
fn positioned(commands: Vec<Element>, draft: &mut Draft) -> Result<Vec<String>, ImportError> {
    let mut ordered: Vec<(u32, String)> = Vec::new();
    for command in commands {
        let name = command.attribute("name").unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(ImportError::no_counterpart("a `command` has no `name`", "name it")
                .about("<command"));
        }
        let place = command.attribute("position").map_or(Ok(u32::MAX), str::parse);
        let Ok(place) = place else {
            return Err(ImportError::no_counterpart(
                format!("the position of the command `{name}` is no number"),
                "write a number from 1",
            )
            .about(name.as_str()));
        };
        if place != u32::MAX && ordered.iter().any(|it| it.0 == place) {
            return Err(ImportError::no_counterpart(
                format!("two commands have the position {place}"),
                "give each a position of its own",
            )
            .about(name.as_str()));
        }
        match content(&command, &name)? {
            Content::Text(text) => ordered.push((place, one_line(&text))),
            Content::Url(url) => {
                draft.note(format!("the command `{name}` is left out: it is at {url}"));
            }
        }
    }
    ordered.sort_by_key(|it| it.0);
    Ok(ordered.into_iter().map(|it| it.1).collect())
}

enum Content {
    Text(String),
    Url(String),
}

fn content(element: &Element, name: &str) -> Result<Content, ImportError> {
    match element.attribute("type").unwrap_or("raw") {
        "raw" => Ok(Content::Text(unescaped(&element.text))),
        "url" => Ok(Content::Url(element.text.trim().to_owned())),
        "base64" => {
            let packed: String = element.text.split_whitespace().collect();
            let bytes = BASE64_STANDARD.decode(packed).ok();
            let text = bytes.and_then(|it| String::from_utf8(it).ok());
            text.map(Content::Text).ok_or_else(|| {
                ImportError::no_counterpart(
                    format!("`{name}` is no text in base64"),
                    "only text can be carried over",
                )
                .about(name)
            })
        }
        other => Err(ImportError::no_counterpart(
            format!("`{name}` is of type `{other}`"),
            "Oz knows `raw`, `base64` and `url`",
        )
        .about(name)),
    }
}

/// A command on one line: answer files cannot take others everywhere.
fn one_line(text: &str) -> String {
    let text = text.trim();
    // What looks like a template's mark is one to the checks of the answer file.
    if text.lines().count() <= 1 && !text.starts_with("#!") && draft::literal(text) == text {
        return text.to_owned();
    }
    let packed = BASE64_STANDARD.encode(format!("{text}\n"));
    format!(
        "f=$(mktemp) && echo {packed} | base64 -d >$f && chmod +x $f && {}; r=$?; rm -f $f; test $r = 0",
        if text.starts_with("#!") { "$f" } else { "sh -e $f" }
    )
}

fn decoded(text: &str, path: &str) -> String {
    format!("echo {} | base64 -d > {}", BASE64_STANDARD.encode(text), draft::literal(&quoted(path)))
}

fn quoted(text: &str) -> String {
    shell_words::quote(text).into_owned()
}

/// The five entities that every XML has.
fn unescaped(text: &str) -> String {
    quick_xml::escape::unescape(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}
