//! What is wrong with a kickstart, for its release.

use crate::{
    answer::{finding::Gatherer, inspection::Inspection},
    catalogue::Os,
    units::Size,
};

use super::{
    arguments::{self, BadArgument},
    commands::{Fate, Known, Parser, Release, SectionForm, is_known_anywhere},
    parse::{Command, Kickstart},
    rules::{self, Place, Seen},
    words::Unended,
};

/// What is wrong with it.
pub(crate) fn lint(
    inspection: &Inspection,
    os: Option<&Os>,
    disk: Option<Size>,
    text: &str,
    gatherer: &mut Gatherer<'_>,
) {
    let kickstart = Kickstart::parse(text);
    let release = os.and_then(|it| it.dialect_version.as_deref()).and_then(Release::named);
    let title = os.map_or("any release", |it| it.title.as_str());
    for (span, unended) in &kickstart.unended {
        let message = match unended {
            Unended::Quote => "a quotation mark is not closed",
            Unended::Escape => "the line ends with a backslash, which joins nothing here",
        };
        gatherer.error("kickstart::quotes", span.clone(), message, "");
    }
    let mut seen = Seen::default();
    for command in &kickstart.commands {
        match release {
            Some(release) => one(command, release, title, &mut seen, gatherer),
            None if !is_known_anywhere(&command.name.text) => {
                unknown(command, None, title, gatherer);
            }
            None => {}
        }
    }
    sections(&kickstart, release, title, gatherer);
    whole(&kickstart, inspection, disk, gatherer);
}

fn one(
    command: &Command,
    release: Release,
    title: &str,
    seen: &mut Seen,
    gatherer: &mut Gatherer<'_>,
) {
    let name = command.name.text.as_str();
    let Some(known) = release.command(name) else {
        unknown(command, Some(release), title, gatherer);
        return;
    };
    seen.add(name);
    match known.fate {
        Some(Fate::Removed) => {
            gatherer.error(
                "kickstart::removed-command",
                command.span.clone(),
                format!("{title} has no `{name}` any more"),
                "leave the line out",
            );
            return;
        }
        Some(Fate::Deprecated) => {
            gatherer.warning(
                "kickstart::deprecated-command",
                command.span.clone(),
                format!("`{name}` does nothing in {title}"),
                "leave the line out; a later release refuses it",
            );
            return;
        }
        None => {}
    }
    for (message, at) in rules::discouraged(name, &known, &command.arguments) {
        let span = at.unwrap_or_else(|| command.span.clone());
        gatherer.warning("kickstart::deprecated-soon", span, message, "");
    }
    let Some(parser) = known.parser else {
        if rules::takes_nothing(name)
            && let Some(word) = command.arguments.first()
        {
            let message = format!("`{name}` of {title} takes no options and no arguments");
            gatherer.error("kickstart::options", word.span.clone(), message, "");
        }
        return;
    };
    if let Some(given) = read(command, parser, &known, title, gatherer)
        && let Some(broken) = rules::broken(name, &known, parser, &given, seen)
    {
        let span = match broken.place {
            Place::Command => command.span.clone(),
            Place::Word(span) => span,
        };
        if broken.is_warning {
            gatherer.warning("kickstart::doubtful", span, broken.message, "");
        } else {
            gatherer.error("kickstart::options", span, broken.message, "");
        }
    }
}

/// Reads a command's options; what is wrong with them is told.
fn read(
    command: &Command,
    parser: &'static Parser,
    known: &Known,
    title: &str,
    gatherer: &mut Gatherer<'_>,
) -> Option<arguments::Given> {
    let name = command.name.text.as_str();
    let mut given = match arguments::read(parser, &command.arguments) {
        Ok(given) => given,
        Err(BadArgument { message, word }) => {
            let span = word.map_or_else(|| command.span.clone(), |it| it.span);
            gatherer.error("kickstart::options", span, format!("`{name}`: {message}"), "");
            return None;
        }
    };
    for (option, word) in &given.deprecated {
        gatherer.warning(
            "kickstart::deprecated-option",
            word.span.clone(),
            format!("`{name} {option}` does nothing in {title}"),
            "leave it out; a later release refuses it",
        );
    }
    if rules::takes_more(name) {
        let (options, more) = given.unknown.drain(..).partition(|it| it.text.starts_with('-'));
        given.unknown = options;
        given.positional.extend::<Vec<_>>(more);
    }
    if let Some(word) = given.unknown.first() {
        if known.is_a("FC3_ZeroMbr") && !known.is_a("F9_ZeroMbr") {
            gatherer.warning(
                "kickstart::deprecated-option",
                word.span.clone(),
                "`zerombr` takes no argument any more",
                "",
            );
            return Some(given);
        }
        let option = word.text.split('=').next().unwrap_or_default();
        // What is no option may be a password in the wrong place.
        let what = if option.starts_with('-') { format!("`{option}`") } else { "this".to_owned() };
        let names: Vec<_> = parser.options.iter().flat_map(|it| it.names.iter().copied()).collect();
        let near = crate::spec::names::nearest(option, &names);
        gatherer.error(
            "kickstart::unknown-option",
            word.span.clone(),
            format!("`{name}` of {title} does not take {what}"),
            near.map_or_else(String::new, |it| format!("did you mean `{it}`?")),
        );
        return None;
    }
    Some(given)
}

fn unknown(command: &Command, release: Option<Release>, title: &str, gatherer: &mut Gatherer<'_>) {
    let name = command.name.text.as_str();
    let names: Vec<_> = release.map(|it| it.commands().collect()).unwrap_or_default();
    let help = match crate::spec::names::nearest(name, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None if is_known_anywhere(name) => "other releases know it".to_owned(),
        None => "is a section's `%end` in the wrong place?".to_owned(),
    };
    gatherer.error(
        "kickstart::unknown-command",
        command.name.span.clone(),
        format!("{title} knows no command `{name}`"),
        help,
    );
}

fn sections(
    kickstart: &Kickstart,
    release: Option<Release>,
    title: &str,
    gatherer: &mut Gatherer<'_>,
) {
    for section in &kickstart.sections {
        let heading = &section.heading;
        let name = heading.name.text.as_str();
        if let Some(release) = release {
            match release.section(name) {
                None => gatherer.error(
                    "kickstart::unknown-section",
                    heading.name.span.clone(),
                    format!("{title} knows no section `{name}`"),
                    "",
                ),
                Some(SectionForm::Takes(parser)) => {
                    for (message, span) in rules::discouraged_in(name, parser, &heading.arguments) {
                        gatherer.warning("kickstart::deprecated-soon", span, message, "");
                    }
                    let given = arguments::read(parser, &heading.arguments);
                    let wrong = match &given {
                        Err(BadArgument { message, word }) => Some((message.clone(), word.clone())),
                        Ok(given) => given.unknown.first().map(|it| {
                            (format!("it does not take `{}` in {title}", it.text), Some(it.clone()))
                        }),
                    };
                    if let Some((message, word)) = wrong {
                        let span = word.map_or_else(|| heading.span.clone(), |it| it.span);
                        let message = format!("`{name}`: {message}");
                        gatherer.error("kickstart::options", span, message, "");
                    }
                    for (option, word) in given.map(|it| it.deprecated).unwrap_or_default() {
                        gatherer.warning(
                            "kickstart::deprecated-option",
                            word.span,
                            format!("`{name} {option}` does nothing in {title}"),
                            "leave it out; a later release refuses it",
                        );
                    }
                }
                Some(SectionForm::Free) => {}
            }
        }
        if !section.is_ended && release.is_none_or(Release::needs_end) {
            gatherer.error(
                "kickstart::no-end",
                heading.span.clone(),
                format!("the section `{name}` has no `%end`"),
                "write `%end` on a line of its own after its last line",
            );
        }
    }
    if release.is_none_or(Release::needs_end) {
        for span in &kickstart.stray_ends {
            gatherer.error(
                "kickstart::stray-end",
                span.clone(),
                "this `%end` closes no section",
                "",
            );
        }
    }
}

/// What Anaconda would ask for, or stop at, although every line is right.
fn whole(
    kickstart: &Kickstart,
    inspection: &Inspection,
    disk: Option<Size>,
    gatherer: &mut Gatherer<'_>,
) {
    if !kickstart.includes.is_empty() {
        // What is missing may be there.
        return;
    }
    let has =
        |names: &[&str]| kickstart.commands.iter().any(|it| names.contains(&it.name.text.as_str()));
    if inspection.residue.is_empty()
        && !has(&["upgrade", "rescue", "liveimg", "ostreesetup", "ostreecontainer", "bootc"])
    {
        let storage =
            ["part", "partition", "autopart", "logvol", "btrfs", "mount", "raid", "reqpart"];
        if !has(&storage) {
            let at = gatherer.at_end();
            gatherer.warning(
                "kickstart::no-storage",
                at,
                "nothing says how to partition the disk, so Anaconda asks",
                "add `autopart` or `part` lines",
            );
        }
        if !has(&["rootpw", "user"]) {
            let at = gatherer.at_end();
            gatherer.warning(
                "kickstart::no-account",
                at,
                "there is no `rootpw` and no `user`, so Anaconda asks",
                "add `rootpw --lock`, or an account",
            );
        }
        if !has(&["bootloader"]) {
            let at = gatherer.at_end();
            gatherer.warning(
                "kickstart::no-bootloader",
                at,
                "there is no `bootloader` line",
                "add `bootloader --append=\"console=ttyS0\"`",
            );
        }
    }
    let sizes = kickstart
        .commands
        .iter()
        .filter(|it| matches!(it.name.text.as_str(), "part" | "partition"));
    let sum: u64 = sizes
        .clone()
        .filter_map(|it| it.option("--size")?.text.parse::<u64>().ok())
        .fold(0, u64::saturating_add);
    if let Some(disk) = disk.filter(|it| sum > it.as_mib())
        && let Some(last) = sizes.clone().next_back()
    {
        gatherer.error(
            "kickstart::disk-too-small",
            last.span.clone(),
            format!("the partitions take {sum} MiB, and the disk has {disk}"),
            "make them smaller, or raise `install.disk`",
        );
    }
}
