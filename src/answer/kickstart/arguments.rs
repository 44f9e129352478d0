//! Arguments of a kickstart command, read as Python's `argparse` reads them:
//! options may be shortened as long as it is clear which is meant.

use super::{
    commands::{Nargs, Opt, Parser},
    words::Word,
};

/// What a command was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// Options by their first name, with their values.
    pub(crate) options: Vec<(&'static str, Option<Word>, Word)>,
    /// Arguments that are no options.
    pub(crate) positional: Vec<Word>,
    /// What the command does not know.
    pub(crate) unknown: Vec<Word>,
    /// Options that no longer do anything.
    pub(crate) deprecated: Vec<(&'static str, Word)>,
}

/// Why arguments cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadArgument {
    pub(crate) message: String,
    /// Where, if it is about one word.
    pub(crate) word: Option<Word>,
}

impl Given {
    /// Whether an option is there, by any of its names; `@` for arguments.
    pub(crate) fn has(&self, name: &str, parser: &Parser) -> bool {
        if name == "@" {
            return !self.positional.is_empty();
        }
        let first = parser.options.iter().find(|it| it.names.contains(&name));
        first
            .and_then(|it| it.names.first())
            .is_some_and(|first| self.options.iter().any(|(given, ..)| given == first))
    }

    /// The values of an option, or the arguments.
    pub(crate) fn values(&self, name: &str, parser: &Parser) -> Vec<&Word> {
        if name == "@" {
            return self.positional.iter().collect();
        }
        let first = parser.options.iter().find(|it| it.names.contains(&name));
        let first = first.and_then(|it| it.names.first());
        let of = |given: &&'static str| first.is_some_and(|it| it == given);
        self.options.iter().filter(|it| of(&it.0)).filter_map(|it| it.1.as_ref()).collect()
    }
}

/// What one word is.
enum Kind {
    Argument,
    Option(&'static Opt, Option<String>),
    Unknown,
}

/// Reads arguments.
pub(crate) fn read(parser: &'static Parser, words: &[Word]) -> Result<Given, BadArgument> {
    let mut given = Given::default();
    let mut kinds = Vec::new();
    let mut only_arguments = false;
    for word in words {
        kinds.push(if only_arguments {
            Kind::Argument
        } else if word.text == "--" {
            only_arguments = true;
            continue;
        } else {
            kind(parser, word)?
        });
    }
    let words: Vec<_> = words.iter().filter(|it| it.text != "--").collect();
    let mut positional = parser.positional.iter();
    let mut next_positional = positional.next();
    let mut at = 0;
    while let (Some(kind), Some(word)) = (kinds.get(at), words.get(at)) {
        match kind {
            Kind::Unknown => {
                given.unknown.push((*word).clone());
                at += 1;
            }
            Kind::Argument => {
                // As many of this run as the next arguments take.
                let end = (at..kinds.len())
                    .find(|it| !matches!(kinds.get(*it), Some(Kind::Argument)))
                    .unwrap_or(kinds.len());
                let mut run = words.get(at..end).unwrap_or_default();
                while let Some(action) = next_positional.filter(|_| !run.is_empty()) {
                    let n = match action.nargs {
                        Nargs::Any | Nargs::Some => run.len(),
                        _ => 1,
                    };
                    let (taken, rest) = run.split_at(n);
                    for word in taken {
                        check_choice(action.choices.as_ref(), &action.dest, word)?;
                        given.positional.push((*word).clone());
                    }
                    run = rest;
                    next_positional = positional.next();
                }
                // Those that may be left out are left out here, not kept for later.
                while next_positional
                    .is_some_and(|it| matches!(it.nargs, Nargs::Any | Nargs::Maybe))
                {
                    next_positional = positional.next();
                }
                given.unknown.extend(run.iter().map(|it| (*it).clone()));
                at = end;
            }
            Kind::Option(option, value) => {
                at += 1;
                let name = option.names.first().copied().unwrap_or_default();
                if option.deprecated {
                    given.deprecated.push((name, (*word).clone()));
                }
                let next = || {
                    let is_argument = matches!(kinds.get(at), Some(Kind::Argument));
                    words.get(at).filter(|_| is_argument).map(|it| (*it).clone())
                };
                let value = match (option.nargs, value) {
                    (Nargs::Zero, Some(_)) => {
                        return Err(bad(format!("`{name}` takes no value"), word));
                    }
                    (Nargs::Zero, None) => None,
                    (_, Some(value)) => Some(Word { text: value.clone(), span: word.span.clone() }),
                    (nargs, None) => match next() {
                        Some(value) => {
                            at += 1;
                            Some(value)
                        }
                        None if matches!(nargs, Nargs::Maybe | Nargs::Any) => None,
                        None => return Err(bad(format!("`{name}` needs a value"), word)),
                    },
                };
                if let Some(value) = &value {
                    check_value(option, name, value)?;
                }
                given.options.push((name, value, (*word).clone()));
            }
        }
    }
    while let Some(action) = next_positional {
        if matches!(action.nargs, Nargs::One | Nargs::Some) {
            let message = format!("an argument is missing: {}", action.dest);
            return Err(BadArgument { message, word: None });
        }
        next_positional = positional.next();
    }
    for option in parser.options.iter().filter(|it| it.required) {
        let name = option.names.first().copied().unwrap_or_default();
        if !given.options.iter().any(|it| it.0 == name) {
            let message = format!("`{name}` is missing");
            return Err(BadArgument { message, word: None });
        }
    }
    for group in &parser.groups {
        let mut there = group.names.iter().filter(|it| given.has(it, parser));
        let (first, second) = (there.next(), there.next());
        if let (Some(first), Some(second)) = (first, second) {
            let message = format!("`{second}` does not go with `{first}`");
            return Err(BadArgument { message, word: None });
        }
        if group.required && first.is_none() {
            let message = format!("one of `{}` is needed", group.names.join("`, `"));
            return Err(BadArgument { message, word: None });
        }
    }
    Ok(given)
}

fn kind(parser: &'static Parser, word: &Word) -> Result<Kind, BadArgument> {
    let text = word.text.as_str();
    if !text.starts_with('-') || text.len() == 1 {
        return Ok(Kind::Argument);
    }
    let exact = |name: &str| parser.options.iter().rev().find(|it| it.names.contains(&name));
    if let Some(option) = exact(text) {
        return Ok(Kind::Option(option, None));
    }
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if let Some(option) = exact(name) {
        return Ok(Kind::Option(option, value));
    }
    let starts = parser
        .options
        .iter()
        .flat_map(|option| option.names.iter().map(move |it| (it, option)))
        .filter(|(it, _)| it.starts_with(name));
    let starts: Vec<_> = starts.collect();
    match starts.as_slice() {
        [(_, option)] => return Ok(Kind::Option(option, value)),
        [] => {}
        several => {
            let names: Vec<_> = several.iter().map(|it| *it.0).collect();
            return Err(bad(format!("`{name}` may be `{}`", names.join("` or `")), word));
        }
    }
    let is_number = text.strip_prefix('-').is_some_and(|it| {
        !it.is_empty()
            && it.chars().all(|c| c.is_ascii_digit() || c == '.')
            && it.chars().any(|c| c.is_ascii_digit())
    });
    Ok(if is_number || text.contains(' ') { Kind::Argument } else { Kind::Unknown })
}

fn check_value(option: &Opt, name: &str, value: &Word) -> Result<(), BadArgument> {
    let is_right = match option.kind {
        Some("int") => value.text.trim().replace('_', "").parse::<i64>().is_ok(),
        Some("float") => value.text.trim().parse::<f64>().is_ok(),
        Some("bool") => matches!(
            value.text.to_lowercase().as_str(),
            "on" | "true" | "1" | "yes" | "off" | "false" | "0" | "no"
        ),
        _ => true,
    };
    if !is_right {
        let what = if option.kind == Some("bool") { "yes or no" } else { "a number" };
        return Err(bad(format!("the value of `{name}` is not {what}"), value));
    }
    check_choice(option.choices.as_ref(), name, value)
}

fn check_choice(choices: Option<&Vec<&str>>, name: &str, value: &Word) -> Result<(), BadArgument> {
    match choices {
        Some(choices) if !choices.contains(&value.text.as_str()) => {
            Err(bad(format!("`{name}` is one of `{}`", choices.join("`, `")), value))
        }
        _ => Ok(()),
    }
}

fn bad(message: String, word: &Word) -> BadArgument {
    BadArgument { message, word: Some(word.clone()) }
}
