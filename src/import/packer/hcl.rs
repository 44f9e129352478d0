//! Packer's templates in HCL: variables and locals worked out, sources read.
//!
//! As `packer build .` does, the other `.pkr.hcl` files of the folder count for
//! variables and locals; sources are those of the file itself.

use ::hcl::{Block, Body, Value, eval::Evaluate as _, expr::Expression};
use serde_json::Value as Json;

use super::{
    Builder, Template,
    functions::{Evaluator, functions},
};
use crate::import::{Context, ImportError};

type Values = ::hcl::Map<String, Value>;

/// Reads a template.
pub(super) fn read(name: &str, text: &str, cx: &Context<'_>) -> Result<Template, ImportError> {
    let own = parse(name, text)?;
    let file = name.rsplit('/').next().unwrap_or(name);
    let mut bodies = Vec::new();
    let mut elsewhere = Vec::new();
    let mut names = cx.files.names();
    names.sort();
    for other in names.iter().filter(|it| it.ends_with(".pkr.hcl") && *it != file) {
        // A file beside it that cannot be read is not the one that was named.
        if let Some(body) = cx.files.read(other).and_then(|it| parse(other, &it).ok()) {
            if body.blocks().any(|it| it.identifier() == "source") {
                elsewhere.push(other.clone());
            }
            bodies.push(body);
        }
    }
    bodies.push(own.clone());
    let mut evaluator = Evaluator::new(cx.files);
    evaluator.declare("var", variables(&bodies, &names, cx)?);
    locals(&bodies, &mut evaluator);

    let mut template = Template { elsewhere, ..Template::default() };
    let is_used = used_sources(&bodies);
    for block in own.blocks().filter(|it| it.identifier() == "source") {
        let labels: Vec<_> = block.labels().iter().map(|it| it.as_str().to_owned()).collect();
        let [kind, label] = labels.as_slice() else { continue };
        let line = text.lines().position(|it| {
            let mut words = it.split_whitespace().map(|it| it.trim_matches(['"', '{']));
            [words.next(), words.next(), words.next()]
                == [Some("source"), Some(kind.as_str()), Some(label.as_str())]
        });
        let mut builder = Builder {
            kind: kind.clone(),
            label: label.clone(),
            line: line.map_or(0, |it| it + 1),
            ..Builder::default()
        };
        // A build may name and complete a source.
        let overrides = is_used.iter().filter(|it| it.0 == format!("{kind}.{label}"));
        let bodies: Vec<&Body> =
            std::iter::once(block.body()).chain(overrides.map(|it| &it.1)).collect();
        for body in bodies {
            settings(body, &evaluator, &mut builder);
        }
        template.builders.push(builder);
    }
    for block in bodies.iter().flat_map(Body::blocks).filter(|it| it.identifier() == "build") {
        others(block.body(), &mut template.others);
    }
    Ok(template)
}

fn parse(name: &str, text: &str) -> Result<Body, ImportError> {
    ::hcl::parse(text.trim_start_matches('\u{feff}')).map_err(|error| {
        let line = match &error {
            ::hcl::Error::Parse(error) => error.location().line(),
            _ => 1,
        };
        let message = error.to_string();
        let message =
            message.lines().last().unwrap_or_default().trim_start_matches([' ', '=']).to_owned();
        ImportError::Syntax { name: name.to_owned(), line, message }
    })
}

/// Attributes as settings, and nested blocks as tables.
fn settings(body: &Body, evaluator: &Evaluator<'_>, builder: &mut Builder) {
    for attribute in body.attributes() {
        let key = attribute.key().to_owned();
        let value = evaluator.value(attribute.expr());
        match value.and_then(|it| serde_json::to_value(it).map_err(|it| it.to_string())) {
            Ok(Json::Null) => builder.empty.push((key, attribute.expr().to_string())),
            Ok(value) => {
                builder.settings.insert(key, value);
            }
            Err(why) => builder.open.push((key, why)),
        }
    }
    for block in body.blocks() {
        let mut inner = Builder::default();
        settings(block.body(), evaluator, &mut inner);
        builder.settings.insert(block.identifier().to_owned(), Json::Object(inner.settings));
    }
}

/// The variables' values: defaults, variable files, what the user gives.
fn variables(bodies: &[Body], names: &[String], cx: &Context<'_>) -> Result<Values, ImportError> {
    let plain = functions();
    let mut values = Values::new();
    let mut lists: Vec<String> = Vec::new();
    for block in blocks(bodies, "variable") {
        let Some(name) = block.labels().first().map(|it| it.as_str().to_owned()) else { continue };
        for attribute in block.body().attributes() {
            let expression = attribute.expr();
            match attribute.key() {
                "default" => {
                    if let Ok(value) = expression.evaluate(&plain) {
                        values.insert(name.clone(), value);
                    }
                }
                "type"
                    if expression.to_string().starts_with(['l', 's', 'm', 'o', 't'])
                        && !expression.to_string().starts_with("string") =>
                {
                    lists.push(name.clone());
                }
                _ => {}
            }
        }
    }
    let automatic = names.iter().filter(|it| it.ends_with(".auto.pkrvars.hcl"));
    let automatic: Vec<_> =
        automatic.filter_map(|it| Some((it.clone(), cx.files.read(it)?))).collect();
    for (file, text) in automatic.iter().chain(cx.variable_files) {
        if file.ends_with(".json") {
            let read: Json = serde_json::from_str(text).map_err(|it| ImportError::Syntax {
                name: file.clone(),
                line: it.line(),
                message: it.to_string(),
            })?;
            for (key, value) in read.as_object().into_iter().flatten() {
                if let Ok(value) = ::hcl::to_value(value) {
                    values.insert(key.clone(), value);
                }
            }
            continue;
        }
        for attribute in parse(file, text)?.attributes() {
            if let Ok(value) = attribute.expr().evaluate(&plain) {
                values.insert(attribute.key().to_owned(), value);
            }
        }
    }
    for (name, text) in cx.variables {
        // Text, but where the variable is no text.
        let read = lists
            .contains(name)
            .then(|| ::hcl::parse(&format!("v = {text}\n")).ok())
            .flatten()
            .and_then(|it| it.attributes().next()?.expr().evaluate(&plain).ok());
        values.insert(name.clone(), read.unwrap_or_else(|| Value::from(text.as_str())));
    }
    Ok(values)
}

/// Gives the locals their values; those that use each other take several rounds.
fn locals(bodies: &[Body], evaluator: &mut Evaluator<'_>) {
    let mut open: Vec<(String, Expression)> = Vec::new();
    for block in blocks(bodies, "locals") {
        for attribute in block.body().attributes() {
            open.push((attribute.key().to_owned(), attribute.expr().clone()));
        }
    }
    for block in blocks(bodies, "local") {
        let name = block.labels().first().map(|it| it.as_str().to_owned());
        let expression = block
            .body()
            .attributes()
            .find(|it| it.key() == "expression")
            .map(|it| it.expr().clone());
        open.extend(name.zip(expression));
    }
    let mut known = Values::new();
    evaluator.declare("local", known.clone());
    loop {
        let n_before = open.len();
        evaluator.open.clear();
        open.retain(|(name, expression)| match evaluator.value(expression) {
            Ok(value) => {
                known.insert(name.clone(), value);
                false
            }
            Err(why) => {
                evaluator.open.push((name.clone(), why));
                true
            }
        });
        evaluator.declare("local", known.clone());
        if open.is_empty() || open.len() == n_before {
            return;
        }
    }
}

fn blocks<'a>(bodies: &'a [Body], identifier: &'a str) -> impl Iterator<Item = &'a Block> {
    bodies.iter().flat_map(Body::blocks).filter(move |it| it.identifier() == identifier)
}

/// `source "qemu.x" { … }` inside of builds: names and what they add.
fn used_sources(bodies: &[Body]) -> Vec<(String, Body)> {
    blocks(bodies, "build")
        .flat_map(|it| it.body().blocks())
        .filter(|it| it.identifier() == "source")
        .filter_map(|it| {
            let label = it.labels().first()?.as_str();
            Some((label.trim_start_matches("source.").to_owned(), it.body().clone()))
        })
        .collect()
}

/// Provisioners and post-processors of a build.
fn others(body: &Body, found: &mut Vec<String>) {
    for block in body.blocks() {
        let label = block.labels().first().map_or("?", |it| it.as_str());
        let text = match block.identifier() {
            "provisioner" => format!("the provisioner `{label}`"),
            "post-processor" => format!("the post-processor `{label}`"),
            "post-processors" => {
                others(block.body(), found);
                continue;
            }
            _ => continue,
        };
        if !found.contains(&text) {
            found.push(text);
        }
    }
}
