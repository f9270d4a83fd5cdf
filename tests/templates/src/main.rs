//! Prints what each role and policy of the templates may do: its actions, and on what.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use baton_sandbox::Venv;
use baton_templates::template::{Statement, Template};
use baton_templates::workspace;
use serde_json::Value;

/// The templates, in the order in which they are deployed.
const TEMPLATES: [&str; 3] = ["control-plane.yaml", "cluster.yaml", "shared-vpc-role.yaml"];

fn main() -> ExitCode {
    let venv = match Venv::ensure() {
        Ok(venv) => venv,
        Err(error) => {
            eprintln!("error: the Python environment cannot be made: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut out = io::stdout().lock();
    for name in TEMPLATES {
        assert!(Path::new(&workspace("infra").join(name)).exists(), "infra/{name} is gone");
        let template = Template::read(&venv, name);
        if let Err(error) = print(&mut out, &template) {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn print(out: &mut impl Write, template: &Template) -> io::Result<()> {
    for policy in template.policies() {
        writeln!(out, "{policy} ({})", template.name)?;
        for statement in template.statements(policy) {
            let actions = statement.actions.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
            writeln!(out, "  {:<26} {actions}", statement.sid)?;
            writeln!(out, "  {:<26} on {}{}", "", on(&statement), under(&statement))?;
        }
    }
    Ok(())
}

fn on(statement: &Statement) -> String {
    let shown = |resource: &Value| match resource {
        Value::String(text) => text.clone(),
        Value::Object(function) => function.values().next().map_or_else(String::new, text_of),
        other => other.to_string(),
    };
    statement.resources.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// The argument of an intrinsic function, as short as it can be understood.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(text_of).collect::<Vec<_>>().join("."),
        Value::Object(inner) => inner.values().map(text_of).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn under(statement: &Statement) -> String {
    let keys = statement.condition.as_object().into_iter().flatten();
    let keys: Vec<_> = keys
        .flat_map(|(_, keys)| keys.as_object().into_iter().flatten().map(|(key, _)| key.as_str()))
        .collect();
    if keys.is_empty() { String::new() } else { format!(", by {}", keys.join(", ")) }
}
