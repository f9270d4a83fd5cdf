//! Reading the policy of a VPC endpoint into its type.

use baton_doctor::policy::{Names, Policy, Statement};
use serde_json::{Map, Value};

/// The most characters of one (AWS PrivateLink, Control access to VPC endpoints using endpoint policies).
const LONGEST: usize = 20_480;

/// Reads a policy document. The error says what of it cannot be read.
pub(crate) fn parse(document: &str) -> Result<Policy, String> {
    let length = document.chars().count();
    if length > LONGEST {
        return Err(format!("its policy has {length} characters, expected {LONGEST} at most"));
    }
    let body: Value =
        serde_json::from_str(document).map_err(|error| format!("its policy is no JSON: {error}"))?;
    let statements = match body.get("Statement") {
        Some(Value::Array(all)) => all.iter().map(statement).collect::<Result<_, _>>()?,
        Some(one @ Value::Object(_)) => vec![statement(one)?],
        _ => return Err("its policy has no statements".to_owned()),
    };
    Ok(Policy { statements })
}

fn statement(value: &Value) -> Result<Statement, String> {
    let fields = value.as_object().ok_or("a statement of its policy is no object")?;
    let allows = match fields.get("Effect").and_then(Value::as_str) {
        Some("Allow") => true,
        Some("Deny") => false,
        _ => return Err("a statement of its policy neither allows nor denies".to_owned()),
    };
    let conditional = match fields.get("Condition") {
        None => false,
        Some(Value::Object(conditions)) => !conditions.is_empty(),
        Some(_) => true,
    };
    Ok(Statement {
        allows,
        of_everybody: fields.get("Principal").is_some_and(everybody),
        conditional,
        actions: names(fields, "Action")?,
        resources: names(fields, "Resource")?,
    })
}

/// `"*"` and `{"AWS": "*"}` are alike (IAM, Principal).
fn everybody(principal: &Value) -> bool {
    let star =
        |value: &Value| value == "*" || value.as_array().is_some_and(|all| all.iter().any(|one| one == "*"));
    star(principal) || principal.get("AWS").is_some_and(star)
}

fn names(fields: &Map<String, Value>, part: &str) -> Result<Names, String> {
    let not = format!("Not{part}");
    match (fields.get(part), fields.get(&not)) {
        (Some(some), None) => Ok(Names::Any(texts(some, part)?)),
        (None, Some(some)) => Ok(Names::None(texts(some, &not)?)),
        _ => Err(format!("a statement of its policy does not have one of {part} and {not}")),
    }
}

fn texts(value: &Value, part: &str) -> Result<Vec<String>, String> {
    let all = match value {
        Value::String(one) => return Ok(vec![one.clone()]),
        Value::Array(all) => all,
        _ => return Err(format!("{part} of its policy is no text")),
    };
    let texts: Option<Vec<String>> = all.iter().map(|one| one.as_str().map(str::to_owned)).collect();
    texts.ok_or_else(|| format!("{part} of its policy is no text"))
}

#[cfg(test)]
mod tests {
    use baton_doctor::policy::Ruling;
    use serde_json::json;

    use super::*;

    const TABLE: &str = "arn:aws:dynamodb:eu-west-1:123456789012:table/baton";

    fn ruling(document: &Value) -> Ruling {
        let policy = parse(&document.to_string()).expect("a policy");
        policy.ruling("dynamodb:GetItem", TABLE)
    }

    #[test]
    fn a_policy_is_read_in_every_shape_that_iam_has() {
        let all = json!({ "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*" });
        assert_eq!(ruling(&json!({ "Version": "2008-10-17", "Statement": [all] })), Ruling::Allowed);
        assert_eq!(ruling(&json!({ "Statement": all })), Ruling::Allowed, "one statement alone");
        let with = |key: &str, value: Value| {
            let mut one = all.clone();
            one[key] = value;
            ruling(&json!({ "Statement": [one] }))
        };
        assert_eq!(with("Principal", json!({ "AWS": ["*"] })), Ruling::Allowed);
        assert_eq!(with("Principal", json!({ "AWS": "123456789012" })), Ruling::Unknown);
        assert_eq!(
            with("Condition", json!({ "StringEquals": { "aws:PrincipalArn": "x" } })),
            Ruling::Unknown
        );
        assert_eq!(with("Condition", json!({})), Ruling::Allowed);
        assert_eq!(with("Action", json!(["dynamodb:GetItem", "dynamodb:Query"])), Ruling::Allowed);
        assert_eq!(with("Resource", json!("arn:aws:dynamodb:*:*:table/other")), Ruling::Denied);
        let but =
            json!({ "Effect": "Allow", "Principal": "*", "NotAction": "s3:*", "NotResource": "*other" });
        assert_eq!(ruling(&json!({ "Statement": [but] })), Ruling::Allowed);
    }

    #[test]
    fn what_is_no_policy_is_refused_with_what_it_lacks() {
        let long = format!("{{\"Statement\": \"{}\"}}", "x".repeat(LONGEST));
        for (bad, said) in [
            (long.as_str(), "20480 at most"),
            ("", "no JSON"),
            ("{}", "no statements"),
            (r#"{"Statement": ["x"]}"#, "no object"),
            (r#"{"Statement": [{"Effect": "allow"}]}"#, "neither allows nor denies"),
            (r#"{"Statement": [{"Effect": "Deny", "Resource": "*"}]}"#, "Action and NotAction"),
            (r#"{"Statement": [{"Effect": "Deny", "Action": 1, "Resource": "*"}]}"#, "Action of its policy"),
            (
                r#"{"Statement": [{"Effect": "Deny", "Action": [1], "Resource": "*"}]}"#,
                "Action of its policy",
            ),
        ] {
            let refused = parse(bad).expect_err("refused");
            assert!(refused.contains(said), "{refused}");
        }
        assert!(parse(&"[".repeat(10_000)).is_err(), "no deeper than the reader goes");
    }
}
