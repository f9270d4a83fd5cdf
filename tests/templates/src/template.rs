//! Templates as data.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use baton_sandbox::Venv;
use serde_json::Value;

use crate::workspace;

/// A template: its text, for what only comments say, and its meaning.
#[derive(Debug, Clone)]
pub struct Template {
    /// The file's name in `infra/`.
    pub name: &'static str,
    /// As it was written.
    pub text: String,
    /// As CloudFormation reads it, short forms written out.
    pub body: Value,
}

/// A statement of a policy.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its name in the policy.
    pub sid: String,
    /// The actions it allows.
    pub actions: BTreeSet<String>,
    /// What it allows them on.
    pub resources: Vec<Value>,
    /// Under which conditions.
    pub condition: Value,
}

impl Template {
    /// Reads a template of `infra/`.
    pub fn read(venv: &Venv, name: &'static str) -> Self {
        let path = workspace("infra").join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let script = workspace("tests/templates/python/to_json.py");
        let output = Command::new(venv.python())
            .arg("-I")
            .args([&script, &path])
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("Python could not be run: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} is not a template: {said}");
        let body = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, text, body }
    }

    /// The resources of one type, by logical id.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let resources = self.body["Resources"].as_object().into_iter().flatten();
        resources
            .filter(move |(_, resource)| resource["Type"] == kind)
            .map(|(id, resource)| (id.as_str(), &resource["Properties"]))
    }

    /// The properties of a resource.
    pub fn resource(&self, id: &str) -> &Value {
        let resource = &self.body["Resources"][id];
        assert!(resource.is_object(), "{} has no resource {id}", self.name);
        &resource["Properties"]
    }

    /// What a role or a managed policy allows.
    pub fn statements(&self, id: &str) -> Vec<Statement> {
        let properties = self.resource(id);
        let documents: Vec<&Value> = match &properties["PolicyDocument"] {
            Value::Null => list(&properties["Policies"]).into_iter().map(|p| &p["PolicyDocument"]).collect(),
            document => vec![document],
        };
        documents.into_iter().flat_map(|document| list(&document["Statement"])).map(statement).collect()
    }

    /// Every action that a role or a managed policy allows.
    pub fn actions(&self, id: &str) -> BTreeSet<String> {
        self.statements(id).into_iter().flat_map(|statement| statement.actions).collect()
    }

    /// The logical ids of everything that carries statements for identities.
    pub fn policies(&self) -> Vec<&str> {
        ["AWS::IAM::Role", "AWS::IAM::ManagedPolicy"]
            .into_iter()
            .flat_map(|kind| self.of_type(kind).map(|(id, _)| id).collect::<Vec<_>>())
            .collect()
    }
}

/// A list, or the one value that stands for a list of one.
pub fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().collect(),
        one => vec![one],
    }
}

/// The texts of a list.
pub fn texts(value: &Value) -> BTreeSet<String> {
    list(value).into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn statement(value: &Value) -> Statement {
    assert_eq!(value["Effect"], "Allow", "a Deny would hide what is allowed: {value}");
    assert!(value.get("NotAction").is_none() && value.get("NotResource").is_none(), "{value}");
    Statement {
        sid: value["Sid"].as_str().unwrap_or_default().to_owned(),
        actions: texts(&value["Action"]),
        resources: list(&value["Resource"]).into_iter().cloned().collect(),
        condition: value["Condition"].clone(),
    }
}
