//! What the templates must be whatever they deploy.

use std::process::Stdio;
use std::sync::LazyLock;

use baton_sandbox::Venv;
use baton_templates::guard::without_reason;
use baton_templates::template::{Template, list, texts};
use baton_templates::workspace;

static VENV: LazyLock<Venv> = LazyLock::new(|| Venv::ensure().expect("the Python environment is made"));

/// Every template there is, so that a new one cannot be forgotten here.
static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let mut found = Vec::new();
    for directory in ["", "examples/"] {
        let Ok(entries) = std::fs::read_dir(workspace("infra").join(directory)) else { continue };
        for entry in entries {
            let name = entry.expect("infra can be read").file_name().to_string_lossy().into_owned();
            if name.ends_with(".yaml") {
                found.push(Template::read(&VENV, format!("{directory}{name}").leak()));
            }
        }
    }
    assert!(found.len() >= 2, "infra holds two templates at least");
    found
});

#[test]
fn cfn_lint_finds_nothing_to_say() {
    for template in TEMPLATES.iter() {
        let output = VENV
            .tool("cfn-lint")
            .args(["--include-checks", "I", "--format", "parseable", "--template"])
            .arg(workspace("infra").join(template.name))
            .stdin(Stdio::null())
            .output()
            .expect("cfn-lint runs");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}: {}", template.name, String::from_utf8_lossy(&said));
    }
}

#[test]
fn every_suppression_of_a_rule_gives_its_reason() {
    let mut suppressions = 0;
    for template in TEMPLATES.iter() {
        assert_eq!(without_reason(template.name, &template.text), [] as [String; 0]);
        suppressions += template.text.matches("checkov:skip=").count();
    }
    assert!(suppressions > 0, "no template suppresses a rule, and nothing was looked at");
}

#[test]
fn no_template_names_a_partition() {
    for template in TEMPLATES.iter() {
        for partition in ["arn:aws:", "arn:aws-cn:", "arn:aws-us-gov:", "amazonaws.com.cn"] {
            assert!(!template.text.contains(partition), "{} holds {partition}", template.name);
        }
    }
}

#[test]
fn no_template_needs_a_macro() {
    for template in TEMPLATES.iter() {
        assert!(template.body.get("Transform").is_none(), "{}", template.name);
    }
}

#[test]
fn every_star_as_a_resource_has_its_reason_above_it() {
    for template in TEMPLATES.iter() {
        let lines: Vec<&str> = template.text.lines().map(str::trim).collect();
        let starred = ["Resource: \"*\"", "- \"*\"", "Resource: '*'", "- '*'"];
        let reasoned = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| starred.contains(line))
            .inspect(|(number, _)| {
                let above = lines[number - 1];
                assert!(above.starts_with("# "), "{}:{} says not why", template.name, number + 1);
            })
            .count();
        let policies = template.policies();
        let statements = policies.iter().flat_map(|id| template.statements(id));
        let stars = statements.flat_map(|statement| statement.resources).filter(|resource| *resource == "*");
        assert_eq!(stars.count(), reasoned, "{} hides a star in another spelling", template.name);
    }
}

#[test]
fn no_policy_allows_actions_by_pattern() {
    for template in TEMPLATES.iter() {
        for id in template.policies() {
            for action in template.actions(id) {
                assert!(!action.contains('*'), "{id} allows {action}");
            }
        }
    }
}

#[test]
fn every_parameter_says_what_it_must_be() {
    for template in TEMPLATES.iter() {
        let parameters = template.body["Parameters"].as_object().expect("has parameters");
        let interface = &template.body["Metadata"]["AWS::CloudFormation::Interface"];
        let grouped: Vec<&str> = list(&interface["ParameterGroups"])
            .into_iter()
            .flat_map(|group| list(&group["Parameters"]))
            .filter_map(|name| name.as_str())
            .collect();
        for (name, parameter) in parameters {
            assert!(parameter["Description"].is_string(), "{name} has no description");
            assert!(interface["ParameterLabels"][name]["default"].is_string(), "{name} has no label");
            assert_eq!(
                grouped.iter().filter(|grouped| *grouped == name).count(),
                1,
                "{name} is in one group"
            );
            if parameter.get("AllowedPattern").is_some() || parameter.get("MinValue").is_some() {
                assert!(parameter["ConstraintDescription"].is_string(), "{name}: a pattern explains nothing");
            }
        }
        assert_eq!(grouped.len(), parameters.len(), "{} groups what is no parameter", template.name);
    }
}

#[test]
fn every_alarm_names_a_section_of_the_runbook() {
    let runbook = std::fs::read_to_string(workspace("docs/OPERATIONS.md")).expect("the runbook is there");
    let sections: Vec<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    let mut alarms = 0;
    for template in TEMPLATES.iter() {
        for (id, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
            alarms += 1;
            let description = alarm["AlarmDescription"].as_str().unwrap_or_default();
            let section = description.split_once("docs/OPERATIONS.md#").map(|(_, section)| section.trim());
            let section = section.unwrap_or_else(|| panic!("{id} names no section of the runbook"));
            assert!(sections.iter().any(|known| known == section), "the runbook has no section {section}");
            assert!(alarm["TreatMissingData"].is_string(), "{id} leaves open what missing data means");
        }
    }
    assert!(alarms > 0, "no template has an alarm");
}

#[test]
fn every_parameter_that_the_manual_gives_is_one_of_the_template() {
    let manual = std::fs::read_to_string(workspace("infra/README.md")).expect("the manual is there");
    let mut given = 0;
    for block in manual.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let named = |template: &&Template| block.contains(&format!("infra/{}", template.name));
        let parameters: Vec<&Template> = TEMPLATES.iter().filter(named).collect();
        let joined = block.replace("\\\n", " ");
        for line in joined.lines() {
            let Some((_, overrides)) = line.split_once("--parameter-overrides ") else { continue };
            for (name, _) in overrides.split_whitespace().filter_map(|pair| pair.split_once('=')) {
                given += 1;
                let known = parameters.iter().any(|template| template.body["Parameters"].get(name).is_some());
                assert!(known, "infra/README.md gives {name}, which no template has that is named beside it");
            }
        }
    }
    assert!(given > 10, "the manual gives {given} parameters only: it is not read as it is written");
}

#[test]
fn no_output_or_resource_is_without_its_stack_in_its_export() {
    for template in TEMPLATES.iter() {
        for (name, output) in template.body["Outputs"].as_object().into_iter().flatten() {
            if let Some(export) = output.get("Export") {
                assert_eq!(export["Name"]["Fn::Sub"], format!("${{AWS::StackName}}-{name}"), "{name}");
            }
        }
        let imported: Vec<String> = template
            .text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Fn::ImportValue: !Sub \"${ControlPlaneStack}-"))
            .map(|name| name.trim_end_matches('"').to_owned())
            .collect();
        let control_plane = TEMPLATES.iter().find(|t| t.name == "control-plane.yaml").expect("there is one");
        for name in imported {
            let output = &control_plane.body["Outputs"][&name];
            assert!(
                output.get("Export").is_some(),
                "{} imports {name}, which is not exported",
                template.name
            );
        }
    }
}

#[test]
fn nothing_that_holds_data_goes_with_its_stack_unsaid() {
    for template in TEMPLATES.iter() {
        for kind in ["AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::Logs::LogGroup"] {
            for (id, _) in template.of_type(kind) {
                let resource = &template.body["Resources"][id];
                let expected = if kind == "AWS::DynamoDB::Table" { "Retain" } else { "Delete" };
                for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
                    assert_eq!(resource[policy], expected, "{id} {policy}");
                }
            }
        }
        for (id, queue) in template.of_type("AWS::SQS::Queue") {
            assert_eq!(queue["SqsManagedSseEnabled"], true, "{id}");
            assert_eq!(queue["MessageRetentionPeriod"], 1_209_600, "{id} keeps messages for 14 days");
        }
        for (id, table) in template.of_type("AWS::DynamoDB::Table") {
            assert_eq!(table["DeletionProtectionEnabled"], true, "{id}");
            let recovery = &table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"];
            assert_eq!(*recovery, true, "{id}");
            assert_eq!(texts(&table["TimeToLiveSpecification"]["AttributeName"]).len(), 1, "{id}");
        }
    }
}
