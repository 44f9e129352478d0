//! What a preseed says of the build.

use std::{ops::Range, sync::Arc};

use crate::{
    answer::{
        hints,
        inspection::{End, Inspection, Password, RemoteView, Stated},
        kickstart::hints_in_comments,
        residue,
        text::lines,
    },
    catalogue::{Catalogue, Dialect, Os},
};

use super::parse::Preseed;

/// Whether a text is a preseed.
pub(crate) fn is_preseed(text: &str) -> bool {
    const KINDS: &[&str] = &[
        "string",
        "boolean",
        "select",
        "multiselect",
        "note",
        "password",
        "text",
        "error",
        "seen",
    ];
    lines(text).take(5000).any(|line| {
        let mut words = line.text.split_whitespace();
        let (first, second, third) = (words.next(), words.next(), words.next());
        line.text.starts_with("#_preseed_V1")
            || (matches!(first, Some("d-i" | "tasksel" | "popularity-contest" | "ubiquity"))
                && second.is_some_and(|it| it.contains('/'))
                && third.is_some_and(|it| KINDS.contains(&it)))
    })
}

/// What it states.
pub(crate) fn inspect(inspection: &mut Inspection, text: &str, catalogue: &Catalogue) {
    let preseed = Preseed::parse(text);
    let base_url = base_url(text);
    tree(&preseed, base_url.as_ref(), inspection, text);
    system(&preseed, base_url.as_ref(), inspection, text, catalogue);
    passwords(&preseed, inspection, text);
    if let Some(answer) = preseed.get("network-console/password") {
        let view = RemoteView::WaitingSsh;
        let by = answer.question.text.clone();
        inspection.remote.push(Stated::new(view, text, answer.span.clone(), by));
    } else if let Some(answer) = preseed.get("anna/choose_modules")
        && answer.value.contains("network-console")
    {
        let by = answer.question.text.clone();
        inspection.remote.push(Stated::new(RemoteView::WaitingSsh, text, answer.span.clone(), by));
    }
    end(&preseed, inspection, text);
    for question in ["preseed/include", "preseed/include_command", "preseed/run"] {
        if let Some(answer) = preseed.get(question).filter(|it| !it.value.is_empty()) {
            let stated = Stated::new(answer.value.clone(), text, answer.span.clone(), question);
            inspection.includes.push(stated);
        }
    }
}

/// `#ubuntu_baseurl=URL`, which told a tool of 2013 where the tree is.
fn base_url(text: &str) -> Option<(String, Range<usize>)> {
    lines(text).find_map(|line| {
        let url = line.text.strip_prefix("#ubuntu_baseurl=")?.split_whitespace().next()?;
        Some((url.to_owned(), line.trimmed_span()))
    })
}

/// The mirror's base, `http://ftp.debian.org/debian`.
fn tree(
    preseed: &Preseed,
    base_url: Option<&(String, Range<usize>)>,
    inspection: &mut Inspection,
    text: &str,
) {
    if let Some((url, span)) = base_url {
        let mirror = url.split_once("/dists/").map_or(url.as_str(), |it| it.0);
        let mirror = mirror.trim_end_matches('/').to_owned();
        inspection.tree = Some(Stated::new(mirror, text, span.clone(), "#ubuntu_baseurl"));
        return;
    }
    let protocol = preseed.get("mirror/protocol").map_or("http", |it| it.value.as_str());
    let find = |protocol: &str, what: &str| {
        let get = |what: &str| preseed.get(&format!("mirror/{protocol}/{what}"));
        // One of the list of a country, which is a host as well.
        let chosen = || get("mirror").filter(|it| it.value.contains('.'));
        get(what).or_else(|| (what == "hostname").then(chosen).flatten())
    };
    let protocol = ["http", "https", "ftp"]
        .into_iter()
        .find(|it| *it == protocol && find(it, "hostname").is_some())
        .or_else(|| ["http", "https", "ftp"].into_iter().find(|it| find(it, "hostname").is_some()));
    let Some(protocol) = protocol else { return };
    let Some(host) = find(protocol, "hostname") else { return };
    let directory = find(protocol, "directory").map_or("", |it| it.value.as_str());
    let directory = match directory {
        "" if host.value.contains("ubuntu") => "ubuntu",
        "" => "debian",
        it => it.trim_matches('/'),
    };
    // `http://` before the host is a common slip, and the installer takes it.
    let bare = host.value.split_once("://").map_or(host.value.as_str(), |it| it.1);
    let url = format!("{protocol}://{}/{directory}", bare.trim_matches('/'));
    let is_final = residue::find(&url).is_none() && !url.contains(['$', ' ', '<']);
    let stated =
        |value: String| Stated::new(value, text, host.span.clone(), host.question.text.clone());
    if is_final && !bare.is_empty() {
        inspection.tree = Some(stated(url));
    } else {
        inspection.doubts.push(stated("the mirror is not filled in".to_owned()));
    }
}

fn system(
    preseed: &Preseed,
    base_url: Option<&(String, Range<usize>)>,
    inspection: &mut Inspection,
    text: &str,
    catalogue: &Catalogue,
) {
    let dialect = Dialect::Preseed;
    for question in ["mirror/suite", "mirror/codename", "mirror/udeb/suite"] {
        let Some(answer) = preseed.get(question).filter(|it| !it.value.is_empty()) else {
            continue;
        };
        let stated = Stated::new(answer.value.clone(), text, answer.span.clone(), question);
        inspection.suite.get_or_insert(stated);
        if let Some(os) = hints::of_codename(&answer.value, dialect, catalogue)
            .or_else(|| hints::named(&answer.value, dialect, catalogue))
        {
            inspection.state_os(&os, text, answer.span.clone(), question.to_owned());
            return;
        }
        // `stable` and `testing` mean another release each year.
        let doubt = format!("the suite `{}` is no release of its own", answer.value);
        inspection.doubts.push(Stated::new(doubt, text, answer.span.clone(), question));
    }
    if let Some((url, span)) = base_url
        && let Some(os) = hints::of_url(url, dialect, catalogue)
    {
        inspection.state_os(&os, text, span.clone(), "#ubuntu_baseurl".to_owned());
        return;
    }
    if let Some((os, span)) = of_repositories(preseed, catalogue) {
        inspection.state_os(&os, text, span, "a repository".to_owned());
        return;
    }
    hints_in_comments(inspection, text, dialect, catalogue);
    // A Debian's comment in a file for an Ubuntu mirror says nothing, and the
    // other way round.
    let is_named = inspection.os.as_ref().is_some_and(|it| it.line == 0);
    let family = family(inspection, preseed, is_named);
    let other = inspection.os.as_ref().and_then(|it| catalogue.get(&it.value));
    if let (Some(family), Some(os)) = (family, other)
        && os.family != family
    {
        inspection.os = None;
    }
}

/// Whose mirror it is, where that shows. Questions of one family are copied into
/// files of the other, so they count for less than the file's name.
fn family(inspection: &Inspection, preseed: &Preseed, is_named: bool) -> Option<&'static str> {
    let url = inspection.tree.as_ref().map_or("", |it| it.value.as_str());
    let is_of = |word: &str| url.contains(word);
    let asks = |start: &str| preseed.answers.iter().any(|it| it.question.text.starts_with(start));
    if is_of("ubuntu") {
        Some("ubuntu")
    } else if is_of("debian") {
        Some("debian")
    } else if !is_named
        && ["ubiquity/", "pkgsel/language-packs", "user-setup/encrypt-home"]
            .iter()
            .any(|it| asks(it))
    {
        Some("ubuntu")
    } else {
        None
    }
}

/// The suite of an additional repository: `deb http://… trixie-backports main`.
fn of_repositories(preseed: &Preseed, catalogue: &Catalogue) -> Option<(Arc<Os>, Range<usize>)> {
    preseed.answers.iter().find_map(|answer| {
        let question = &answer.question.text;
        if !(question.starts_with("apt-setup/local") && question.ends_with("/repository")) {
            return None;
        }
        let mut words = answer.value.split_whitespace().filter(|it| *it != "deb");
        let (url, suite) = (words.next()?, words.next()?);
        let os = hints::of_codename(suite, Dialect::Preseed, catalogue)?;
        (url.contains("debian") || url.contains("ubuntu")).then(|| (os, answer.span.clone()))
    })
}

fn passwords(preseed: &Preseed, inspection: &mut Inspection, text: &str) {
    let name = preseed.get("passwd/username").map_or("the user", |it| it.value.as_str());
    for (question, of, is_plain) in [
        ("passwd/root-password", "root", true),
        ("passwd/root-password-crypted", "root", false),
        ("passwd/user-password", name, true),
        ("passwd/user-password-crypted", name, false),
        ("network-console/password", "the installer's SSH server", true),
        ("grub-installer/password", "the boot loader", true),
        ("grub-installer/password-crypted", "the boot loader", false),
        ("partman-crypto/passphrase", "the disk's encryption", true),
    ] {
        let Some(answer) = preseed.get(question) else { continue };
        if matches!(answer.value.as_str(), "" | "!" | "*" | "!!") {
            continue;
        }
        let password = Password { of: of.to_owned(), is_plain };
        inspection.passwords.push(Stated::new(password, text, answer.span.clone(), question));
    }
}

/// How it ends: as `debian-installer/exit-command` decides, in its order.
fn end(preseed: &Preseed, inspection: &mut Inspection, text: &str) {
    for (question, end) in [
        ("debian-installer/exit/always_halt", End::Halt),
        ("debian-installer/exit/halt", End::Halt),
        ("debian-installer/exit/poweroff", End::Poweroff),
    ] {
        if preseed.is_true(question)
            && let Some(answer) = preseed.get(question)
        {
            let stated = Stated::new(end, text, answer.span.clone(), question);
            inspection.end.get_or_insert(stated);
        }
    }
    if inspection.end.is_none() {
        let by = "no `debian-installer/exit/poweroff`".to_owned();
        inspection.end = Some(Stated { value: End::Reboot, line: 1, span: 0..0, by });
    }
}
