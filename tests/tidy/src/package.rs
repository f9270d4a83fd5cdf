//! Rules for the packages of nodes and operators, which two tools make from lists of their own.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{File, Finding, Graph};

/// Where zsh looks for completions: Debian's has a directory of its own.
const ZSH: (&str, &str) = ("usr/share/zsh/vendor-completions/", "usr/share/zsh/site-functions/");

/// A file of a package: where it comes from, where it goes, its mode.
type Asset = (String, String, String);

/// The deb and the rpm of a package carry the same files, at the same places, with the same modes.
pub fn package_lists_agree(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut packaged = 0;
    for (manifest, metadata) in graph.metadata() {
        let (deb, rpm) = (&metadata["deb"], &metadata["generate-rpm"]);
        if deb.is_null() && rpm.is_null() {
            continue;
        }
        packaged += 1;
        let (deb, rpm) = (deb_assets(deb), rpm_assets(rpm));
        let finding = |what| Finding { path: manifest.clone(), line: 1, what };
        if deb.is_empty() {
            findings.push(finding("expected the files of the deb, found none".to_owned()));
        }
        let only = |which: &str, (source, to, mode): &Asset| {
            finding(format!("only the {which} has {source} as /{to} with mode {mode}"))
        };
        findings.extend(deb.difference(&rpm).map(|asset| only("deb", asset)));
        findings.extend(rpm.difference(&deb).map(|asset| only("rpm", asset)));
    }
    if packaged == 0 {
        let what = "expected a package for nodes and one for operators".to_owned();
        findings.push(Finding { path: "agent/Cargo.toml".to_owned(), line: 1, what });
    }
    findings
}

/// What the units must say.
const UNITS: [(&str, &[&str]); 2] = [
    (
        "agent/dist/baton-agent.service",
        &[
            // So that a restart hands nothing over.
            "RestartKillSignal=SIGUSR1",
            // So that a package that was only installed does nothing.
            "ConditionPathExists=/etc/baton/agent.toml",
            // So that an agent that is stuck or frozen is replaced within the validity: a stopped process keeps other signals
            // for later.
            "WatchdogSec=3",
            "WatchdogSignal=SIGKILL",
        ],
    ),
    (
        "agent/dist/baton-fence.service",
        &[
            // So that nothing has passed before it: interfaces are set up after that target.
            "Before=network-pre.target baton-agent.service shutdown.target",
            "Wants=network-pre.target",
            // So that no `flush ruleset` comes later.
            "After=nftables.service",
            "ExecStart=/usr/bin/baton-agent fence",
            "ConditionPathExists=/etc/baton/agent.toml",
        ],
    ),
];

/// The units say what the agent's promises rest on.
pub fn units_say_what_counts(files: &[File]) -> Vec<Finding> {
    UNITS.iter().flat_map(|(path, lines)| unit_says(files, path, lines)).collect()
}

fn unit_says(files: &[File], path: &str, lines: &[&str]) -> Vec<Finding> {
    let Some(unit) = files.iter().find(|file| file.path == path) else {
        return vec![Finding { path: path.to_owned(), line: 1, what: "expected this unit".to_owned() }];
    };
    let says = |line: &&str| unit.lines().any(|(_, said)| said == *line);
    let missing = lines.iter().filter(|line| !says(line));
    missing.map(|line| unit.finding(1, format!("expected `{line}`"))).collect()
}

fn deb_assets(deb: &Value) -> BTreeSet<Asset> {
    let list = deb["assets"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|asset| same_words(&asset[0], &asset[1], &asset[2])).collect()
}

fn rpm_assets(rpm: &Value) -> BTreeSet<Asset> {
    let list = rpm["assets"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|asset| same_words(&asset["source"], &asset["dest"], &asset["mode"])).collect()
}

/// An asset in the words of both: a place from the root without its slash, a mode without leading zeros, and zsh's directory
/// as Debian has it.
fn same_words(source: &Value, to: &Value, mode: &Value) -> Asset {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let to = text(to).trim_start_matches('/').replace(ZSH.1, ZSH.0);
    (text(source), to, text(mode).trim_start_matches('0').to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(deb: &Value, rpm: &Value) -> Vec<Finding> {
        package_lists_agree(&Graph::of_one("a", json!({ "deb": deb, "generate-rpm": rpm })))
    }

    fn deb() -> Value {
        json!({ "assets": [
            ["target/release/a", "usr/bin/a", "755"],
            ["_a", "usr/share/zsh/vendor-completions/_a", "644"],
        ]})
    }

    fn rpm() -> Value {
        json!({ "assets": [
            { "source": "_a", "dest": "/usr/share/zsh/site-functions/_a", "mode": "0644" },
            { "source": "target/release/a", "dest": "/usr/bin/a", "mode": "755" },
        ]})
    }

    #[test]
    fn the_same_files_in_other_words_are_no_finding() {
        assert_eq!(found(&deb(), &rpm()), []);
    }

    #[test]
    fn a_file_that_only_one_has_or_with_another_mode_is_found() {
        let mut less = rpm();
        less["assets"].as_array_mut().expect("a list").pop();
        assert_eq!(found(&deb(), &less).len(), 1);
        assert_eq!(found(&deb(), &Value::Null).len(), 2);
        let mut open = rpm();
        open["assets"][1]["mode"] = json!("775");
        assert_eq!(found(&deb(), &open).len(), 2);
        let mut elsewhere = deb();
        elsewhere["assets"][0][1] = json!("usr/sbin/a");
        assert_eq!(found(&elsewhere, &rpm()).len(), 2);
    }

    #[test]
    fn lists_that_are_gone_are_found() {
        assert_eq!(found(&Value::Null, &Value::Null).len(), 1);
        assert_eq!(found(&json!({}), &json!({})).len(), 1);
    }

    #[test]
    fn a_unit_that_lacks_a_line_that_counts_is_found() {
        for (path, lines) in UNITS {
            let found = |lines: &[&str]| {
                unit_says(&[File::made_up(path, &lines.join("\n"))], path, lines_of(path)).len()
            };
            assert_eq!(found(lines), 0);
            for at in 0..lines.len() {
                let mut less = lines.to_vec();
                less[at] = "# as a remark";
                assert_eq!(found(&less), 1, "{path}: {}", lines[at]);
            }
        }
        assert_eq!(units_say_what_counts(&[]).len(), UNITS.len());
    }

    fn lines_of(path: &str) -> &'static [&'static str] {
        UNITS.iter().find(|(unit, _)| *unit == path).map(|(_, lines)| *lines).expect("a unit")
    }
}
