//! What several tests of the sandbox use.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_sandbox::{Account, NodeOptions, Options, Sandbox, wait};
use serde_json::{Value, json};

/// The longest that anything here may take on a computer with much else to do.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn sandbox() -> Sandbox {
    Sandbox::start(&Options::default(), &mut |_| ()).expect("the sandbox starts")
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut found: impl FnMut() -> bool) {
    wait::until(what, LIMIT, || Ok(found().then_some(()))).expect(what);
}

/// Waits for a value that is wanted; a failure shows the last one seen and the end of ministack's log.
pub(crate) fn until_equal<T: PartialEq + std::fmt::Debug>(
    sandbox: &Sandbox,
    wanted: &T,
    mut look: impl FnMut() -> T,
) {
    let mut last = None;
    let waited = wait::until("the wanted value", LIMIT, || {
        let found = look();
        let equal = &found == wanted;
        last = Some(found);
        Ok(equal.then_some(()))
    });
    let log = fs::read_to_string(sandbox.ministack().log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(25)..].join("\n");
    assert!(waited.is_ok(), "wanted {wanted:?}, found {last:?}; ministack said:\n{tail}");
}

/// An executable script that runs a Python file with the sandbox's interpreter.
pub(crate) fn executable(sandbox: &Sandbox, name: &str, body: &str) -> PathBuf {
    let path = sandbox.run_dir().join(name);
    fs::write(&path, format!("#!{}\n{body}", sandbox.venv().python().display())).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    path
}

/// Nodes that run `agent.py` in place of an agent.
pub(crate) fn node_options(sandbox: &Sandbox, role: Option<String>) -> NodeOptions {
    let body = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/agent.py"));
    NodeOptions {
        agent: executable(sandbox, "agent", &body.expect("readable")),
        cluster: "orders".to_owned(),
        table: "baton".to_owned(),
        bus: "baton".to_owned(),
        role,
        env: BTreeMap::new(),
        fall: 2,
    }
}

/// A role with one inline policy; returns its ARN.
pub(crate) fn make_role(account: &Account, name: &str, service: &str, policy: &Value) -> String {
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]});
    let role = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
    let made = account.call("iam", "create_role", &role).expect("the role is made");
    let inline = json!({"RoleName": name, "PolicyName": "own", "PolicyDocument": policy.to_string()});
    account.call("iam", "put_role_policy", &inline).expect("the policy is taken");
    made["Role"]["Arn"].as_str().expect("has an ARN").to_owned()
}
