//! What is checked once a command's options are read: `data/kickstart/rules.toml`.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{LazyLock, OnceLock},
};

use regex::Regex;
use serde::Deserialize;

use super::{
    arguments::Given,
    commands::{Known, Parser},
    words::Word,
};

static RULES: LazyLock<RuleFile> = LazyLock::new(|| {
    // A test reads the file.
    toml::from_str(include_str!("../../../data/kickstart/rules.toml")).unwrap_or_default()
});

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RuleFile {
    takes_more: Vec<String>,
    takes_nothing: Vec<String>,
    rule: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Rule {
    commands: Vec<String>,
    class: Option<String>,
    unless: Option<String>,
    #[serde(rename = "if")]
    condition: Option<String>,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    conflict: Vec<String>,
    #[serde(default)]
    not_after: Vec<String>,
    arguments: Option<(usize, usize)>,
    refuse: Option<Values>,
    allow: Option<Values>,
    unique: Option<String>,
    /// Lines without the option of `unique` count as having an empty one.
    #[serde(default)]
    or_absent: bool,
    #[serde(default)]
    except: Vec<String>,
    with: Option<String>,
    discouraged: Option<String>,
    /// The installer goes on nevertheless.
    #[serde(default)]
    warns: bool,
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Values {
    option: String,
    pattern: Pattern,
}

/// A regular expression in a data file, made ready when it is first asked for:
/// one kickstart needs few of them.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
struct Pattern {
    text: String,
    regex: OnceLock<Option<Regex>>,
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self { text, regex: OnceLock::new() }
    }
}

impl Pattern {
    fn regex(&self) -> Option<&Regex> {
        self.regex.get_or_init(|| Regex::new(&self.text).ok()).as_ref()
    }

    fn is_match(&self, text: &str) -> bool {
        self.regex().is_some_and(|it| it.is_match(text))
    }
}

/// Where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// By the command as a whole.
    Command,
    /// By one word.
    Word(Range<usize>),
}

/// A rule that a command breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// What is wrong.
    pub(crate) message: &'static str,
    /// Where.
    pub(crate) place: Place,
    /// Whether the installer goes on nevertheless.
    pub(crate) is_warning: bool,
}

/// What earlier lines have.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Names that must not be given twice, by command and option.
    names: HashMap<(String, String), Vec<String>>,
    /// The commands, whatever is wrong with them.
    commands: HashSet<String>,
}

impl Seen {
    /// Adds a command.
    pub(crate) fn add(&mut self, command: &str) {
        self.commands.insert(command.to_owned());
    }
}

/// Whether a command takes as many arguments as one likes.
pub(crate) fn takes_more(command: &str) -> bool {
    RULES.takes_more.iter().any(|it| it == command)
}

/// Whether a command takes nothing where nothing is known of its options.
pub(crate) fn takes_nothing(command: &str) -> bool {
    RULES.takes_nothing.iter().any(|it| it == command)
}

/// What still works and soon will not: why, and the option if it is about one.
pub(crate) fn discouraged(
    command: &str,
    known: &Known,
    words: &[Word],
) -> Vec<(&'static str, Option<Range<usize>>)> {
    let rules = RULES.rule.iter().filter(|it| it.commands.iter().any(|it| it == command));
    let rules = rules.filter(|it| {
        it.class.as_ref().is_none_or(|it| known.is_a(it))
            && it.unless.as_ref().is_none_or(|it| !known.is_a(it))
    });
    rules
        .filter_map(|rule| {
            let option = rule.discouraged.as_deref()?;
            let found = words.iter().find(|it| it.text.split('=').next() == Some(option));
            let is_there = option.is_empty() || found.is_some();
            is_there.then(|| (rule.message.as_str(), found.map(|it| it.span.clone())))
        })
        .collect()
}

/// The same for the heading of a section.
pub(crate) fn discouraged_in(
    section: &str,
    parser: &Parser,
    words: &[Word],
) -> Vec<(&'static str, Range<usize>)> {
    let takes = |option: &str| {
        let mut all = parser.options.iter().filter(|it| !it.deprecated);
        all.any(|it| it.names.contains(&option))
    };
    let rules = RULES.rule.iter().filter(|it| it.commands.iter().any(|it| it == section));
    rules
        .filter_map(|rule| {
            let option = rule.discouraged.as_deref()?;
            let holds = rule.with.as_deref().is_none_or(takes) && takes(option);
            let found = words.iter().find(|it| it.text.split('=').next() == Some(option))?;
            holds.then(|| (rule.message.as_str(), found.span.clone()))
        })
        .collect()
}

/// The first rule a command breaks.
pub(crate) fn broken(
    command: &str,
    known: &Known,
    parser: &Parser,
    given: &Given,
    seen: &mut Seen,
) -> Option<Broken> {
    for rule in RULES.rule.iter().filter(|it| it.commands.iter().any(|it| it == command)) {
        let holds = rule.class.as_ref().is_none_or(|it| known.is_a(it))
            && rule.unless.as_ref().is_none_or(|it| !known.is_a(it))
            && rule.condition.as_ref().is_none_or(|it| given.has(it, parser));
        if !holds {
            continue;
        }
        if let Some(place) = rule.breaks(parser, given, seen) {
            return Some(Broken { message: &rule.message, place, is_warning: rule.warns });
        }
    }
    None
}

impl Rule {
    /// Where it is broken, if it is.
    fn breaks(&self, parser: &Parser, given: &Given, seen: &mut Seen) -> Option<Place> {
        let has = |it: &&String| given.has(it, parser);
        if !self.needs.is_empty() && !self.needs.iter().any(|it| has(&it)) {
            return Some(Place::Command);
        }
        if self.not_after.iter().any(|it| seen.commands.contains(it)) {
            return Some(Place::Command);
        }
        if self.conflict.iter().filter(has).count() > 1 {
            return Some(Place::Command);
        }
        if let Some((least, most)) = self.arguments
            && !(least..=most).contains(&given.positional.len())
        {
            let word = given.positional.get(most);
            return Some(word.map_or(Place::Command, |it| Place::Word(it.span.clone())));
        }
        let bad = |values: &Values, wanted: bool| -> Option<Range<usize>> {
            let all = given.values(&values.option, parser).into_iter();
            let mut wrong = all.filter(|it: &&Word| values.pattern.is_match(&it.text) != wanted);
            wrong.next().map(|it| it.span.clone())
        };
        if let Some(at) = self.refuse.as_ref().and_then(|it| bad(it, false)) {
            return Some(Place::Word(at));
        }
        if let Some(at) = self.allow.as_ref().and_then(|it| bad(it, true)) {
            return Some(Place::Word(at));
        }
        let option = self.unique.as_ref()?;
        let word = given.values(option, parser).first().copied();
        let value = word.map_or("", |it| it.text.as_str());
        if value.is_empty() != self.or_absent || self.except.iter().any(|it| it == value) {
            return None;
        }
        let key = (self.commands.join(" "), option.clone());
        let names = seen.names.entry(key).or_default();
        if names.iter().any(|it| it == value) {
            return Some(word.map_or(Place::Command, |it| Place::Word(it.span.clone())));
        }
        names.push(value.to_owned());
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_is_right() {
        let text = include_str!("../../../data/kickstart/rules.toml");
        let rules = toml::from_str::<RuleFile>(text).unwrap().rule;
        assert!(rules.len() > 30);
        for values in rules.iter().flat_map(|it| [&it.refuse, &it.allow]).flatten() {
            assert!(values.pattern.regex().is_some(), "{:?}", values.pattern);
        }
    }
}
