//! TOML into nodes.

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{
    document::{DEEP_HELP, DEEPEST, Entry, Node, Value, line_and_column},
    error::SpecError,
};

/// One slip can confuse a parser many times; the first few say it all.
const MOST_ERRORS: usize = 5;

/// Reads a TOML text.
pub(super) fn parse(text: &str) -> Result<Node, Vec<SpecError>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut found: Vec<_> =
            errors.iter().take(10 * MOST_ERRORS).map(|it| syntax_error(text, it)).collect();
        // What follows on the same line follows from it.
        let line = |it: &SpecError| it.span().map(|it| line_and_column(text, it.start).0);
        found.dedup_by_key(|it| line(it));
        found.truncate(MOST_ERRORS);
        return Err(found);
    }
    let mut errors = Vec::new();
    let root = Node::new(table_value(table.get_ref(), 0, &mut errors), 0..0);
    if errors.is_empty() { Ok(root) } else { Err(errors) }
}

fn syntax_error(text: &str, err: &toml::de::Error) -> SpecError {
    let message = err.message().trim();
    let (message, detail) = message.split_once('\n').unwrap_or((message, ""));
    let key = err.span().and_then(|it| text.get(it)).unwrap_or_default();
    if message == "duplicate key" {
        return SpecError::new("syntax", format!("the key `{key}` is set twice"))
            .at(err.span(), "set again")
            .help("a key can be set once; leave one of them out");
    }
    if message.contains("recurs") {
        return SpecError::new("too-deep", "tables and arrays are nested too deeply")
            .at(err.span(), "here")
            .help(DEEP_HELP);
    }
    let help = match message {
        _ if !detail.is_empty() => detail.replace('\n', ", "),
        _ => "this is not TOML; strings need quotes, tables start with `[name]`".to_owned(),
    };
    let error = SpecError::new("syntax", message).help(help);
    match err.span() {
        Some(span) => {
            let from = span.start.min(text.len());
            error.at(from..span.end.clamp(from, text.len()), "here")
        }
        None => error,
    }
}

fn table_value(table: &DeTable<'_>, depth: usize, errors: &mut Vec<SpecError>) -> Value {
    Value::Table(
        table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                key_span: key.span(),
                value: node(value, depth + 1, errors),
            })
            .collect(),
    )
}

fn node(value: &Spanned<DeValue<'_>>, depth: usize, errors: &mut Vec<SpecError>) -> Node {
    let span = value.span();
    if depth > DEEPEST {
        errors.push(
            SpecError::new("too-deep", "tables and arrays are nested too deeply")
                .at(span.clone(), "here")
                .help(DEEP_HELP),
        );
        return Node::new(Value::Null, span);
    }
    let value = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(it) => Value::Bool(*it),
        DeValue::Integer(it) => integer(it).unwrap_or_else(|| {
            errors.push(
                SpecError::new("syntax", format!("`{it}` is too large a number"))
                    .at(span.clone(), "does not fit into 64 bits"),
            );
            Value::Null
        }),
        DeValue::Float(it) => Value::Float(it.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Datetime(it) => Value::Date(it.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|it| node(it, depth + 1, errors)).collect())
        }
        DeValue::Table(table) => table_value(table, depth, errors),
    };
    Node::new(value, span)
}

fn integer(it: &DeInteger<'_>) -> Option<Value> {
    i64::from_str_radix(it.as_str(), it.radix()).ok().map(Value::Integer)
}
