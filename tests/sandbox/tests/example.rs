//! The examples of `infra/examples`: deployed whole, with the network, the nested stack and the real functions, and deleted again.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use baton_sandbox::binaries::Binaries;
use baton_sandbox::{Account, Options, Sandbox, stage};
use serde_json::{Value, json};

const BUCKET_OF_PACKAGES: &str = "packages";
const IMAGE: &str = "/example/image";

/// An account with the control plane, in which examples are deployed.
struct Region {
    sandbox: Sandbox,
    binaries: Binaries,
}

struct Example<'a> {
    region: &'a Region,
    stack: String,
}

impl Region {
    fn set_up() -> Self {
        let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
        let options = Options { addresses: 0, route_tables: 0, ..Options::default() };
        let sandbox = Sandbox::start(&options, &mut |_| ()).expect("the sandbox starts");
        stage::deploy_control_plane(&sandbox, &binaries, &mut |_| ()).expect("the control plane is deployed");
        publish_image(sandbox.account());
        Self { sandbox, binaries }
    }

    /// Deploys an example, as `infra/README.md` says.
    fn deploy(&self, name: &str) -> Example<'_> {
        let template = packaged(&self.sandbox, name);
        let stack = format!("baton-cluster-{name}");
        let given = [("PackageBucket", BUCKET_OF_PACKAGES), ("ImageId", IMAGE)];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let end =
            self.sandbox.account().create_stack(&stack, &template, &given).expect("the stack is settled");
        assert_eq!(end.status, "CREATE_COMPLETE", "{} {:?}", end.reason, end.failures);
        Example { region: self, stack }
    }
}

impl Example<'_> {
    fn account(&self) -> &Account {
        self.region.sandbox.account()
    }

    fn resource(&self, logical_id: &str) -> String {
        let found = self.account().stack_resources(&self.stack).expect("the stack has resources");
        found.get(logical_id).unwrap_or_else(|| panic!("no resource {logical_id} in {found:?}")).clone()
    }

    fn described(&self, operation: &str, parameters: &Value) -> Value {
        self.account().call("ec2", operation, parameters).expect("EC2 answers")
    }

    /// The lease that the nested stack registered.
    fn lease(&self, cluster: &str) -> Option<Value> {
        let key = json!({"TableName": "baton", "ConsistentRead": true,
            "Key": {"pk": {"S": format!("C#{cluster}")}, "sk": {"S": "LEASE"}}});
        let answer = self.account().call("dynamodb", "get_item", &key).expect("the table answers");
        answer.get("Item").cloned()
    }
}

/// The image's id, as Amazon publishes it for every region; under a name of ours, since those of Amazon are reserved.
fn publish_image(account: &Account) {
    let images = account.call("ec2", "describe_images", &json!({"Owners": ["amazon"]})).expect("EC2 answers");
    let image = images["Images"][0]["ImageId"].as_str().expect("moto has an image");
    let parameter = json!({
        "Name": IMAGE, "Type": "String", "Value": image,
    });
    account.call("ssm", "put_parameter", &parameter).expect("the parameter is stored");
}

/// What `aws cloudformation package` makes: the template with the address of the nested one in a bucket.
fn packaged(sandbox: &Sandbox, name: &str) -> PathBuf {
    let infra = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra");
    let bucket = sandbox.account().put_file("cluster.yaml", &infra.join("cluster.yaml")).expect("stored");
    let address = format!("{}/{bucket}/cluster.yaml", sandbox.ministack().endpoint());
    let text =
        std::fs::read_to_string(infra.join(format!("examples/{name}.yaml"))).expect("the example is there");
    let with = text.replace("TemplateURL: ../cluster.yaml", &format!("TemplateURL: {address}"));
    assert_ne!(with, text, "the example nests cluster.yaml");
    let path = sandbox.run_dir().join(format!("{name}.packaged.yaml"));
    std::fs::write(&path, with).expect("written");
    path
}

/// The configuration that an instance's user data writes, as the shell would write it.
fn agents_configuration(example: &Example<'_>, instance: &str) -> String {
    let asked = json!({"InstanceId": instance, "Attribute": "userData"});
    let answer = example.described("describe_instance_attribute", &asked);
    let encoded = answer["UserData"]["Value"].as_str().expect("the instance has user data");
    let script = base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64");
    let script = String::from_utf8(script).expect("text");
    assert!(script.starts_with("#!/bin/bash\n"), "{script}");
    let checked = Command::new("bash").arg("-n").arg("-c").arg(&script).status().expect("bash runs");
    assert!(checked.success(), "the script is bash: {script}");
    let (_, rest) = script.split_once("<<'AGENT'\n").expect("the configuration is a here-document");
    let (configuration, _) = rest.split_once("\nAGENT\n").expect("which ends at the margin");
    format!("{configuration}\n")
}

fn assert_valid(region: &Region, configuration: &str) {
    let path = region.sandbox.run_dir().join("agent.toml");
    std::fs::write(&path, configuration).expect("written");
    let mut agent = Command::new(region.binaries.path("baton-agent"));
    let output = agent.args(["validate", "--no-environment"]).arg(&path).output().expect("the agent runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{configuration}");
}

#[test]
fn each_example_makes_its_network_registers_its_pair_and_goes_without_a_trace() {
    let region = Region::set_up();
    let pair = region.deploy("elastic-ip-pair");
    an_elastic_ip_and_its_pair(&pair);
    let routes = region.deploy("route-pair");
    a_route_and_its_pair(&routes);
    for (example, cluster) in [(pair, "frontend"), (routes, "backend")] {
        let end = example.account().delete_stack(&example.stack).expect("the stack is settled");
        assert_eq!(end.status, "DELETE_COMPLETE", "{} {:?}", end.reason, end.failures);
        let retired = example.lease(cluster).expect("the epochs outlive the cluster");
        assert!(retired.to_string().contains("retired"), "{retired}");
    }
    let left = region.sandbox.account().call("ec2", "describe_addresses", &json!({})).expect("EC2 answers");
    assert_eq!(left["Addresses"], json!([]));
}

fn an_elastic_ip_and_its_pair(example: &Example<'_>) {
    let lease = example.lease("frontend").expect("the nested stack registered the cluster");
    let said = lease.to_string();
    for logical_id in ["InstanceA", "InstanceB"] {
        let instance = example.resource(logical_id);
        assert!(said.contains(&instance), "{instance} is a node: {said}");
        assert_valid(example.region, &agents_configuration(example, &instance));
    }
    let address =
        example.described("describe_addresses", &json!({"PublicIps": [example.resource("Address")]}));
    let allocation = address["Addresses"][0]["AllocationId"].as_str().expect("it is allocated");
    assert!(said.contains(allocation), "{allocation} is the cluster's: {said}");

    let role = json!({"RoleName": example.resource("NodeRole")});
    let attached = example.account().call("iam", "list_attached_role_policies", &role).expect("IAM answers");
    assert_eq!(attached["AttachedPolicies"].as_array().map(Vec::len), Some(1), "the node policy: {attached}");
}

fn a_route_and_its_pair(example: &Example<'_>) {
    let said = example.lease("backend").expect("the nested stack registered the cluster").to_string();
    for (instance, table) in [("InstanceA", "RouteTableA"), ("InstanceB", "RouteTableB")] {
        let (instance, table) = (example.resource(instance), example.resource(table));
        assert!(said.contains(&instance), "{instance} is a node: {said}");
        assert!(said.contains(&table), "{table} is the cluster's: {said}");
        let configuration = agents_configuration(example, &instance);
        assert!(configuration.contains("192.0.2.10/32"), "{configuration}");
        assert_valid(example.region, &configuration);
    }
    for interface in ["InterfaceA", "InterfaceB"] {
        let asked = json!({"NetworkInterfaceIds": [example.resource(interface)]});
        let found = &example.described("describe_network_interfaces", &asked)["NetworkInterfaces"][0];
        assert_eq!(found["SourceDestCheck"], json!(false), "{found}");
    }
}
