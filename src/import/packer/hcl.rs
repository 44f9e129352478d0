//! Packer's templates in HCL: variables and locals worked out, sources read.
//!
//! As `packer build .` does, the other `.pkr.hcl` files of the folder count for
//! variables and locals; sources are those of the file itself.

use ::hcl::{
    Block, Body, Value,
    eval::{Context as Scope, Evaluate as _, FuncArgs, FuncDef, ParamType},
    expr::Expression,
};
use serde_json::Value as Json;

use super::{Builder, Template};
use crate::import::{Context, ImportError};

type Values = ::hcl::Map<String, Value>;

/// Reads a template.
pub(super) fn read(name: &str, text: &str, cx: &Context<'_>) -> Result<Template, ImportError> {
    let own = parse(name, text)?;
    let file = name.rsplit('/').next().unwrap_or(name);
    let mut bodies = Vec::new();
    let mut names = cx.files.names();
    names.sort();
    for other in names.iter().filter(|it| it.ends_with(".pkr.hcl") && *it != file) {
        // A file beside it that cannot be read is not the one that was named.
        if let Some(body) = cx.files.read(other).and_then(|it| parse(other, &it).ok()) {
            bodies.push(body);
        }
    }
    bodies.push(own.clone());
    let mut scope = scope();
    let variables = variables(&bodies, &names, cx)?;
    scope.declare_var("var", Value::Object(variables));
    let locals = locals(&bodies, &scope);
    scope.declare_var("local", Value::Object(locals));

    let mut template = Template::default();
    let is_used = used_sources(&bodies);
    for block in own.blocks().filter(|it| it.identifier() == "source") {
        let labels: Vec<_> = block.labels().iter().map(|it| it.as_str().to_owned()).collect();
        let [kind, label] = labels.as_slice() else { continue };
        let mut builder =
            Builder { kind: kind.clone(), label: label.clone(), ..Builder::default() };
        // A build may name and complete a source.
        let overrides = is_used.iter().filter(|it| it.0 == format!("{kind}.{label}"));
        let bodies: Vec<&Body> =
            std::iter::once(block.body()).chain(overrides.map(|it| &it.1)).collect();
        for body in bodies {
            settings(body, &scope, &mut builder);
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
fn settings(body: &Body, scope: &Scope<'_>, builder: &mut Builder) {
    for attribute in body.attributes() {
        let key = attribute.key().to_owned();
        match value_of(attribute.expr(), scope) {
            Ok(Json::Null) => {}
            Ok(value) => {
                builder.settings.insert(key, value);
            }
            Err(why) => builder.open.push((key, why)),
        }
    }
    for block in body.blocks() {
        let mut inner = Builder::default();
        settings(block.body(), scope, &mut inner);
        builder.settings.insert(block.identifier().to_owned(), Json::Object(inner.settings));
    }
}

fn value_of(expression: &Expression, scope: &Scope<'_>) -> Result<Json, String> {
    let value = expression.evaluate(scope).map_err(|it| {
        let why = it.to_string();
        why.lines().next().unwrap_or_default().to_owned()
    })?;
    serde_json::to_value(value).map_err(|it| it.to_string())
}

/// The variables' values: defaults, variable files, what the user gives.
fn variables(bodies: &[Body], names: &[String], cx: &Context<'_>) -> Result<Values, ImportError> {
    let plain = Scope::new();
    let mut values = Values::new();
    let mut lists: Vec<String> = Vec::new();
    for block in blocks(bodies, "variable") {
        let Some(name) = block.labels().first().map(|it| it.as_str().to_owned()) else { continue };
        for attribute in block.body().attributes() {
            let expression = attribute.expr();
            match attribute.key() {
                "default" => {
                    if let Ok(value) = expression.evaluate(&plain)
                        && !value.is_null()
                    {
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

/// The locals' values; those that use each other take several rounds.
fn locals(bodies: &[Body], scope: &Scope<'_>) -> Values {
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
    loop {
        let n_before = open.len();
        let mut scope = scope.clone();
        scope.declare_var("local", Value::Object(known.clone()));
        open.retain(|(name, expression)| match expression.evaluate(&scope) {
            Ok(value) => {
                known.insert(name.clone(), value);
                false
            }
            Err(_) => true,
        });
        if open.is_empty() || open.len() == n_before {
            return known;
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

/// The functions of Packer that give the same at any time.
fn scope<'a>() -> Scope<'a> {
    let mut scope = Scope::new();
    let mut path = Values::new();
    path.insert("root".to_owned(), ".".into());
    path.insert("cwd".to_owned(), ".".into());
    scope.declare_var("path", Value::Object(path));
    let text = || ParamType::String;
    let mut one = |name: &'static str, function: fn(FuncArgs) -> Result<Value, String>| {
        scope.declare_func(name, FuncDef::builder().param(text()).build(function));
    };
    one("lower", |it| Ok(string(&it, 0).to_lowercase().into()));
    one("upper", |it| Ok(string(&it, 0).to_uppercase().into()));
    one("trimspace", |it| Ok(string(&it, 0).trim().into()));
    one("basename", |it| Ok(string(&it, 0).rsplit('/').next().unwrap_or_default().into()));
    one("dirname", |it| Ok(string(&it, 0).rsplit_once('/').map_or(".", |it| it.0).into()));
    one("abspath", |it| Ok(string(&it, 0).into()));
    let mut two = |name: &'static str, function: fn(FuncArgs) -> Result<Value, String>| {
        scope.declare_func(name, FuncDef::builder().param(text()).param(text()).build(function));
    };
    two("split", |it| {
        let (by, whole) = (string(&it, 0), string(&it, 1));
        Ok(Value::Array(whole.split(by).map(Value::from).collect()))
    });
    two("trimsuffix", |it| Ok(string(&it, 0).trim_end_matches(string(&it, 1)).into()));
    two("trimprefix", |it| Ok(string(&it, 0).trim_start_matches(string(&it, 1)).into()));
    scope.declare_func(
        "replace",
        FuncDef::builder()
            .param(text())
            .param(text())
            .param(text())
            .build(|it| Ok(string(&it, 0).replace(string(&it, 1), string(&it, 2)).into())),
    );
    scope.declare_func(
        "join",
        FuncDef::builder().param(text()).param(ParamType::array_of(ParamType::Any)).build(|it| {
            let parts: Vec<String> =
                it.get(1).and_then(Value::as_array).into_iter().flatten().map(plain).collect();
            Ok(parts.join(string(&it, 0)).into())
        }),
    );
    let any = |function: fn(FuncArgs) -> Result<Value, String>| {
        FuncDef::builder().variadic_param(ParamType::Any).build(function)
    };
    scope.declare_func(
        "concat",
        any(|it| {
            let lists = it.iter().filter_map(Value::as_array).flatten().cloned();
            Ok(Value::Array(lists.collect()))
        }),
    );
    scope.declare_func(
        "flatten",
        any(|it| {
            let lists = it.iter().filter_map(Value::as_array).flatten();
            Ok(Value::Array(
                lists
                    .flat_map(|it| it.as_array().cloned().unwrap_or_else(|| vec![it.clone()]))
                    .collect(),
            ))
        }),
    );
    scope.declare_func(
        "merge",
        any(|it| {
            let maps = it.iter().filter_map(Value::as_object).flatten();
            Ok(Value::Object(maps.map(|(key, value)| (key.clone(), value.clone())).collect()))
        }),
    );
    scope.declare_func(
        "coalesce",
        any(|it| {
            let found = it.iter().find(|it| !it.is_null() && it.as_str() != Some(""));
            found.cloned().ok_or_else(|| "all of them are empty".to_owned())
        }),
    );
    scope.declare_func("tostring", any(|it| Ok(it.first().map(plain).unwrap_or_default().into())));
    scope.declare_func(
        "length",
        any(|it| {
            let value = it.first();
            let list = value.and_then(Value::as_array).map(Vec::len);
            Ok(list.or_else(|| Some(value?.as_str()?.len())).unwrap_or_default().into())
        }),
    );
    scope.declare_func(
        "lookup",
        any(|it| {
            let found =
                it.first().and_then(Value::as_object).and_then(|map| map.get(it.get(1)?.as_str()?));
            found.or_else(|| it.get(2)).cloned().ok_or_else(|| "there is no such key".to_owned())
        }),
    );
    scope.declare_func(
        "element",
        any(|it| {
            let list = it.first().and_then(Value::as_array).filter(|it| !it.is_empty());
            let at = it.get(1).and_then(Value::as_u64).and_then(|it| usize::try_from(it).ok());
            let found = list.zip(at).and_then(|(list, at)| list.get(at % list.len()));
            found.cloned().ok_or_else(|| "there is no such element".to_owned())
        }),
    );
    scope.declare_func(
        "contains",
        any(|it| {
            let list = it.first().and_then(Value::as_array);
            Ok(list.zip(it.get(1)).is_some_and(|(list, value)| list.contains(value)).into())
        }),
    );
    scope.declare_func(
        "format",
        any(|it| {
            let mut values = it.iter().skip(1).map(plain);
            let mut out = String::new();
            let mut text = string(&it, 0).chars();
            while let Some(sign) = text.next() {
                match (sign, sign == '%') {
                    (_, true) => match text.next() {
                        Some('%') => out.push('%'),
                        Some('s' | 'v' | 'd') => out.push_str(&values.next().unwrap_or_default()),
                        _ => return Err("only %s, %d and %v are understood".to_owned()),
                    },
                    (other, false) => out.push(other),
                }
            }
            Ok(out.into())
        }),
    );
    scope
}

fn string(arguments: &FuncArgs, at: usize) -> &str {
    arguments.get(at).and_then(Value::as_str).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
