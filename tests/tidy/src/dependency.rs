//! Rules for what may depend on what, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Finding;
use crate::file::root;

/// Programs that are shipped, and the project's own commands.
const BINARIES: [&str; 6] =
    ["baton", "baton-agent", "baton-arbiter", "baton-registrar", "baton-sweeper", "xtask"];

/// Made by a tool, from the other members.
const GENERATED: &str = "workspace-hack";

/// Crates whose direct dependencies are listed whole, since what they are is that they have no others.
const BARE: [(&str, &[&str]); 2] =
    [("baton-protocol", &["serde", "thiserror"]), ("baton-doctor", &["baton-protocol", "serde"])];

/// What must not be linked into whom, however indirectly; a name that ends in `*` stands for all that begin so.
const NEVER_LINKED: [(&str, &[&str]); 7] = [
    (
        "baton-protocol",
        &[
            "tokio",
            "futures*",
            "hyper*",
            "aws*",
            "lambda*",
            "rand*",
            "getrandom",
            "jiff",
            "chrono",
            "nix",
            "libc",
        ],
    ),
    (
        "baton-doctor",
        &[
            "tokio",
            "futures*",
            "hyper*",
            "aws*",
            "lambda*",
            "rand*",
            "getrandom",
            "jiff",
            "chrono",
            "nix",
            "libc",
        ],
    ),
    ("baton-store", &["baton-cloud", "baton-doctor", "aws-sdk-ec2", "lambda*"]),
    ("baton-cloud", &["baton-store", "baton-doctor", "aws-sdk-dynamodb", "lambda*"]),
    ("baton-survey", &["baton-store", "baton-cloud", "baton-client", "aws-sdk-dynamodb", "lambda*"]),
    ("baton-agent", &["baton-cloud", "baton-doctor", "baton-survey", "aws-sdk-ec2", "lambda*"]),
    // `baton doctor` asks EC2 with its operator's own rights (ADR 0038).
    ("baton", &["baton-arbiter", "baton-agent", "baton-registrar", "baton-sweeper", "lambda*"]),
];

/// A package of the workspace or one that it uses.
#[derive(Debug, Clone, Default)]
struct Package {
    name: String,
    manifest: String,
    license: Option<String>,
    publishes: bool,
    /// Names of direct dependencies by kind: `normal`, `dev`, `build`.
    declared: Vec<(String, String)>,
    /// Ids of packages that are linked into it.
    linked: Vec<String>,
    /// What its manifest says to other tools.
    metadata: Value,
}

/// Every package that is built for this kind of machine.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    packages: BTreeMap<String, Package>,
    members: Vec<String>,
}

impl Graph {
    /// Asks cargo.
    ///
    /// # Panics
    /// If cargo cannot tell.
    pub fn load() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut command = Command::new(cargo);
        command.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &platform]);
        let output = command.current_dir(root()).stdin(Stdio::null()).output().expect("cargo can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self::read(&serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON"))
    }

    fn read(metadata: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut packages = BTreeMap::new();
        for package in list(&metadata["packages"]) {
            let dependencies = list(&package["dependencies"]);
            let kind = |of: &Value| of["kind"].as_str().unwrap_or("normal").to_owned();
            packages.insert(
                text(&package["id"]),
                Package {
                    name: text(&package["name"]),
                    manifest: text(&package["manifest_path"]),
                    license: package["license"].as_str().map(str::to_owned),
                    metadata: package["metadata"].clone(),
                    publishes: package["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
                    declared: dependencies.iter().map(|of| (kind(of), text(&of["name"]))).collect(),
                    linked: Vec::new(),
                },
            );
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            let is_linked =
                |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let linked = list(&node["deps"])
                .iter()
                .filter(|dep| is_linked(dep))
                .map(|dep| text(&dep["pkg"]))
                .collect();
            if let Some(package) = packages.get_mut(&text(&node["id"])) {
                package.linked = linked;
            }
        }
        let members = list(&metadata["workspace_members"]).iter().map(text).collect();
        Self { packages, members }
    }

    /// The manifest of each member, from the root, and what it says to other tools.
    pub(crate) fn metadata(&self) -> impl Iterator<Item = (String, &Value)> {
        self.members().map(|(_, package)| (package.path(), &package.metadata))
    }

    /// A workspace of one member that says this to other tools.
    #[cfg(test)]
    pub(crate) fn of_one(name: &str, metadata: Value) -> Self {
        let package = Package { name: name.to_owned(), metadata, ..Package::default() };
        Self { packages: BTreeMap::from([(name.to_owned(), package)]), members: vec![name.to_owned()] }
    }

    fn members(&self) -> impl Iterator<Item = (&String, &Package)> {
        self.members.iter().filter_map(|id| self.packages.get_key_value(id))
    }

    /// Every package linked into the one with this id, each with the chain of names that leads to it.
    fn linked_into(&self, id: &str) -> BTreeMap<String, String> {
        let mut chains = BTreeMap::new();
        let mut open = vec![(id.to_owned(), String::new())];
        let mut seen = BTreeSet::new();
        while let Some((id, chain)) = open.pop() {
            let Some(package) = self.packages.get(&id).filter(|_| seen.insert(id.clone())) else { continue };
            for next in &package.linked {
                let Some(name) = self.packages.get(next).map(|found| found.name.clone()) else { continue };
                let chain = format!("{chain} → {name}");
                chains.entry(name).or_insert_with(|| chain.clone());
                open.push((next.clone(), chain));
            }
        }
        chains
    }
}

impl Package {
    fn finding(&self, what: String) -> Finding {
        Finding { path: self.path(), line: 1, what }
    }

    /// Its manifest, from the root.
    fn path(&self) -> String {
        let root = std::fs::canonicalize(root()).unwrap_or_else(|_| root());
        let path = std::path::Path::new(&self.manifest);
        path.strip_prefix(&root).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn declares(&self, kinds: &[&str]) -> impl Iterator<Item = &str> {
        self.declared.iter().filter(|(kind, _)| kinds.contains(&kind.as_str())).map(|(_, name)| name.as_str())
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or_else(|| pattern == name, |start| name.starts_with(start))
}

/// Dependencies point one way: the decision knows nothing of I/O, the table nothing of EC2, and what runs on a node links no
/// EC2 client.
pub fn dependencies_point_one_way(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (id, package) in graph.members() {
        if let Some((_, allowed)) = BARE.iter().find(|(name, _)| *name == package.name) {
            for extra in package.declares(&["normal", "build"]).filter(|name| !allowed.contains(name)) {
                findings.push(package.finding(format!(
                    "{} depends on {extra}, expected only {}",
                    package.name,
                    allowed.join(", ")
                )));
            }
        }
        if let Some((_, forbidden)) = NEVER_LINKED.iter().find(|(name, _)| *name == package.name) {
            for (name, chain) in graph.linked_into(id) {
                if forbidden.iter().any(|pattern| matches(pattern, &name)) {
                    findings
                        .push(package.finding(format!("{name} is linked into it: {}{chain}", package.name)));
                }
            }
        }
        let only_known = ["baton-store", "baton-cloud", "baton-doctor"].contains(&package.name.as_str());
        if only_known && !package.declares(&["normal"]).any(|name| name == "baton-protocol") {
            findings.push(package.finding(format!("{} does not depend on baton-protocol", package.name)));
        }
    }
    findings
}

/// No binary depends on another, not even in its tests, and nothing that ships depends on what only tests use.
pub fn binaries_stand_alone(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of_tests: BTreeSet<&str> = graph
        .members()
        .filter(|(_, package)| package.manifest.contains("/tests/"))
        .map(|(_, package)| package.name.as_str())
        .collect();
    for (_, package) in graph.members() {
        let is_binary = BINARIES.contains(&package.name.as_str());
        let others = package.declares(&["normal", "dev", "build"]).filter(|name| BINARIES.contains(name));
        for other in others.filter(|_| is_binary) {
            findings.push(package.finding(format!(
                "{} depends on {other}: what both need belongs into a crate",
                package.name
            )));
        }
        let ships = package.name != "xtask" && !of_tests.contains(package.name.as_str());
        for other in package.declares(&["normal", "build"]).filter(|name| ships && of_tests.contains(name)) {
            findings.push(
                package.finding(format!("{} ships and depends on {other}, which is for tests", package.name)),
            );
        }
    }
    findings
}

/// Every member is under the project's licence, is published nowhere, and takes the workspace's lints.
pub fn members_say_the_same(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (_, package) in graph.members() {
        if package.license.as_deref() != Some("Apache-2.0") {
            findings.push(package.finding("expected `license.workspace = true`".to_owned()));
        }
        if package.publishes {
            findings.push(package.finding("expected `publish.workspace = true`".to_owned()));
        }
        let manifest = std::fs::read_to_string(&package.manifest).unwrap_or_default();
        if package.name != GENERATED && !manifest.contains("[lints]\nworkspace = true") {
            findings.push(package.finding("expected `[lints]` with `workspace = true`".to_owned()));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A graph of members that link each other, as cargo would print it.
    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        let packages: Vec<Value> = edges
            .iter()
            .map(|(name, to)| {
                let dependencies: Vec<Value> =
                    to.iter().map(|to| json!({ "name": to, "kind": null })).collect();
                let directory = if *name == "baton-sandbox" { "tests/sandbox" } else { name };
                json!({ "id": name, "name": name, "manifest_path": format!("/x/{directory}/Cargo.toml"),
                    "license": "Apache-2.0", "publish": [], "dependencies": dependencies })
            })
            .collect();
        let nodes: Vec<Value> = edges
            .iter()
            .map(|(name, to)| {
                let deps: Vec<Value> =
                    to.iter().map(|to| json!({ "pkg": to, "dep_kinds": [{ "kind": null }] })).collect();
                json!({ "id": name, "deps": deps })
            })
            .collect();
        let members: Vec<&str> = edges.iter().map(|(name, _)| *name).collect();
        Graph::read(
            &json!({ "packages": packages, "resolve": { "nodes": nodes }, "workspace_members": members }),
        )
    }

    #[test]
    fn a_runtime_in_the_protocol_is_found_however_deep() {
        let deep =
            graph(&[("baton-protocol", &["serde"]), ("serde", &["x"]), ("x", &["tokio"]), ("tokio", &[])]);
        let found = dependencies_point_one_way(&deep);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("baton-protocol → serde → x → tokio"), "{found:?}");
    }

    #[test]
    fn a_further_dependency_of_the_protocol_is_found() {
        assert_eq!(dependencies_point_one_way(&graph(&[("baton-protocol", &["serde", "log"])])).len(), 1);
        assert_eq!(dependencies_point_one_way(&graph(&[("baton-protocol", &["serde", "thiserror"])])), []);
    }

    #[test]
    fn an_agent_that_links_ec2_is_found() {
        let linked = graph(&[
            ("baton-agent", &["baton-cloud"]),
            ("baton-cloud", &["baton-protocol"]),
            ("baton-protocol", &[]),
        ]);
        assert_eq!(dependencies_point_one_way(&linked).len(), 1);
    }

    #[test]
    fn a_binary_that_depends_on_another_or_on_the_sandbox_is_found() {
        assert_eq!(binaries_stand_alone(&graph(&[("baton-agent", &["baton"]), ("baton", &[])])).len(), 1);
        assert_eq!(
            binaries_stand_alone(&graph(&[("baton-store", &["baton-sandbox"]), ("baton-sandbox", &[])]))
                .len(),
            1
        );
        assert_eq!(
            binaries_stand_alone(&graph(&[("xtask", &["baton-sandbox"]), ("baton-sandbox", &[])])),
            []
        );
    }
}
