//! `baton doctor` as an operator types it, with the twins of the table, of EC2 and of the account.
//!
//! The twin of EC2 is empty, so that the nodes' instances are missing is found each time. What a cluster in order looks like is shown
//! with real servers: `cargo xtask scenarios doctor`.

use std::collections::{BTreeMap, BTreeSet};

use baton_cloud::MemoryCloud;
use baton_doctor::policy::Policy;
use baton_doctor::survey::*;
use baton_doctor::{Change, Seen};
use baton_protocol::ids::InstanceId;
use baton_survey::MemoryAccount;
use serde_json::Value;

use crate::args::{Cli, Command};
use crate::command::{Session, doctor};
use crate::console::{Console, Look};
use crate::exit::Exit;
use crate::gather::Eyes;
use crate::testing::world::{Run, World, ready};
use crate::testing::{PIPE, TERMINAL, arn, name};

fn instance(letter: char) -> InstanceId {
    arn(letter).instance_id()
}

const TABLE: &str = "rtb-0123456789abcdef0";

/// A network ACL of these subnets that lets everything pass.
fn open_acl(subnets: BTreeSet<String>) -> AclDetail {
    let entry = |egress| AclEntry {
        number: 100,
        egress,
        allow: true,
        protocol: "-1".to_owned(),
        ports: None,
        network: "0.0.0.0/0".to_owned(),
    };
    let entries = [entry(true), entry(false)].into();
    AclDetail { id: "acl-1".to_owned(), default: true, subnets, entries }
}

/// An endpoint that this table leads to.
fn gateway(table: &str) -> EndpointDetail {
    EndpointDetail {
        id: "vpce-1".to_owned(),
        service: "com.amazonaws.eu-west-1.dynamodb".to_owned(),
        gateway: true,
        state: "available".to_owned(),
        tables: [table.to_owned()].into(),
        groups: Vec::new(),
        private_dns: false,
        policy: Seen::Known(Policy::everything()),
    }
}

/// An account with nothing to be found in it, but that db-b may be recovered by EC2, and db-c lets HTTPS out nowhere.
fn survey() -> Survey {
    let letters = ['a', 'b', 'c'];
    let detail = |letter| InstanceDetail {
        state: "running".to_owned(),
        metadata: true,
        token_required: true,
        auto_recovery: letter == 'b',
        hibernation: false,
        tagged: true,
    };
    let attached = |letter: char| InterfaceDetail {
        instance: Some(instance(letter)),
        device_index: Some(0),
        subnet: format!("subnet-{letter}"),
        groups: vec![if letter == 'c' { "sg-c" } else { "sg-1" }.to_owned()],
        source_dest_check: false,
        tagged: true,
    };
    let out = Rule { protocol: "-1".to_owned(), from: -1, to: -1, peer: "0.0.0.0/0".to_owned() };
    let open = GroupDetail { ingress: BTreeSet::new(), egress: [out].into() };
    let table = TableDetail {
        id: TABLE.to_owned(),
        main: true,
        subnets: letters.map(|letter| format!("subnet-{letter}")).into(),
        tagged: true,
        ..TableDetail::default()
    };
    let subnet = |letter: char| SubnetDetail {
        id: format!("subnet-{letter}"),
        zone: format!("euw1-az-{letter}"),
        network: "10.0.1.0/24".to_owned(),
        owner: "123456789012".to_owned(),
    };
    let groups = [("sg-1".to_owned(), open), ("sg-c".to_owned(), GroupDetail::default())];
    Survey {
        instances: Seen::Known(letters.map(|letter| (instance(letter), detail(letter))).into()),
        statuses: Seen::Known(BTreeMap::new()),
        profiles: Seen::Known(letters.map(|letter| (instance(letter), "arn:profile".to_owned())).into()),
        interfaces: Seen::Known(
            letters
                .map(|letter| (name(&format!("eni-{}", letter.to_string().repeat(17))), attached(letter)))
                .into(),
        ),
        vpc: Seen::Known(VpcDetail {
            id: "vpc-1".to_owned(),
            state: "available".to_owned(),
            network: "10.0.0.0/16".to_owned(),
            owner: "123456789012".to_owned(),
        }),
        table_list: Seen::Known(Some("pl-0123456789abcdef0".to_owned())),
        subnets: Seen::Known(letters.map(subnet).into()),
        zones: Seen::Known(Vec::new()),
        tables: Seen::Known(vec![table]),
        groups: Seen::Known(groups.into()),
        acls: Seen::Known(vec![open_acl(letters.map(|letter| format!("subnet-{letter}")).into())]),
        endpoints: Seen::Known(vec![gateway(TABLE)]),
        addresses: Seen::Known([(name("eipalloc-0123456789abcdef0"), AddressDetail { tagged: true })].into()),
        address_quota: Seen::Known(5),
        alarms: Seen::Known(Vec::new()),
        without_token: Seen::Known(BTreeMap::new()),
        trails: Seen::Known(vec![TrailDetail { name: "t".to_owned(), logging: true, changes: true }]),
    }
}

fn run_in(world: &World, account: &MemoryAccount, line: &str, answer: &str, look: Look) -> Run {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let cli = Cli::read(std::iter::once("baton").chain(line.split(' '))).expect("a good command line");
    let mut input = answer.as_bytes();
    let mut console = Console { out: &mut out, err: &mut err, input: &mut input, look };
    let session = Session {
        store: &world.store,
        waker: &world.bus,
        clock: &world.clock,
        who: "alice@ops-1".to_owned(),
        format: cli.global.format(),
    };
    let Command::Doctor(args) = &cli.command else { panic!("doctor") };
    let cloud = MemoryCloud::new();
    let eyes = Eyes { cloud: &cloud, account, region: "eu-west-1".to_owned(), table: "baton".to_owned() };
    let outcome = ready(doctor::run(&session, &eyes, &mut console, cli.cluster(), args));
    let exit = crate::conclude(&mut console, outcome);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Run { exit, out: text(out), err: text(err) }
}

fn run(account: &MemoryAccount, line: &str) -> Run {
    run_in(&World::new(), account, line, "", PIPE)
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {}", run.out))
}

/// The outcome of each step of the plan, by the finding that it is for.
fn outcomes(report: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let plan = report["plan"].as_array().expect("there is a plan");
    plan.iter().map(|step| (text(&step["findings"][0]), text(&step["outcome"]))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(id, outcome)| ((*id).to_owned(), (*outcome).to_owned())).collect()
}

fn finding(report: &Value, id: &str) -> Option<Value> {
    report["findings"].as_array().expect("a list").iter().find(|found| found["id"] == id).cloned()
}

#[test]
fn looking_changes_nothing_and_says_of_each_finding_what_where_why_and_what_to_do() {
    let account = MemoryAccount::new(survey());
    let run = run(&account, "doctor --cluster orders --format json");
    assert_eq!(run.exit, Exit::Found, "{}", run.err);
    let report = json(&run);
    assert_eq!((&report["clean"], report.get("plan")), (&Value::Bool(false), None));
    let found = finding(&report, "auto-recovery").expect("it is found");
    assert_eq!(found["rows"], serde_json::json!(["R13"]));
    assert_eq!(found["where"], instance('b').as_str());
    assert_eq!((&found["severity"], &found["fix"]), (&"warning".into(), &"auto".into()));
    let command = "aws ec2 modify-instance-maintenance-options --instance-id i-bbbbbbbbbbbbbbbbb --auto-recovery disabled";
    assert_eq!(found["remedy"], serde_json::json!([command]));
    assert_eq!(report["rows"].as_array().map(Vec::len), Some(35));
    assert_eq!(account.made(), []);
}

#[test]
fn a_fix_shows_its_plan_first_and_makes_what_needs_consent_only_with_it() {
    let fixed = |line: &str, answer: &str, look| {
        let account = MemoryAccount::new(survey());
        let run = run_in(&World::new(), &account, line, answer, look);
        (run, account.made())
    };
    let auto = Change::DisableAutoRecovery(instance('b'));
    let line = "doctor orders --fix --format json";
    // Nobody can be asked.
    let (run, made) = fixed(line, "", PIPE);
    assert_eq!(made, std::slice::from_ref(&auto), "{}", run.err);
    assert_eq!(outcomes(&json(&run)), pairs(&[("auto-recovery", "made"), ("port-443-group", "skipped")]));
    assert!(!run.err.contains("Make them too?"), "{}", run.err);
    // Somebody says no.
    let (run, made) = fixed(line, "n\n", TERMINAL);
    assert_eq!(made, std::slice::from_ref(&auto));
    let (plan, question) = (run.err.find("plan: "), run.err.find("1 of these cost money"));
    assert!(plan.is_some() && plan < question, "{}", run.err);
    // Somebody says yes, there or before.
    for (line, answer, look) in
        [(line, "y\n", TERMINAL), ("doctor orders --fix --yes --format json", "", PIPE)]
    {
        let (run, made) = fixed(line, answer, look);
        assert_eq!(made.len(), 2, "{}", run.err);
        let report = json(&run);
        assert_eq!(outcomes(&report), pairs(&[("auto-recovery", "made"), ("port-443-group", "made")]));
        // It is examined anew.
        assert_eq!(finding(&report, "auto-recovery"), None);
        assert_eq!(finding(&report, "port-443-group"), None);
    }
}

#[test]
fn a_change_that_ec2_would_deny_is_not_tried_and_the_others_are() {
    let account = MemoryAccount::new(survey());
    account.deny(&["ec2:ModifyInstanceMaintenanceOptions"]);
    let run = run(&account, "doctor orders --fix --yes --format json");
    let report = json(&run);
    assert_eq!(outcomes(&report), pairs(&[("auto-recovery", "skipped"), ("port-443-group", "made")]));
    let plan = report["plan"].as_array().expect("there is a plan");
    let step = plan.iter().find(|step| step["findings"][0] == "auto-recovery").expect("it is in it");
    assert_eq!(step["allowed"], Value::Bool(false));
    let why = step["why"].as_str().unwrap_or_default();
    assert!(why.contains("ec2:ModifyInstanceMaintenanceOptions is denied"), "{why}");
    assert!(run.err.contains("you may not"), "{}", run.err);
    assert!(finding(&report, "auto-recovery").is_some());
    assert_eq!(run.exit, Exit::Found);
}

#[test]
fn what_may_not_be_read_is_unknown_and_named() {
    let denied = || Seen::Unknown("ec2:DescribeSecurityGroups is denied: not you".to_owned());
    let account = MemoryAccount::new(Survey { groups: denied(), ..survey() });
    let report = json(&run(&account, "doctor orders --format json"));
    let found = finding(&report, "readable").expect("it is said");
    assert!(
        found["what"].as_str().is_some_and(|what| what.contains("ec2:DescribeSecurityGroups")),
        "{found}"
    );
    let verdict = |row: &str| {
        let rows = report["rows"].as_array().expect("rows");
        rows.iter().find(|standing| standing["row"] == row).expect("there")["verdict"].clone()
    };
    assert_eq!((verdict("R12"), verdict("X6")), ("unknown".into(), "unknown".into()));
}

#[test]
fn findings_are_a_table_lines_or_sarif() {
    let account = MemoryAccount::new(survey());
    let shown = run(&account, "doctor orders").out;
    for part in [
        "R13  nothing of EC2 restarts a node beside Baton",
        "violated",
        "warning: auto-recovery [R13] EC2 may recover db-b",
        "  remedy: aws ec2 modify-instance-maintenance-options",
        "  --fix:  auto",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let lines = run(&account, "doctor orders --format tsv").out;
    let line = lines.lines().find(|line| line.starts_with("auto-recovery\t")).expect("a line");
    assert_eq!(line.split('\t').count(), lines.lines().next().expect("a header").split('\t').count());
    let log = json(&run(&account, "doctor orders --format sarif"));
    assert_eq!((&log["version"], log["runs"].as_array().map(Vec::len)), (&"2.1.0".into(), Some(1)));
    let results = log["runs"][0]["results"].as_array().expect("results");
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().expect("rules");
    assert!(results.iter().all(|result| rules.iter().any(|rule| rule["id"] == result["ruleId"])));
    let level = |id: &str| results.iter().find(|result| result["ruleId"] == id).map(|r| r["level"].clone());
    assert_eq!(
        (level("auto-recovery"), level("port-443-group")),
        (Some("warning".into()), Some("error".into()))
    );
}
