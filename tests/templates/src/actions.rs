//! The IAM actions that code can ask for.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{called_on, calls, functions, shipped};

/// What a part of the store's code asks of DynamoDB. A transaction has no action of its own: each of its
/// parts is authorised as what it does.
const DEEDS: &[(&str, &str)] = &[
    (".get_item()", "dynamodb:GetItem"),
    (".batch_get_item()", "dynamodb:BatchGetItem"),
    (".query()", "dynamodb:Query"),
    ("Action::update(", "dynamodb:UpdateItem"),
    ("Deed::Update(", "dynamodb:UpdateItem"),
    ("Deed::Put(", "dynamodb:PutItem"),
    ("Deed::Delete", "dynamodb:DeleteItem"),
    ("Deed::Check", "dynamodb:ConditionCheckItem"),
];

/// Functions of the store that carry out any deed they are given; the deed counts where it is made.
const CARRIERS: &[&str] = &["write", "transact", "in_transaction", "update"];

/// Operations of the DynamoDB client that [`DEEDS`] and [`CARRIERS`] cover.
pub const KNOWN_OPERATIONS: &[&str] =
    &["batch_get_item", "get_item", "put_item", "query", "transact_write_items", "update_item"];

/// What every method of the store asks of DynamoDB, itself and through what it calls.
pub fn store_actions() -> BTreeMap<String, BTreeSet<&'static str>> {
    let code = shipped("crates/store/src");
    let functions = functions(&code);
    functions.keys().map(|name| (name.clone(), reached(name, &functions))).collect()
}

fn reached(from: &str, functions: &BTreeMap<String, String>) -> BTreeSet<&'static str> {
    let mut seen = BTreeSet::new();
    let mut left = vec![from.to_owned()];
    let mut actions = BTreeSet::new();
    while let Some(name) = left.pop() {
        let Some(body) = functions.get(&name).filter(|_| !CARRIERS.contains(&name.as_str())) else {
            continue;
        };
        if seen.insert(name) {
            actions.extend(DEEDS.iter().filter(|(sign, _)| body.contains(sign)).map(|(_, action)| *action));
            left.extend(calls(body));
        }
    }
    actions
}

/// What looking at what surrounds a cluster, and mending it, asks of AWS: each operation of EC2 that the code of
/// `crates/survey` calls, and each that it signs.
pub fn survey_actions() -> BTreeSet<String> {
    let code = shipped("crates/survey/src");
    let ec2 = called_on(&code, "ec2").into_iter().map(|method| format!("ec2:{}", camel(&method)));
    let signed = raw("crates/survey/src/signed.rs");
    let signed = variants(&code, "Operation").into_iter().map(|variant| {
        let arm = signed.lines().find(|line| line.contains(&format!("Self::{variant} =>")));
        arm.and_then(|line| line.split('"').nth(1))
            .unwrap_or_else(|| panic!("{variant} has no action"))
            .to_owned()
    });
    ec2.chain(signed).collect()
}

/// What looking at the network around the nodes asks of EC2, which is a part of that.
pub fn network_actions() -> BTreeSet<String> {
    let functions = functions(&shipped("crates/survey/src/aws"));
    let (mut seen, mut left) = (BTreeSet::new(), vec!["around".to_owned()]);
    let mut actions = BTreeSet::new();
    while let Some(name) = left.pop() {
        let Some(body) = functions.get(&name) else { continue };
        if seen.insert(name) {
            actions
                .extend(called_on(body, "ec2").into_iter().map(|method| format!("ec2:{}", camel(&method))));
            left.extend(calls(body));
        }
    }
    actions
}

/// An operation of the SDK as EC2 names it: `describe_vpcs` is `DescribeVpcs`.
fn camel(method: &str) -> String {
    let upper = |word: &str| {
        let mut letters = word.chars();
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>()
    };
    method.split('_').map(upper).collect()
}

/// What the code in some directories asks of the table, the bus and EC2.
pub fn used_by(directories: &[&str]) -> BTreeSet<String> {
    let code: String = directories.iter().map(|directory| shipped(directory)).collect();
    let mut actions = BTreeSet::new();
    let store = store_actions();
    for method in called_on(&code, "store") {
        actions.extend(store.get(&method).into_iter().flatten().map(|action| (*action).to_owned()));
    }
    if called_on(&code, "account").contains("network") {
        actions.extend(network_actions());
    }
    if code.contains("Bus::new(") {
        actions.insert("events:PutEvents".to_owned());
    }
    if code.contains("Scaling::new(") {
        actions.insert("autoscaling:CompleteLifecycleAction".to_owned());
    }
    actions.extend(ec2_actions(&code));
    actions
}

/// What code asks of EC2. Looks and calls are made as data in the protocol, so whoever hands any on may come
/// to hand on each that the protocol can make.
fn ec2_actions(code: &str) -> BTreeSet<String> {
    let methods = called_on(code, "cloud");
    let protocol = shipped("crates/protocol/src");
    let permission = raw("crates/cloud/src/permission.rs");
    let mut actions = BTreeSet::new();
    for (method, kind) in [("look", "Look"), ("call", "Call")] {
        if methods.contains(method) {
            let made = variants(code, kind).into_iter().chain(variants(&protocol, kind));
            actions.extend(made.map(|variant| arm(&permission, kind, &variant)));
        }
    }
    for (method, action) in [
        ("instances", "ec2:DescribeInstances"),
        ("subnets", "ec2:DescribeSubnets"),
        ("tables", "ec2:DescribeRouteTables"),
        ("interface_tags", "ec2:DescribeNetworkInterfaces"),
        ("tables_of", "ec2:DescribeRouteTables"),
        ("tagged", "ec2:DescribeInstances"),
        ("vpc_networks", "ec2:DescribeVpcs"),
        // The role of another account's route tables.
        ("through", "sts:AssumeRole"),
    ] {
        if methods.contains(method) {
            assert!(
                permission.contains(&format!("\"{action}\"")),
                "{action} is not in the cloud crate's lists"
            );
            actions.insert(action.to_owned());
        }
    }
    actions
}

/// The variants of an enum that code makes or names.
fn variants(code: &str, kind: &str) -> BTreeSet<String> {
    let sign = format!("{kind}::");
    let named = code.match_indices(&sign).filter_map(|(at, _)| {
        let before = code[..at].chars().next_back();
        let name: String = code[at + sign.len()..].chars().take_while(|c| c.is_alphanumeric()).collect();
        let is_variant = name.starts_with(|c: char| c.is_ascii_uppercase());
        let is_kind = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        (is_variant && is_kind).then_some(name)
    });
    named.collect()
}

/// The action that the cloud crate gives a variant.
fn arm(permission: &str, kind: &str, variant: &str) -> String {
    let found = permission
        .lines()
        .filter(|line| line.contains("=>"))
        .find(|line| line.split("=>").next().is_some_and(|arm| variants(arm, kind).contains(variant)))
        .and_then(|line| line.split('"').nth(1));
    found.unwrap_or_else(|| panic!("the cloud crate gives {kind}::{variant} no action")).to_owned()
}

fn raw(path: &str) -> String {
    std::fs::read_to_string(crate::workspace(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
