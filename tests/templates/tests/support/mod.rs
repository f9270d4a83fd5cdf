//! Both templates, deployed to the stand-in for an AWS account. The functions are a script that says yes.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use baton_sandbox::account::{Account, StackEnd};
use baton_sandbox::{ACCOUNT_ID, Options, Sandbox};
use baton_templates::workspace;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

pub(crate) struct Deployment {
    pub(crate) sandbox: Sandbox,
    pub(crate) control_plane: StackEnd,
    pub(crate) cluster: StackEnd,
}

impl Deployment {
    pub(crate) fn account(&self) -> &Account {
        self.sandbox.account()
    }

    /// A role that carries policies of the deployed stacks.
    pub(crate) fn role(&self, name: &str, policies: &[&str]) -> String {
        let account = self.account();
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
        let role = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
        let made = account.call("iam", "create_role", &role).expect("the role is made");
        for arn in policies {
            let attach = json!({"RoleName": name, "PolicyArn": arn});
            account.call("iam", "attach_role_policy", &attach).expect("the policy is attached");
        }
        made["Role"]["Arn"].as_str().expect("a role has an ARN").to_owned()
    }

    pub(crate) fn allowed(
        &self,
        role: &str,
        session: &str,
        service: &str,
        operation: &str,
        parameters: &Value,
    ) -> bool {
        self.account().call_as(role, session, service, operation, parameters).expect("an answer").allowed
    }
}

fn package(sandbox: &Sandbox) -> std::path::PathBuf {
    let script =
        std::fs::read_to_string(workspace("tests/templates/python/bootstrap.py")).expect("it is there");
    let path = sandbox.run_dir().join("function.zip");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).expect("a file"));
    archive.start_file("bootstrap", SimpleFileOptions::default().unix_permissions(0o755)).expect("an entry");
    write!(archive, "#!{}\n{script}", sandbox.venv().python().display()).expect("written");
    archive.finish().expect("finished");
    path
}

pub(crate) fn parameters(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn create(account: &Account, stack: &str, template: &Path, given: &[(&str, &str)]) -> StackEnd {
    let end = account.create_stack(stack, template, &parameters(given)).expect("the stack is settled");
    assert_eq!(end.status, "CREATE_COMPLETE", "{stack}: {} {:?}", end.reason, end.failures);
    end
}

pub(crate) fn deploy() -> Deployment {
    let sandbox = Sandbox::start(&Options::default(), &mut |_| ()).expect("the sandbox starts");
    let account = sandbox.account();
    let zip = package(&sandbox);
    let mut bucket = String::new();
    for function in ["arbiter", "sweeper", "registrar"] {
        bucket = account.put_file(&format!("baton/1/baton-{function}.zip"), &zip).expect("stored");
    }
    let roles = format!("arn:aws:iam::{ACCOUNT_ID}:role/baton-route-tables-*");
    let given = [
        ("CodeBucket", &*bucket),
        ("CodePrefix", "baton/1/"),
        ("Architecture", "x86_64"),
        ("AllowFencing", "true"),
        ("RouteTablesRoles", &*roles),
    ];
    let control_plane = create(account, "baton", &workspace("infra/control-plane.yaml"), &given);
    let world = sandbox.world();
    let tables = world.route_tables.join(",");
    let given = [
        ("Cluster", "orders"),
        ("NodeAInstanceId", &*world.instances[0].id),
        ("NodeBInstanceId", &*world.instances[1].id),
        ("NodeCInstanceId", &*world.instances[2].id),
        ("Addresses", &*world.addresses[0].allocation),
        ("RouteDestination", &*world.destination),
        ("RouteTableIds", &*tables),
    ];
    let cluster = create(account, "baton-cluster-orders", &workspace("infra/cluster.yaml"), &given);
    Deployment { sandbox, control_plane, cluster }
}
