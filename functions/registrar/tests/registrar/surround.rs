//! The network around the nodes: what certainly keeps one from the table refuses it, and nothing else does.

use std::time::Duration;

use baton_cloud::Counted;
use baton_cloud::memory::{Fault, Trouble as CloudTrouble};
use baton_doctor::Seen;
use baton_doctor::survey::{AclEntry, GroupDetail, Rule, Survey};
use baton_protocol::outcome::Failure;
use baton_registrar::handler::Registrar;
use baton_registrar::respond::Responder;
use baton_survey::{MemoryAccount, SurveyFailure};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::json;

use crate::support::faulty::{Faulty, Trouble};
use crate::support::{Bench, STACK, failed, succeeded};

impl Bench {
    fn edit(&self, how: impl FnOnce(&mut Survey)) {
        self.registrar.account.edit(how);
    }

    async fn register(&self) -> serde_json::Value {
        self.create("create-1", STACK, self.properties()).await
    }
}

fn known<T>(seen: &mut Seen<T>) -> &mut T {
    let Seen::Known(found) = seen else { panic!("it is known") };
    found
}

fn shut_way(survey: &mut Survey) {
    known(&mut survey.endpoints).clear();
}

fn shut_group(survey: &mut Survey) {
    known(&mut survey.groups).insert("sg-1".to_owned(), GroupDetail::default());
}

fn shut_acl(survey: &mut Survey) {
    known(&mut survey.acls)[0].entries.clear();
}

fn shut_policy(survey: &mut Survey) {
    known(&mut known(&mut survey.endpoints)[0].policy).statements.clear();
}

/// How the way is shut, what is said of it, and what its remedy names.
type Shut = (fn(&mut Survey), &'static str, &'static str);

#[tokio::test]
async fn nodes_that_cannot_reach_the_table_are_refused_with_everything_else_in_one_message() {
    let shuts: [Shut; 4] = [
        (shut_way, "leads neither to DynamoDB nor to the internet", "gateway endpoint"),
        (shut_group, "let no HTTPS out", "443"),
        (shut_acl, "lets no HTTPS out", "aws ec2 create-network-acl-entry"),
        (shut_policy, "denies dynamodb:BatchGetItem", "aws ec2 modify-vpc-endpoint"),
    ];
    for (shut, what, remedy) in shuts {
        let bench = Bench::new().await;
        bench.edit(shut);
        let reason = failed(&bench.register().await);
        assert!(reason.starts_with("RequirementsNotMet: orders does not meet"), "{reason}");
        assert!(reason.contains(what) && reason.contains(remedy), "{reason}");
        assert_eq!(bench.lease("orders").await, None, "nothing is written");
    }
    let bench = Bench::new().await;
    bench.edit(|survey| {
        shut_group(survey);
        shut_acl(survey);
    });
    let mut properties = bench.properties();
    properties["Routes"][0]["RouteTableIds"] = json!(["rtb-0123456789abcdef0"]);
    let reason = failed(&bench.create("create-1", STACK, properties).await);
    for part in
        ["(1) ", "rtb-0123456789abcdef0 does not exist", "let no HTTPS out", "lets no HTTPS out", "(3) "]
    {
        assert!(reason.contains(part), "{part}: {reason}");
    }
}

#[tokio::test]
async fn advice_and_what_is_not_known_for_certain_refuse_nobody() {
    let edits: [fn(&mut Survey); 6] = [
        // The way is the internet's.
        |survey| {
            shut_way(survey);
            known(&mut survey.tables)[0].default = Some("nat-1".to_owned());
        },
        // The way may be a hub's, or IPv6's.
        |survey| {
            shut_way(survey);
            known(&mut survey.tables)[0].further = ["tgw-1".to_owned()].into();
        },
        |survey| {
            let entries = std::mem::take(&mut known(&mut survey.acls)[0].entries);
            let v6 = entries.into_iter().map(|entry| AclEntry { network: "::/0".to_owned(), ..entry });
            known(&mut survey.acls)[0].entries = v6.collect();
        },
        |survey| known(&mut known(&mut survey.endpoints)[0].policy).statements[0].conditional = true,
        |survey| {
            let peer = "52.94.0.0/16".to_owned();
            let rule = Rule { protocol: "tcp".to_owned(), from: 443, to: 443, peer };
            let group = GroupDetail { egress: [rule].into(), ..GroupDetail::default() };
            known(&mut survey.groups).insert("sg-1".to_owned(), group);
        },
        // Nothing may be read at all.
        |survey| *survey = Survey::unasked(),
    ];
    for edit in edits {
        let bench = Bench::new().await;
        bench.edit(edit);
        succeeded(&bench.register().await);
    }
}

#[tokio::test]
async fn only_what_was_throttled_or_lost_is_asked_again() {
    let bench = Bench::new().await;
    bench.edit(shut_group);
    let vpcs = "ec2:DescribeVpcs";
    let unknown = SurveyFailure::Unknown { action: vpcs, said: "no answer".to_owned() };
    let account = &bench.registrar.account;
    account.fail(vec![unknown, SurveyFailure::Throttled(vpcs)]);
    assert!(failed(&bench.register().await).contains("let no HTTPS out"));
    let times = |action| account.asked().iter().filter(|asked| **asked == action).count();
    assert_eq!((times(vpcs), times("ec2:DescribeSecurityGroups")), (3, 1));
    // What will not pass is told in the log, refuses nobody, and is not asked again.
    let said = || "x".to_owned();
    for failure in [
        SurveyFailure::Denied { action: "ec2:DescribeSecurityGroups", said: said() },
        SurveyFailure::Unreadable { action: "ec2:DescribeSecurityGroups", said: said() },
    ] {
        let bench = Bench::new().await;
        bench.edit(shut_group);
        bench.registrar.account.fail(vec![failure]);
        succeeded(&bench.register().await);
        assert_eq!(bench.registrar.account.asked().len(), 9);
    }
}

#[tokio::test]
async fn what_is_certain_refuses_even_if_another_part_has_no_answer_until_the_time_is_up() {
    let bench = Bench::new().await;
    bench.edit(shut_group);
    bench.registrar.account.silence("ec2:DescribeNetworkAcls");
    // What is left for attempts, when the time for the answer and for the last of them is kept.
    let time = Duration::from_millis(5_900);
    let request = bench.request("Create", "create-1", STACK, bench.properties());
    bench.invoke(request, time).await.expect("the answer is delivered");
    let reason = failed(&bench.cloudformation.last());
    assert!(reason.contains("let no HTTPS out"), "{reason}");
    // And without it there is time to register.
    bench.edit(|survey| {
        let out = Rule { protocol: "-1".to_owned(), from: -1, to: -1, peer: "0.0.0.0/0".to_owned() };
        let group = GroupDetail { egress: [out].into(), ..GroupDetail::default() };
        known(&mut survey.groups).insert("sg-1".to_owned(), group);
    });
    let request = bench.request("Create", "create-2", STACK, bench.properties());
    bench.invoke(request, time).await.expect("the answer is delivered");
    succeeded(&bench.cloudformation.last());
}

#[tokio::test]
async fn the_network_is_looked_at_once_for_all_attempts_of_a_request() {
    let bench = Bench::new().await;
    let conflict = || Trouble::Before(Failure::Conflict);
    bench.registrar.store.gate.on_writes([conflict(), Trouble::Before(Failure::Throttled), conflict()]);
    succeeded(&bench.register().await);
    assert_eq!(bench.registrar.account.asked().len(), 9);
}

#[tokio::test]
async fn a_change_looks_at_the_network_of_nodes_that_join_and_of_no_other() {
    let bench = Bench::new().await;
    let id = succeeded(&bench.register().await);
    let third = bench.nodes[2].interface.clone();
    let third_lets_out = |group: GroupDetail| {
        bench.edit(|survey| drop(known(&mut survey.groups).insert("sg-2".to_owned(), group)));
    };
    // A member's network is shut since: its heartbeats tell of that, and other changes go on.
    bench.edit(shut_group);
    bench.edit(|survey| {
        known(&mut survey.interfaces).get_mut(&third).expect("there").groups = vec!["sg-2".to_owned()];
    });
    let mut properties = bench.properties();
    properties["Nodes"] =
        json!([bench.node(0, "a", "30"), bench.node(1, "b", "20"), bench.node(2, "c", "1")]);
    third_lets_out(GroupDetail::default());
    let reason = failed(&bench.update("update-1", &id, properties.clone()).await);
    assert!(reason.contains("the security groups of c ("), "{reason}");
    assert!(!reason.contains("of a (") && !reason.contains("of b ("), "{reason}");
    let open = Rule { protocol: "-1".to_owned(), from: -1, to: -1, peer: "0.0.0.0/0".to_owned() };
    third_lets_out(GroupDetail { egress: [open].into(), ..GroupDetail::default() });
    assert_eq!(succeeded(&bench.update("update-2", &id, properties.clone()).await), id);
    properties["Mode"] = json!("available");
    assert_eq!(succeeded(&bench.update("update-3", &id, properties).await), id);
}

#[tokio::test]
async fn a_node_that_lacks_something_keeps_no_other_from_being_looked_at() {
    // Of one node a place is missing; of the addresses nothing is known.
    let missing = |bench: &Bench| {
        let mut properties = bench.properties();
        properties["Nodes"][0]["InstanceId"] = json!("i-0fffffffffffffff0");
        properties
    };
    let unread = |bench: &Bench| {
        bench.cloud.fail(Fault::on("DescribeAddresses", CloudTrouble::Deny).always());
        bench.properties()
    };
    let breaks: [&dyn Fn(&Bench) -> serde_json::Value; 2] = [&missing, &unread];
    for break_it in breaks {
        let bench = Bench::new().await;
        bench.edit(shut_group);
        let properties = break_it(&bench);
        let reason = failed(&bench.create("create-1", STACK, properties).await);
        assert!(reason.contains("let no HTTPS out") && reason.contains("(2) "), "{reason}");
    }
}

#[tokio::test]
async fn a_node_that_joins_by_a_tag_and_is_shut_keeps_no_update_from_its_end() {
    let bench = Bench::new().await;
    let mut properties = bench.properties();
    properties.as_object_mut().expect("a map").remove("Nodes");
    properties["NodesFrom"] = json!({ "AutoScalingGroupName": "nat" });
    let launch = |number: usize| {
        bench.cloud.tag(&bench.nodes[number].instance, "aws:autoscaling:groupName", "nat");
    };
    launch(0);
    let id = succeeded(&bench.create("create-1", STACK, properties.clone()).await);
    launch(1);
    bench.edit(shut_group);
    properties["CoolDownSeconds"] = json!("60");
    assert_eq!(succeeded(&bench.update("update-1", &id, properties.clone()).await), id);
    let standing = bench.standing().await;
    assert_eq!((standing.members.len(), standing.cool_down_ms), (2, 60_000));
    // A registration anew is somebody's word for the nodes that are there.
    let other = Bench::new().await;
    other.cloud.tag(&other.nodes[0].instance, "aws:autoscaling:groupName", "nat");
    other.edit(shut_group);
    properties["Addresses"] = other.properties()["Addresses"].clone();
    properties["Routes"] = other.properties()["Routes"].clone();
    assert!(failed(&other.create("create-1", STACK, properties).await).contains("let no HTTPS out"));
}

#[tokio::test]
async fn what_was_throttled_of_the_network_counts_with_the_rest() {
    let bench = Bench::new().await;
    bench.cloud.fail(Fault::on("DescribeInstances", CloudTrouble::Throttle).times(2));
    bench.cloud.fail(Fault::on("DescribeAddresses", CloudTrouble::Throttle));
    let account = MemoryAccount::new(Survey::unasked());
    let (addresses, instances) = ("ec2:DescribeAddresses", "ec2:DescribeInstances");
    account.fail([instances; 2].map(SurveyFailure::Throttled).into());
    let registrar = Registrar {
        store: Faulty::default(),
        cloud: Counted::new(bench.cloud.clone()),
        account,
        table: "baton".to_owned(),
        waker: bench.bus.clone(),
        responder: Responder::new(Duration::from_millis(1)),
        first_pause: Duration::from_millis(1),
    };
    let request = bench.request("Create", "create-1", STACK, bench.properties());
    let event = LambdaEvent::new(request, Context::default());
    registrar.handle(event).await.expect("the answer is delivered");
    succeeded(&bench.cloudformation.last());
    assert_eq!(registrar.take_throttled(), [(instances, 4), (addresses, 1)].into());
    assert!(registrar.take_throttled().is_empty());
}
