//! A deployed Baton: both templates as they are, real functions, one registered cluster, a real agent on each node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::account::StackEnd;
use crate::binaries::{Binaries, workspace};
use crate::moto::plain_environment;
use crate::{
    ADMINISTRATOR, Node, NodeOptions, Options, Package, Prober, REGION, Sandbox, SandboxError, wait,
};

/// What to deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageOptions {
    /// The account and its world.
    pub sandbox: Options,
    /// `strict` or `available`.
    pub mode: String,
    /// `default` or `fast`.
    pub timing: String,
    /// How many tries of its service in a row must fail, one each 500 ms, until a node is unhealthy.
    pub fall: u32,
}

impl Default for StageOptions {
    fn default() -> Self {
        // Where nobody makes a service sick, one whose machine stands still is none.
        let fall = 10;
        Self { sandbox: Options::default(), mode: "strict".to_owned(), timing: "fast".to_owned(), fall }
    }
}

/// A cluster in service, in its sandbox. Everything in it ends when it is dropped, and at the latest with this process.
#[derive(Debug)]
pub struct Stage {
    // Dropped in this order: clients before what they ask.
    prober: Prober,
    nodes: Vec<Node>,
    binaries: Binaries,
    options: StageOptions,
    /// Where the packages are.
    bucket: String,
    sandbox: Sandbox,
}

/// A registered cluster before its first agent starts.
#[derive(Debug)]
pub struct Deployment {
    /// The account.
    pub sandbox: Sandbox,
    /// The bucket with the functions' packages.
    pub bucket: String,
    /// The programs.
    pub binaries: Binaries,
    /// The ARN of the role that the nodes' instance profile carries.
    pub role: String,
}

impl Deployment {
    /// Builds, starts and deploys everything but agents.
    pub fn make(options: &StageOptions, progress: &mut dyn FnMut(&str)) -> Result<Self, SandboxError> {
        let binaries = Binaries::build(progress)?;
        let sandbox = Sandbox::start(&options.sandbox, progress)?;
        let bucket = deploy_control_plane(&sandbox, &binaries, progress)?;
        progress("deploying infra/cluster.yaml, which registers the cluster");
        let end = deploy_cluster(&sandbox, options)?;
        let policy = end.outputs.get("NodePolicyArn").cloned().unwrap_or_default();
        let role = make_node_role(&sandbox, &policy)?;
        Ok(Self { sandbox, bucket, binaries, role })
    }
}

/// The functions, by the names that their packages have in the template.
pub const FUNCTIONS: [&str; 3] = ["baton-arbiter", "baton-sweeper", "baton-registrar"];
/// The stack of the control plane.
pub const CONTROL_PLANE: &str = "baton";
/// The role that the nodes' instance profile carries.
const NODE_ROLE: &str = "baton-nodes";

impl Stage {
    /// Builds, starts and deploys everything, and waits until the first holder serves and has every resource.
    pub fn set(options: StageOptions, progress: &mut dyn FnMut(&str)) -> Result<Self, SandboxError> {
        let Deployment { sandbox, bucket, binaries, role } = Deployment::make(&options, progress)?;
        progress("starting an agent on each node");
        let node_options = NodeOptions {
            agent: binaries.path("baton-agent"),
            cluster: options.sandbox.cluster.clone(),
            table: CONTROL_PLANE.to_owned(),
            bus: CONTROL_PLANE.to_owned(),
            role: Some(role),
            env: BTreeMap::from([("BATON_LOG_FORMAT".to_owned(), "json".to_owned())]),
            fall: options.fall,
        };
        let mut nodes = Node::all(&sandbox, &node_options)?;
        nodes.iter_mut().try_for_each(Node::start)?;
        let targets: Vec<_> =
            nodes.iter().map(|node| (node.name().to_owned(), node.service_address())).collect();
        let stage = Self { prober: Prober::start(&targets), nodes, binaries, options, bucket, sandbox };
        progress("waiting for the first holder to serve");
        stage.wait_until_settled(0, Duration::from_secs(60))?;
        Ok(stage)
    }

    /// The sandbox.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by its name.
    pub fn node(&mut self, name: &str) -> Result<&mut Node, SandboxError> {
        let missing = || SandboxError::NotStarted(format!("a node called {name}"));
        self.nodes.iter_mut().find(|node| node.name() == name).ok_or_else(missing)
    }

    /// The client that asks every node's service.
    pub fn prober(&self) -> &Prober {
        &self.prober
    }

    /// The programs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// What was deployed.
    pub fn options(&self) -> &StageOptions {
        &self.options
    }

    /// The environment in which an operator's commands reach this sandbox.
    pub fn operator_environment(&self) -> BTreeMap<String, String> {
        let mut env = plain_environment(self.sandbox.run_dir());
        for (name, value) in [
            ("AWS_ENDPOINT_URL", self.sandbox.ministack().endpoint()),
            ("AWS_ENDPOINT_URL_EC2", self.sandbox.moto().endpoint()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", ADMINISTRATOR.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", ADMINISTRATOR.to_owned()),
            ("BATON_CLUSTER", self.options.sandbox.cluster.clone()),
        ] {
            env.insert(name.to_owned(), value);
        }
        env
    }

    /// The operator's CLI with these arguments, ready to be run.
    pub fn baton_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.path("baton"));
        command.args(arguments).env_clear().envs(self.operator_environment()).stdin(Stdio::null());
        command
    }

    /// Runs the operator's CLI.
    pub fn baton(&self, arguments: &[&str]) -> Result<Output, SandboxError> {
        self.baton_command(arguments).output().map_err(SandboxError::io("running baton"))
    }

    /// Runs the operator's CLI and reads the JSON it prints.
    pub fn baton_json(&self, arguments: &[&str]) -> Result<Value, SandboxError> {
        let output = self.baton(&[arguments, &["--format", "json"]].concat())?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&answer).map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            SandboxError::Answer {
                what: format!("baton {}", arguments.join(" ")),
                answer: format!("{answer}{said}"),
            }
        })
    }

    /// Waits until a node holds an epoch above `after`, serves, alone, and EC2 itself, asked by another client than
    /// Baton's, shows every resource at it, and Baton has recorded that.
    pub fn wait_until_settled(&self, after: u64, limit: Duration) -> Result<Settled, SandboxError> {
        wait::until("a holder that alone serves, with every resource at it", limit, || {
            let moved = self.moved(after)?;
            Ok(moved
                .filter(|moved| self.prober.serving(Duration::from_millis(200)) == [moved.holder.clone()]))
        })
    }

    /// The same, whoever else still answers: what a cluster in available mode promises.
    pub fn wait_until_moved(&self, after: u64, limit: Duration) -> Result<Settled, SandboxError> {
        wait::until("a holder that serves, with every resource at it", limit, || {
            let moved = self.moved(after)?;
            Ok(moved.filter(|moved| self.prober.serving(Duration::from_millis(200)).contains(&moved.holder)))
        })
    }

    /// Packs these functions anew and puts them under another prefix of the bucket, which names the version.
    pub fn put_packages(&self, prefix: &str, functions: &[&str]) -> Result<(), SandboxError> {
        let packages = self.sandbox.run_dir().join("packages").join(prefix);
        for function in functions {
            let package = Package::labelled(&self.binaries.path(function), &packages, prefix)?;
            self.sandbox.account().put_file(&format!("{prefix}{function}.zip"), &package.path)?;
        }
        Ok(())
    }

    /// Updates the control plane's stack to the packages under this prefix; how that ends is for the caller to judge.
    pub fn update_control_plane(&self, prefix: &str) -> Result<StackEnd, SandboxError> {
        let parameters = control_plane(&self.bucket, prefix);
        self.sandbox.account().update_stack(CONTROL_PLANE, &control_plane_template(), &parameters)
    }

    /// Updates the cluster's stack with another timing profile.
    pub fn update_timing(&mut self, timing: &str) -> Result<(), SandboxError> {
        timing.clone_into(&mut self.options.timing);
        let (stack, template, parameters) = cluster_stack(&self.sandbox, &self.options);
        complete(self.sandbox.account().update_stack(&stack, &template, &parameters)?)?;
        Ok(())
    }

    fn moved(&self, after: u64) -> Result<Option<Settled>, SandboxError> {
        let status = self.baton_json(&["status"])?;
        let epoch = status["epoch"].as_u64().unwrap_or_default();
        let Some(holder) = status["holder"].as_str().map(str::to_owned) else { return Ok(None) };
        let whole = epoch > after && status["moved"] == json!(true) && self.placement(&holder)?.is_whole();
        Ok(whole.then_some(Settled { holder, epoch }))
    }

    /// Where EC2 shows the resources, seen from one node.
    pub fn placement(&self, node: &str) -> Result<Placement, SandboxError> {
        let account = self.sandbox.account();
        let world = self.sandbox.world();
        let interface =
            self.nodes.iter().find(|found| found.name() == node).map(|found| &found.instance().interface);
        let addresses = account.addresses()?;
        let routes = account.routes(&world.destination)?;
        Ok(Placement {
            addresses: addresses.len() == world.addresses.len()
                && addresses.iter().all(|address| address.interface.as_ref() == interface),
            routes: routes.len() == world.route_tables.len()
                && routes.iter().all(|route| route.interface.as_ref() == interface),
        })
    }
}

/// Who holds, once all is in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The node's name.
    pub holder: String,
    /// Its epoch.
    pub epoch: u64,
}

/// Whether EC2 shows everything at one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Every Elastic IP.
    pub addresses: bool,
    /// Every route.
    pub routes: bool,
}

impl Placement {
    /// Whether nothing is missing.
    pub fn is_whole(self) -> bool {
        self.addresses && self.routes
    }
}

/// Packs the functions and deploys `infra/control-plane.yaml` under the name [`CONTROL_PLANE`]; gives the bucket.
pub fn deploy_control_plane(
    sandbox: &Sandbox,
    binaries: &Binaries,
    progress: &mut dyn FnMut(&str),
) -> Result<String, SandboxError> {
    let packages = sandbox.run_dir().join("packages");
    let mut bucket = String::new();
    for function in FUNCTIONS {
        let package = Package::of(&binaries.path(function), &packages)?;
        progress(&format!("packing {function}: {} MB", package.bytes / 1_000_000));
        bucket = sandbox.account().put_file(&format!("{function}.zip"), &package.path)?;
    }
    progress("deploying infra/control-plane.yaml");
    let parameters = control_plane(&bucket, "");
    complete(sandbox.account().create_stack(CONTROL_PLANE, &control_plane_template(), &parameters)?)?;
    Ok(bucket)
}

fn control_plane(bucket: &str, prefix: &str) -> BTreeMap<String, String> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    owned(&[("CodeBucket", bucket), ("CodePrefix", prefix), ("Architecture", architecture)])
}

fn control_plane_template() -> PathBuf {
    workspace().join("infra/control-plane.yaml")
}

fn deploy_cluster(sandbox: &Sandbox, options: &StageOptions) -> Result<StackEnd, SandboxError> {
    let (stack, template, parameters) = cluster_stack(sandbox, options);
    complete(sandbox.account().create_stack(&stack, &template, &parameters)?)
}

/// The cluster's stack: its name, template and parameters.
fn cluster_stack(sandbox: &Sandbox, options: &StageOptions) -> (String, PathBuf, BTreeMap<String, String>) {
    let world = sandbox.world();
    let addresses: Vec<_> = world.addresses.iter().map(|address| address.allocation.as_str()).collect();
    let (addresses, tables) = (addresses.join(","), world.route_tables.join(","));
    let mut parameters = vec![
        ("Cluster", options.sandbox.cluster.as_str()),
        ("Mode", &options.mode),
        ("Timing", &options.timing),
        ("Addresses", &addresses),
        ("RouteDestination", &world.destination),
        ("RouteTableIds", &tables),
        ("ControlPlaneStack", CONTROL_PLANE),
    ];
    let slots = [
        ("NodeAName", "NodeAInstanceId"),
        ("NodeBName", "NodeBInstanceId"),
        ("NodeCName", "NodeCInstanceId"),
    ];
    for ((name, id), instance) in slots.into_iter().zip(&world.instances) {
        parameters.extend([(name, instance.name.as_str()), (id, instance.id.as_str())]);
    }
    let template = workspace().join("infra/cluster.yaml");
    let stack = format!("cluster-{}", options.sandbox.cluster);
    (stack, template, owned(&parameters))
}

/// The role of the nodes, with nothing but the cluster's node policy.
fn make_node_role(sandbox: &Sandbox, policy: &str) -> Result<String, SandboxError> {
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"},
        }],
    });
    let role = json!({ "RoleName": NODE_ROLE, "AssumeRolePolicyDocument": trust.to_string() });
    let made = sandbox.account().call("iam", "create_role", &role)?;
    let attached = json!({ "RoleName": NODE_ROLE, "PolicyArn": policy });
    sandbox.account().call("iam", "attach_role_policy", &attached)?;
    Ok(made["Role"]["Arn"].as_str().unwrap_or_default().to_owned())
}

fn complete(end: StackEnd) -> Result<StackEnd, SandboxError> {
    if matches!(end.status.as_str(), "CREATE_COMPLETE" | "UPDATE_COMPLETE") {
        return Ok(end);
    }
    let failures = end.failures.iter().map(|failure| format!("{}: {}", failure.resource, failure.reason));
    let said = format!("{} {}; {}", end.status, end.reason, failures.collect::<Vec<_>>().join("; "));
    Err(SandboxError::Account { doing: "deploy a stack".to_owned(), said })
}

fn owned(parameters: &[(&str, &str)]) -> BTreeMap<String, String> {
    parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The end of a file, for messages.
pub fn tail(path: &Path) -> String {
    crate::machine::tail(path)
}
