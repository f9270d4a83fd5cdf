//! Prints what each role and policy of the templates may do: its actions, and on what. With `guard`, holds the templates to the
//! rules of checkov instead.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use baton_sandbox::Venv;
use baton_templates::guard;
use baton_templates::template::{Statement, Template};
use baton_templates::workspace;
use serde_json::Value;

/// The templates, in the order in which they are deployed.
const TEMPLATES: [&str; 3] = ["control-plane.yaml", "cluster.yaml", "shared-vpc-role.yaml"];

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => table(),
        Some("guard") => match guarded() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
        Some(other) => {
            eprintln!("error: expected `guard` or nothing, found `{other}`");
            ExitCode::FAILURE
        }
    }
}

/// Holds every template to the rules; whether nothing was found.
fn guarded() -> Result<bool, String> {
    let venv = Venv::with_checkov(&mut |line| eprintln!("{line}"))
        .map_err(|error| format!("the environment of checkov cannot be made: {error}"))?;
    let scratch = tempfile::tempdir().map_err(|error| format!("making a directory: {error}"))?;
    let (mut clean, mut out) = (true, io::stdout().lock());
    let names = guard::templates()?;
    // What was renamed or moved is not looked at, and would be clean.
    if let Some(gone) = TEMPLATES.iter().find(|name| !names.iter().any(|found| found == *name)) {
        return Err(format!("expected the template infra/{gone}, found {}", names.join(", ")));
    }
    for name in names {
        let (wrong, passed) = guard::examine(&venv, &name, scratch.path())?;
        let told: String = wrong.iter().map(|sentence| format!("  {sentence}\n")).collect();
        write!(out, "{name}: {passed} met, {} to see to\n{told}", wrong.len())
            .map_err(|error| format!("writing what was found: {error}"))?;
        clean &= wrong.is_empty();
    }
    Ok(clean)
}

fn table() -> ExitCode {
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
