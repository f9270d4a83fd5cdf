//! A world to register clusters in: EC2 and the table in memory, a bus, and an HTTP server in CloudFormation's place.

pub(crate) mod cloudformation;
pub(crate) mod faulty;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_client::BusFailure;
use baton_cloud::MemoryCloud;
use baton_cloud::memory::MemoryNode;
use baton_doctor::Seen;
use baton_doctor::policy::Policy;
use baton_doctor::survey::{
    AclDetail, AclEntry, EndpointDetail, GroupDetail, InterfaceDetail, Rule, SubnetDetail, Survey,
    TableDetail,
};
use baton_protocol::history::Event;
use baton_protocol::ids::{ClusterName, RegistrationUid, RouteTableId};
use baton_protocol::lease::Lease;
use baton_protocol::resource::Address;
use baton_protocol::wake::Wake;
use baton_registrar::Waker;
use baton_registrar::handler::{Error, Registrar};
use baton_registrar::respond::Responder;
use baton_store::{MemoryStore, Registration, Store};
use baton_survey::MemoryAccount;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};

use cloudformation::CloudFormation;
use faulty::Faulty;

pub(crate) const STACK: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/orders/1";
pub(crate) const OTHER_STACK: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/orders/2";

/// A bus that remembers its wakes.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestBus(Arc<Mutex<Vec<Wake>>>);

impl TestBus {
    pub(crate) fn sent(&self) -> Vec<Wake> {
        self.0.lock().expect("nobody panicked").clone()
    }
}

impl Waker for TestBus {
    async fn wake(&self, wake: &Wake) -> Result<(), BusFailure> {
        self.0.lock().expect("nobody panicked").push(wake.clone());
        Ok(())
    }
}

/// A network in which each of these nodes has a subnet, and all reach the table by an endpoint.
fn network(nodes: &[MemoryNode]) -> Survey {
    let subnet = |number: usize| format!("subnet-{number}");
    let subnets = || (0..nodes.len()).map(subnet).collect();
    let out = Rule { protocol: "-1".to_owned(), from: -1, to: -1, peer: "0.0.0.0/0".to_owned() };
    let interfaces = nodes.iter().enumerate().map(|(number, node)| {
        let detail = InterfaceDetail {
            instance: Some(node.instance.clone()),
            device_index: Some(0),
            subnet: subnet(number),
            groups: vec!["sg-1".to_owned()],
            ..InterfaceDetail::default()
        };
        (node.interface.clone(), detail)
    });
    let table = TableDetail { id: "rtb-1".to_owned(), subnets: subnets(), ..TableDetail::default() };
    let passing = |egress| AclEntry {
        number: 100,
        egress,
        allow: true,
        protocol: "-1".to_owned(),
        ports: None,
        network: "0.0.0.0/0".to_owned(),
    };
    let entries = [passing(true), passing(false)].into();
    let endpoint = EndpointDetail {
        id: "vpce-1".to_owned(),
        service: "com.amazonaws.eu-west-1.dynamodb".to_owned(),
        gateway: true,
        state: "available".to_owned(),
        tables: [table.id.clone()].into(),
        groups: Vec::new(),
        private_dns: false,
        policy: Seen::Known(Policy::everything()),
    };
    let group = GroupDetail { egress: [out].into(), ..GroupDetail::default() };
    let owned = |number: usize| SubnetDetail {
        id: subnet(number),
        zone: String::new(),
        network: format!("10.0.{number}.0/24"),
        owner: "123456789012".to_owned(),
    };
    Survey {
        interfaces: Seen::Known(interfaces.collect()),
        subnets: Seen::Known((0..nodes.len()).map(owned).collect()),
        tables: Seen::Known(vec![table]),
        groups: Seen::Known([("sg-1".to_owned(), group)].into()),
        acls: Seen::Known(vec![AclDetail {
            id: "acl-1".to_owned(),
            default: true,
            subnets: subnets(),
            entries,
        }]),
        endpoints: Seen::Known(vec![endpoint]),
        ..Survey::unasked()
    }
}

pub(crate) struct Bench {
    pub(crate) registrar: Registrar<Faulty, MemoryCloud, MemoryAccount, TestBus>,
    pub(crate) record: MemoryStore,
    pub(crate) cloud: MemoryCloud,
    pub(crate) bus: TestBus,
    pub(crate) cloudformation: CloudFormation,
    pub(crate) nodes: Vec<MemoryNode>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) table: RouteTableId,
    pub(crate) vpc: String,
}

impl Bench {
    /// Three tagged nodes in three zones with two private addresses each, two Elastic IPs, a table with a route.
    pub(crate) async fn new() -> Self {
        let cloud = MemoryCloud::new();
        let vpc = cloud.vpc(&["10.0.0.0/16"]);
        let nodes: Vec<_> =
            ["euw1-az1", "euw1-az2", "euw1-az3"].iter().map(|zone| cloud.node(&vpc, zone, 2)).collect();
        for node in &nodes {
            cloud.tag(&node.instance, "baton:cluster", "orders");
        }
        let addresses = vec![cloud.address(), cloud.address()];
        let table = cloud.table(&vpc);
        let account = MemoryAccount::new(network(&nodes));
        let store = Faulty::default();
        let (record, bus) = (store.record.clone(), TestBus::default());
        let pause = Duration::from_millis(1);
        let registrar = Registrar {
            store,
            cloud: cloud.clone(),
            account,
            table: "baton".to_owned(),
            waker: bus.clone(),
            responder: Responder::new(pause),
            first_pause: pause,
        };
        let cloudformation = CloudFormation::start().await;
        Self { registrar, record, cloud, bus, cloudformation, nodes, addresses, table, vpc }
    }

    /// The properties of `orders`: the first two nodes, everything to move.
    pub(crate) fn properties(&self) -> Value {
        let addresses: Vec<_> = self.addresses.iter().map(|address| address.allocation.to_string()).collect();
        json!({
            "ServiceToken": "arn:aws:lambda:eu-west-1:123456789012:function:baton-registrar",
            "Cluster": "orders",
            "Mode": "strict",
            "Timing": "default",
            "Nodes": [self.node(0, "a", "10"), self.node(1, "b", "20")],
            "Addresses": addresses,
            "Routes": [{ "Destination": "192.0.2.10/32", "RouteTableIds": [self.table.to_string()] }],
        })
    }

    pub(crate) fn node(&self, number: usize, name: &str, priority: &str) -> Value {
        json!({ "Name": name, "InstanceId": self.nodes[number].instance.to_string(), "Priority": priority })
    }

    /// A request as CloudFormation sends it.
    pub(crate) fn request(&self, kind: &str, id: &str, stack: &str, properties: Value) -> Value {
        json!({
            "RequestType": kind,
            "ResponseURL": self.cloudformation.url(),
            "StackId": stack,
            "RequestId": id,
            "ResourceType": "Custom::BatonCluster",
            "LogicalResourceId": "Registration",
            "ResourceProperties": properties,
        })
    }

    /// Sends a request with the time that Lambda gives it, and returns the answer that CloudFormation got.
    pub(crate) async fn send(&self, request: Value) -> Value {
        self.invoke(request, Duration::from_secs(60)).await.expect("the answer is delivered");
        self.cloudformation.last()
    }

    pub(crate) async fn invoke(&self, request: Value, time: Duration) -> Result<Value, Error> {
        let mut context = Context::default();
        context.request_id = "invocation-1".to_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        context.deadline = u64::try_from((now + time).as_millis()).expect("fits");
        self.registrar.handle(LambdaEvent::new(request, context)).await
    }

    /// What another stack would register with the nodes and the resources of this lease, as `billing`.
    pub(crate) async fn of_billing(&self, lease: &Lease) -> Registration {
        let rows = self.record.history(&lease.cluster, 1).await.expect("read");
        let billing = ClusterName::new("billing").expect("valid");
        Registration {
            cluster: billing.clone(),
            uid: RegistrationUid::new("uid-of-billing").expect("valid"),
            event: Event { cluster: billing, ..rows[0].clone() },
            made_from: None,
            ..Registration::of(lease, rows[0].at, rows[0].clone())
        }
    }

    pub(crate) async fn create(&self, id: &str, stack: &str, properties: Value) -> Value {
        self.send(self.request("Create", id, stack, properties)).await
    }

    pub(crate) async fn update(&self, id: &str, physical: &str, properties: Value) -> Value {
        let mut request = self.request("Update", id, STACK, properties);
        request["PhysicalResourceId"] = json!(physical);
        request["OldResourceProperties"] = json!({});
        self.send(request).await
    }

    pub(crate) async fn delete(&self, physical: &str) -> Value {
        let mut request = self.request("Delete", "delete-1", STACK, self.properties());
        request["PhysicalResourceId"] = json!(physical);
        self.send(request).await
    }

    pub(crate) async fn lease(&self, cluster: &str) -> Option<Lease> {
        self.record.lease(&ClusterName::new(cluster).expect("valid")).await.expect("read")
    }

    /// What the table holds of `orders`.
    pub(crate) async fn standing(&self) -> Lease {
        self.lease("orders").await.expect("registered")
    }

    /// How often each change was asked of EC2.
    pub(crate) fn changes_of_ec2(&self) -> BTreeMap<String, usize> {
        let mut calls = BTreeMap::new();
        for (call, _) in self.cloud.calls() {
            *calls.entry(call.action().to_owned()).or_default() += 1;
        }
        calls
    }
}

/// The physical id of an answer that says SUCCESS.
pub(crate) fn succeeded(answer: &Value) -> String {
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    answer["PhysicalResourceId"].as_str().expect("text").to_owned()
}

/// The reason of an answer that says FAILED.
pub(crate) fn failed(answer: &Value) -> String {
    assert_eq!(answer["Status"], "FAILED", "{answer}");
    answer["Reason"].as_str().expect("text").to_owned()
}
