//! The account as its administrator uses and observes it: one long-lived `account.py`, spoken to in lines of
//! JSON.
//!
//! What it says of addresses and routes is EC2's own answer, never Baton's record, so tests compare the two.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::moto::plain_environment;
use crate::venv::Venv;
use crate::{ACCOUNT_ID, REGION, SandboxError};

/// A connection to the account's administrator.
#[derive(Debug)]
pub struct Account {
    pipes: Mutex<Option<Pipes>>,
    child: Mutex<Child>,
    log: PathBuf,
}

#[derive(Debug)]
struct Pipes {
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    next: u64,
}

/// What the cluster lives in, as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct World {
    /// The VPC, 10.0.0.0/16.
    pub vpc: String,
    /// One subnet in each of three zones.
    pub subnets: Vec<String>,
    /// The instances, spread over the zones.
    pub instances: Vec<Instance>,
    /// The Elastic IPs, not associated.
    pub addresses: Vec<ElasticIp>,
    /// The route tables; each sends the destination to the first instance.
    pub route_tables: Vec<String>,
    /// The destination, outside the VPC.
    pub destination: String,
}

/// An instance and its only interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Instance {
    /// `a`, `b`, … in order.
    pub name: String,
    /// Its instance id.
    pub id: String,
    /// Its interface with device index 0.
    pub interface: String,
    /// That interface's primary private address.
    pub private_ip: String,
    /// Its Availability Zone.
    pub zone: String,
    /// Its subnet.
    pub subnet: String,
}

impl Instance {
    /// Its ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:ec2:{REGION}:{ACCOUNT_ID}:instance/{}", self.id)
    }
}

/// An Elastic IP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ElasticIp {
    /// Its allocation id.
    pub allocation: String,
    /// The address.
    pub public_ip: String,
}

/// Where EC2 says an Elastic IP is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AddressSeen {
    /// Its allocation id.
    pub allocation: String,
    /// The address.
    pub public_ip: String,
    /// The association, if it has one.
    pub association: Option<String>,
    /// The interface it is associated with.
    pub interface: Option<String>,
}

/// Where EC2 says a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RouteSeen {
    /// The route table that holds it.
    pub route_table: String,
    /// The interface it leads to.
    pub interface: Option<String>,
    /// `active` or `blackhole`.
    pub state: String,
}

/// How the deployment of a stack ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StackEnd {
    /// The stack's status.
    pub status: String,
    /// The stack's own reason, often empty.
    pub reason: String,
    /// Every event with a failed status, oldest first.
    pub failures: Vec<StackFailure>,
    /// The stack's outputs.
    pub outputs: BTreeMap<String, String>,
}

/// A resource that failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StackFailure {
    /// Its logical id.
    pub resource: String,
    /// The status, ending in `FAILED`.
    pub status: String,
    /// Why.
    pub reason: String,
}

/// What came of a call under a role.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Attempt {
    /// Whether IAM let it through.
    pub allowed: bool,
    /// The answer, if it succeeded.
    #[serde(default)]
    pub answer: Value,
    /// The code of the error, if it failed.
    #[serde(default)]
    pub code: String,
    /// The text of the error, if it failed.
    #[serde(default)]
    pub message: String,
}

/// How large a world to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldSize {
    /// The cluster in the tag `baton:cluster` of everything that Baton may change.
    pub cluster: String,
    /// How many instances.
    pub nodes: usize,
    /// How many Elastic IPs.
    pub addresses: usize,
    /// How many route tables.
    pub route_tables: usize,
    /// The destination they route, outside 10.0.0.0/16.
    pub destination: String,
}

impl Account {
    /// Connects to an account whose EC2 is at `ec2_endpoint` and everything else at `endpoint`; its log goes
    /// to `directory`.
    pub fn open(
        venv: &Venv,
        directory: &Path,
        endpoint: &str,
        ec2_endpoint: &str,
    ) -> Result<Self, SandboxError> {
        let log = directory.join("account.log");
        let stderr = File::create(&log).map_err(SandboxError::io(format!("making {}", log.display())))?;
        let argv = venv.script("account.py");
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .env_clear()
            .envs(plain_environment(directory))
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_ENDPOINT_URL_EC2", ec2_endpoint)
            .env("AWS_REGION", REGION)
            .env("BATON_SANDBOX_ACCOUNT", ACCOUNT_ID)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // It ends at the end of its input, so Ctrl-C need not reach it.
            .process_group(0)
            .spawn()
            .map_err(SandboxError::io("starting account.py"))?;
        let requests = child.stdin.take().expect("stdin is piped");
        let answers = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let pipes = Mutex::new(Some(Pipes { requests, answers, next: 1 }));
        let account = Self { pipes, child: Mutex::new(child), log };
        let found: String = account.ask("ping", json!({}))?;
        if found == ACCOUNT_ID {
            Ok(account)
        } else {
            Err(SandboxError::Answer { what: "STS, asked for the account,".to_owned(), answer: found })
        }
    }

    /// Makes the network, the instances and the addresses, and from then on does what AWS does when an
    /// instance changes its state.
    pub fn make_world(&self, size: &WorldSize) -> Result<World, SandboxError> {
        let WorldSize { cluster, nodes, addresses, route_tables, destination } = size;
        self.ask(
            "make_world",
            json!({
                "cluster": cluster, "nodes": nodes, "addresses": addresses,
                "route_tables": route_tables, "destination": destination,
            }),
        )
    }

    /// Where every Elastic IP is.
    pub fn addresses(&self) -> Result<Vec<AddressSeen>, SandboxError> {
        self.ask("addresses", json!({}))
    }

    /// Where every table that holds the destination sends it.
    pub fn routes(&self, destination: &str) -> Result<Vec<RouteSeen>, SandboxError> {
        self.ask("routes", json!({ "destination": destination }))
    }

    /// Whether the source/destination check of an interface is on.
    pub fn source_dest_check(&self, interface: &str) -> Result<bool, SandboxError> {
        self.ask("source_dest_check", json!({ "interface": interface }))
    }

    /// The state of every instance by id.
    pub fn instance_states(&self) -> Result<BTreeMap<String, String>, SandboxError> {
        self.ask("instance_states", json!({}))
    }

    /// Stops an instance, and does what AWS does besides.
    pub fn stop_instance(&self, id: &str) -> Result<(), SandboxError> {
        self.ask("stop_instance", json!({ "instance": id }))
    }

    /// Starts a stopped instance.
    pub fn start_instance(&self, id: &str) -> Result<(), SandboxError> {
        self.ask("start_instance", json!({ "instance": id }))
    }

    /// Terminates an instance, and does what AWS does besides: its addresses become free.
    pub fn terminate_instance(&self, id: &str) -> Result<(), SandboxError> {
        self.ask("terminate_instance", json!({ "instance": id }))
    }

    /// Puts a state-change event on the default bus without any change, as a late or repeated one.
    pub fn announce(&self, id: &str, state: &str) -> Result<(), SandboxError> {
        self.ask("announce", json!({ "instance": id, "state": state }))
    }

    /// Puts a file into the sandbox's bucket; returns the bucket's name.
    pub fn put_file(&self, key: &str, path: &Path) -> Result<String, SandboxError> {
        let put: Value = self.ask("put_file", json!({ "key": key, "path": path }))?;
        Ok(put["bucket"].as_str().unwrap_or_default().to_owned())
    }

    /// Creates a stack from a template file and waits until it is settled.
    pub fn create_stack(
        &self,
        name: &str,
        template: &Path,
        parameters: &BTreeMap<String, String>,
    ) -> Result<StackEnd, SandboxError> {
        self.ask("create_stack", json!({ "stack": name, "template": template, "parameters": parameters }))
    }

    /// Updates a stack and waits until it is settled.
    pub fn update_stack(
        &self,
        name: &str,
        template: &Path,
        parameters: &BTreeMap<String, String>,
    ) -> Result<StackEnd, SandboxError> {
        self.ask("update_stack", json!({ "stack": name, "template": template, "parameters": parameters }))
    }

    /// Deletes a stack and waits until it is settled.
    pub fn delete_stack(&self, name: &str) -> Result<StackEnd, SandboxError> {
        self.ask("delete_stack", json!({ "stack": name }))
    }

    /// The physical id of each resource of a stack by its logical id.
    pub fn stack_resources(&self, name: &str) -> Result<BTreeMap<String, String>, SandboxError> {
        self.ask("stack_resources", json!({ "stack": name }))
    }

    /// What a function has logged, oldest first. On a busy computer ministack may lose lines, so they prove
    /// presence only.
    pub fn function_logs(&self, function: &str) -> Result<Vec<String>, SandboxError> {
        self.ask("function_logs", json!({ "function": function }))
    }

    /// Every item of a table, with DynamoDB's types.
    pub fn scan(&self, table: &str) -> Result<Vec<Value>, SandboxError> {
        self.ask("scan", json!({ "table": table }))
    }

    /// Any call of the SDK for Python, as administrator: `call("iam", "get_role", …)`.
    pub fn call(&self, service: &str, operation: &str, parameters: &Value) -> Result<Value, SandboxError> {
        self.ask("call", json!({ "service": service, "operation": operation, "parameters": parameters }))
    }

    /// Any call under a role; a session named after an instance is that instance's.
    pub fn call_as(
        &self,
        role: &str,
        session: &str,
        service: &str,
        operation: &str,
        parameters: &Value,
    ) -> Result<Attempt, SandboxError> {
        self.ask(
            "call_as",
            json!({
                "role": role, "session": session, "service": service,
                "operation": operation, "parameters": parameters,
            }),
        )
    }

    /// Any call to EC2 as administrator of another account.
    pub fn call_in(
        &self,
        account: &str,
        service: &str,
        operation: &str,
        parameters: &Value,
    ) -> Result<Value, SandboxError> {
        self.ask(
            "call_in",
            json!({
                "account": account, "service": service, "operation": operation, "parameters": parameters,
            }),
        )
    }

    fn ask<T: DeserializeOwned>(&self, doing: &str, mut request: Value) -> Result<T, SandboxError> {
        let mut guard = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let pipes = guard.as_mut().expect("pipes are open until drop");
        let id = pipes.next;
        pipes.next += 1;
        request["id"] = json!(id);
        request["do"] = json!(doing);
        let failed = |said: String| SandboxError::Account { doing: doing.to_owned(), said };
        writeln!(pipes.requests, "{request}").map_err(|error| failed(self.why(&error.to_string())))?;
        let mut line = String::new();
        pipes.answers.read_line(&mut line).map_err(|error| failed(self.why(&error.to_string())))?;
        let mut answer: Value = serde_json::from_str(&line).map_err(|_| failed(self.why(line.trim())))?;
        if let Some(error) = answer["error"].as_str() {
            return Err(failed(error.to_owned()));
        }
        if answer["id"] != json!(id) {
            return Err(failed(self.why(line.trim())));
        }
        serde_json::from_value(answer["ok"].take()).map_err(|error| failed(format!("{error} in {line}")))
    }

    fn why(&self, said: &str) -> String {
        format!("`{said}`; the end of {}:\n{}", self.log.display(), crate::machine::tail(&self.log))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = child.wait() {
            eprintln!("account.py could not be waited for: {error}");
        }
    }
}
