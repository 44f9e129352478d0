//! Packer's expressions: worked out with the functions that give the same at any
//! time, and with the files beside the template.
//!
//! `file`, `templatefile`, `fileexists`, `try` and `can` are no functions to the
//! evaluator, which knows neither files nor what fails: they are replaced by what
//! they give before it sees them.

use std::str::FromStr as _;

use ::hcl::{
    Template, Value,
    eval::{Context as Scope, Evaluate as _, FuncArgs, FuncDef, ParamType},
    expr::{Expression, FuncCall, Object},
};

use crate::import::Files;

/// Works expressions out.
pub(super) struct Evaluator<'a> {
    scope: Scope<'a>,
    files: &'a dyn Files,
    /// Locals that have no value, and why.
    pub(super) open: Vec<(String, String)>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(files: &'a dyn Files) -> Self {
        Self { scope: functions(), files, open: Vec::new() }
    }

    /// Gives a name a value.
    pub(super) fn declare(&mut self, name: &str, values: ::hcl::Map<String, Value>) {
        self.scope.declare_var(name, Value::Object(values));
    }

    /// The value of an expression, or why it has none.
    pub(super) fn value(&self, expression: &Expression) -> Result<Value, String> {
        self.resolved(expression)?.evaluate(&self.scope).map_err(|it| self.reason(&it.to_string()))
    }

    /// What the evaluator says, in words of templates.
    fn reason(&self, said: &str) -> String {
        let first = said.lines().next().unwrap_or_default();
        let name = first.strip_prefix("no such key: `").and_then(|it| it.split('`').next());
        let Some(name) = name else { return first.to_owned() };
        match self.open.iter().find(|it| it.0 == name && said.contains("local.")) {
            Some((_, why)) => why.clone(),
            None if said.contains(&format!("var.{name}")) => {
                format!("the variable `{name}` has no value")
            }
            None => first.to_owned(),
        }
    }

    /// An expression in which calls that need files are replaced by what they give.
    fn resolved(&self, expression: &Expression) -> Result<Expression, String> {
        Ok(match expression {
            Expression::Array(items) => Expression::Array(
                items.iter().map(|it| self.resolved(it)).collect::<Result<_, _>>()?,
            ),
            Expression::Object(entries) => {
                let mut resolved = Object::new();
                for (key, value) in entries {
                    resolved.insert(key.clone(), self.resolved(value)?);
                }
                Expression::Object(resolved)
            }
            Expression::Parenthesis(inner) => {
                Expression::Parenthesis(Box::new(self.resolved(inner)?))
            }
            Expression::Conditional(choice) => match self.value(&choice.cond_expr)? {
                Value::Bool(true) => self.resolved(&choice.true_expr)?,
                Value::Bool(false) => self.resolved(&choice.false_expr)?,
                other => return Err(format!("`{other}` is neither true nor false")),
            },
            Expression::Traversal(path) => {
                let mut path = path.clone();
                path.expr = self.resolved(&path.expr)?;
                Expression::Traversal(path)
            }
            Expression::FuncCall(call) => self.call(call)?,
            other => other.clone(),
        })
    }

    fn call(&self, call: &FuncCall) -> Result<Expression, String> {
        let text = |at: usize| -> Result<String, String> {
            let argument = call.args.get(at).ok_or("an argument is missing")?;
            match self.value(argument)? {
                Value::String(text) => Ok(text.trim_start_matches("./").to_owned()),
                other => Err(format!("`{other}` is no path")),
            }
        };
        let read = || -> Result<(String, String), String> {
            let path = text(0)?;
            match self.files.read(&path) {
                Some(text) => Ok((path, text)),
                None => Err(format!("`{path}` is not there")),
            }
        };
        match call.name.name.as_str() {
            "file" => Ok(Expression::String(read()?.1)),
            "fileexists" => Ok(Expression::Bool(self.files.read(&text(0)?).is_some())),
            "templatefile" => {
                let (path, text) = read()?;
                let values = call.args.get(1).map(|it| self.value(it)).transpose()?;
                let mut scope = functions();
                for (name, value) in values.iter().filter_map(Value::as_object).flatten() {
                    scope.declare_var(name.as_str(), value.clone());
                }
                let template = Template::from_str(&text).map_err(|it| {
                    let why = it.to_string();
                    format!("`{path}` is no template: {}", why.lines().last().unwrap_or_default())
                })?;
                let filled = template.evaluate(&scope).map_err(|it| {
                    let why = self.reason(&it.to_string());
                    format!("the template `{path}` cannot be filled in: {why}")
                })?;
                Ok(Expression::String(filled))
            }
            "try" => {
                let mut last = "`try` has nothing to try".to_owned();
                for argument in &call.args {
                    match self.value(argument) {
                        Ok(value) => return Ok(value.into()),
                        Err(why) => last = why,
                    }
                }
                Err(last)
            }
            "can" => {
                Ok(Expression::Bool(call.args.first().is_some_and(|it| self.value(it).is_ok())))
            }
            _ => {
                let mut call = call.clone();
                for argument in &mut call.args {
                    *argument = self.resolved(argument)?;
                }
                Ok(Expression::FuncCall(Box::new(call)))
            }
        }
    }
}

/// The functions of Packer that give the same at any time.
pub(super) fn functions<'a>() -> Scope<'a> {
    let mut scope = Scope::new();
    let mut path = ::hcl::Map::new();
    path.insert("root".to_owned(), ".".into());
    path.insert("cwd".to_owned(), ".".into());
    scope.declare_var("path", Value::Object(path));
    let text = || ParamType::String;
    let mut one = |name: &'static str, function: fn(FuncArgs) -> Result<Value, String>| {
        scope.declare_func(name, FuncDef::builder().param(text()).build(function));
    };
    one("lower", |it| Ok(string(&it, 0).to_lowercase().into()));
    one("upper", |it| Ok(string(&it, 0).to_uppercase().into()));
    // Nothing is read of the environment: a variable that is not set is empty.
    one("env", |_| Ok("".into()));
    one("chomp", |it| Ok(string(&it, 0).trim_end_matches(['\r', '\n']).into()));
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
    two("startswith", |it| Ok(string(&it, 0).starts_with(string(&it, 1)).into()));
    two("endswith", |it| Ok(string(&it, 0).ends_with(string(&it, 1)).into()));
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
    scope.declare_func(
        "regex_replace",
        FuncDef::builder().param(text()).param(text()).param(text()).build(|it| {
            let pattern = regex::Regex::new(string(&it, 1)).map_err(|it| it.to_string())?;
            Ok(pattern.replace_all(string(&it, 0), string(&it, 2)).into_owned().into())
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
        "compact",
        any(|it| {
            let list = it.first().and_then(Value::as_array).into_iter().flatten();
            let filled = list.filter(|it| !it.is_null() && it.as_str() != Some(""));
            Ok(Value::Array(filled.cloned().collect()))
        }),
    );
    scope.declare_func(
        "distinct",
        any(|it| {
            let mut found: Vec<Value> = Vec::new();
            for value in it.first().and_then(Value::as_array).into_iter().flatten() {
                if !found.contains(value) {
                    found.push(value.clone());
                }
            }
            Ok(Value::Array(found))
        }),
    );
    for (name, of_keys) in [("keys", true), ("values", false)] {
        let keys: fn(FuncArgs) -> Result<Value, String> = |it| {
            let map = it.first().and_then(Value::as_object).into_iter().flatten();
            Ok(Value::Array(map.map(|it| it.0.as_str().into()).collect()))
        };
        let values: fn(FuncArgs) -> Result<Value, String> = |it| {
            let map = it.first().and_then(Value::as_object).into_iter().flatten();
            Ok(Value::Array(map.map(|it| it.1.clone()).collect()))
        };
        scope.declare_func(name, any(if of_keys { keys } else { values }));
    }
    scope.declare_func(
        "jsonencode",
        any(|it| {
            let text = serde_json::to_string(&it.first()).map_err(|it| it.to_string())?;
            Ok(text.into())
        }),
    );
    scope.declare_func(
        "indent",
        any(|it| {
            let by = it.first().and_then(Value::as_u64).unwrap_or_default().min(80);
            let by = format!("\n{}", " ".repeat(usize::try_from(by).unwrap_or_default()));
            Ok(string(&it, 1).replace('\n', &by).into())
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
