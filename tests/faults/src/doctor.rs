//! Every requirement that `baton doctor` knows, broken in turn: the program that ships finds it, mends it where it may, and finds
//! it no more.
//!
//! The account is a real EC2 server's, and ministack's for alarms and trails. What agents write is written here, into a real
//! table. What no server can be brought into is made in the twin, which begins as the server is; there the library is run in
//! the program's place.

mod account;
mod broken;
mod cases;
mod pulse;
mod record;
mod twin;

use std::path::PathBuf;
use std::process::Stdio;

use baton_sandbox::{ADMINISTRATOR, REGION};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

pub use cases::{CASES, Case, NAMES};
use pulse::Pulse;

use crate::rig::{Rig, Size, Trouble};

/// What came of one requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The requirement: `R1` … `B4`.
    pub requirement: &'static str,
    /// The case of it.
    pub name: &'static str,
    /// How it was broken.
    pub broken: &'static str,
    /// The finding that ought to be there.
    pub expected: &'static str,
    /// What `doctor` found of this requirement.
    pub observed: String,
    /// What it says to do.
    pub remedy: String,
    /// What it says `--fix` may do.
    pub fix: String,
    /// Whether `--fix` has mended it; false where a person had to.
    pub fixed: bool,
    /// Whether it was found no more afterwards.
    pub clean_after: bool,
    /// What was broken: `server`, `twin` or `node`.
    pub world: &'static str,
    /// Whether all of that is as it should be.
    pub agrees: bool,
}

/// How a requirement is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// By `--fix`.
    Auto,
    /// By `--fix` with consent.
    Consent,
    /// By a person, as the remedy says.
    Person,
    /// By `--fix` with consent for its part, and by a person, who tells the cluster's stack of it.
    Half,
}

/// The account with its cluster, and agents that beat.
#[derive(Debug)]
pub struct Ward {
    rig: Rig,
    pulse: Pulse,
    baton: PathBuf,
    /// What was made on the way, by a name.
    kept: std::collections::BTreeMap<&'static str, String>,
}

/// What the program has said.
#[derive(Debug, Clone)]
pub struct Said {
    code: Option<i32>,
    report: Value,
}

impl Said {
    /// The finding of this name.
    fn finding(&self, id: &str) -> Option<&Value> {
        self.report["findings"].as_array()?.iter().find(|finding| finding["id"] == id)
    }

    fn verdict(&self, row: &str) -> &str {
        let rows = self.report["rows"].as_array().map_or(&[][..], Vec::as_slice);
        let row = rows.iter().find(|standing| standing["row"] == row);
        row.and_then(|row| row["verdict"].as_str()).unwrap_or("-")
    }

    fn findings(&self) -> String {
        let all = self.report["findings"].as_array().into_iter().flatten();
        let told: Vec<String> =
            all.map(|finding| format!("{}: {}", text(&finding["id"]), text(&finding["what"]))).collect();
        told.join("; ")
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Ward {
    /// A cluster of three nodes in an account that leaves nothing to be found; what `--fix` can make so is made by it.
    pub async fn open(programs: PathBuf) -> Result<Self, Trouble> {
        let baton = programs.join("baton");
        let mut rig = Rig::start(Size { addresses: 1, tables: 3 }, programs).await?;
        rig.wake("registered").await;
        rig.wake("verify").await;
        rig.wake("probe").await;
        account::furnish(&rig)?;
        let pulse = Pulse::start(&rig).await?;
        let mut ward = Self { rig, pulse, baton, kept: Default::default() };
        let said = ward.mend(true).await?;
        if said.code != Some(0) {
            return Err(format!("a fresh account could not be mended: {}", said.report).into());
        }
        Ok(ward)
    }

    /// Plays one case.
    pub async fn play(&mut self, case: &Case) -> Result<Row, Trouble> {
        match case {
            Case::NotNeeded { requirement, name } => self.not_needed(requirement, name).await,
            Case::Broken(broken) => self.broken(broken).await,
            Case::Twin(twin) => self.twin(twin).await,
            Case::Unread { requirement, name } => self.unread(requirement, name).await,
        }
    }

    /// `baton doctor`.
    async fn examine(&self) -> Result<Said, Trouble> {
        self.run(&[]).await
    }

    /// `baton doctor --fix`, with consent or without.
    async fn mend(&mut self, consent: bool) -> Result<Said, Trouble> {
        let given: &[&str] = if consent { &["--fix", "--yes"] } else { &["--fix"] };
        let mut child = self.command(given).spawn()?;
        let mut said = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines();
        let mut out = child.stdout.take().ok_or("no stdout")?;
        let reads = async {
            let mut answer = Vec::new();
            out.read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        // What the bus would do: the arbiter runs once the program has said that it wakes it.
        let rig = &mut self.rig;
        let wakes = async {
            while let Some(line) = said.next_line().await? {
                if line.contains("wakes the arbiter") {
                    rig.wake("request").await;
                }
            }
            Ok::<_, std::io::Error>(())
        };
        let (answer, woken) = tokio::join!(reads, wakes);
        woken?;
        let code = child.wait().await?.code();
        Ok(Said { code, report: serde_json::from_slice(&answer?).unwrap_or(Value::Null) })
    }

    async fn run(&self, given: &[&str]) -> Result<Said, Trouble> {
        let output = self.command(given).output().await?;
        let report = serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("baton doctor: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok(Said { code: output.status.code(), report })
    }

    fn command(&self, given: &[&str]) -> Command {
        let (moto, rest) = (self.rig.sandbox().moto().endpoint(), self.rig.sandbox().ministack().endpoint());
        let mut command = Command::new(&self.baton);
        command
            .args(["doctor", "--cluster", "orders", "--format", "json"])
            .args(given)
            .env("AWS_ENDPOINT_URL", rest)
            .env("AWS_ENDPOINT_URL_DYNAMODB", self.rig.table_endpoint())
            .env("AWS_ENDPOINT_URL_EC2", moto)
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", ADMINISTRATOR)
            .env("AWS_SECRET_ACCESS_KEY", ADMINISTRATOR)
            .env("BATON_BUS", "default")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn call(&self, service: &str, operation: &str, parameters: Value) -> Result<Value, Trouble> {
        Ok(self.rig.sandbox().account().call(service, operation, &parameters)?)
    }

    fn ec2(&self, operation: &str, parameters: Value) -> Result<Value, Trouble> {
        self.call("ec2", operation, parameters)
    }

    /// A requirement that asks for a part that there is not.
    async fn not_needed(&mut self, requirement: &'static str, name: &'static str) -> Result<Row, Trouble> {
        let said = self.examine().await?;
        let verdict = said.verdict(requirement).to_owned();
        Ok(Row {
            requirement,
            name,
            broken: "cannot be: it asks for a part that Baton does without",
            expected: "not-needed",
            agrees: verdict == "not-needed",
            observed: verdict,
            remedy: String::new(),
            fix: "report".to_owned(),
            fixed: false,
            clean_after: said.code == Some(0),
            world: "server",
        })
    }

    /// What may not be read is not known, by name, and never passes.
    async fn unread(&mut self, requirement: &'static str, name: &'static str) -> Result<Row, Trouble> {
        use baton_sandbox::moto::{Ec2Fault, Ec2Trouble};
        let action = "DescribeSecurityGroups";
        self.rig.sandbox().moto().set_faults(&[Ec2Fault::on(action, Ec2Trouble::Deny)])?;
        let said = self.examine().await?;
        self.rig.sandbox().moto().set_faults(&[])?;
        let after = self.examine().await?;
        let found = said.finding("readable").cloned().unwrap_or_default();
        let named = text(&found["what"]).contains(&format!("ec2:{action}"));
        let verdict = said.verdict(requirement).to_owned();
        let clean_after = after.code == Some(0);
        Ok(Row {
            requirement,
            name,
            broken: "you may not call ec2:DescribeSecurityGroups",
            expected: "readable",
            agrees: verdict == "unknown" && named && said.code == Some(23) && clean_after,
            observed: format!("{verdict}: {}", text(&found["what"])),
            remedy: remedy(&found),
            fix: text(&found["fix"]),
            fixed: false,
            clean_after,
            world: "server",
        })
    }

    async fn broken(&mut self, broken: &broken::Broken) -> Result<Row, Trouble> {
        broken::apply(broken.how, self).await?;
        let before = self.examine().await?;
        let found = before.finding(broken.expected).cloned();
        let rows = found.as_ref().map(|found| found["rows"].to_string()).unwrap_or_default();
        let named = rows.contains(&format!("\"{}\"", broken.requirement));
        let asked = before.verdict(broken.requirement) == "violated" && named && before.code == Some(23);
        let after = match broken.mend {
            Mend::Auto => self.mend(false).await?,
            Mend::Consent | Mend::Half => self.mend(true).await?,
            Mend::Person => self.examine().await?,
        };
        let fixed = after.finding(broken.expected).is_none();
        // Afterwards everything is as it was before, whoever has to do that.
        broken::restore(broken.how, self).await?;
        let last = self.settle().await?;
        let clean_after = last.code == Some(0);
        let found = found.unwrap_or_default();
        let fix = match broken.mend {
            Mend::Auto => "auto",
            Mend::Consent | Mend::Half => "consent",
            Mend::Person => "report",
        };
        let expected = matches!(broken.mend, Mend::Auto | Mend::Consent);
        // Whatever was planned was made; where a person has to do it nothing was planned.
        let made = after.report["plan"].as_array().is_none_or(|plan| {
            plan.iter()
                .filter(|step| step["findings"].to_string().contains(broken.expected))
                .all(|step| step["outcome"] == "made")
        });
        let agrees = asked && fixed == expected && made && clean_after && found["fix"] == fix;
        Ok(Row {
            requirement: broken.requirement,
            name: broken.name,
            broken: broken.what,
            expected: broken.expected,
            observed: if agrees {
                format!("{}: {}", text(&found["id"]), text(&found["what"]))
            } else {
                format!(
                    "before: {} (exit {:?}); after --fix: {} {}; at the end: {}",
                    before.findings(),
                    before.code,
                    after.findings(),
                    after.report["plan"],
                    last.findings()
                )
            },
            remedy: remedy(&found),
            fix: text(&found["fix"]),
            fixed,
            clean_after,
            world: broken.world,
            agrees,
        })
    }

    /// What is left over after a case is the arbiter's, which would be woken by its events.
    async fn settle(&mut self) -> Result<Said, Trouble> {
        let mut said = self.examine().await?;
        for _ in 0..5 {
            if said.code == Some(0) {
                break;
            }
            self.rig.wake("verify").await;
            self.rig.wake("probe").await;
            said = self.examine().await?;
        }
        Ok(said)
    }
}

fn remedy(found: &Value) -> String {
    let all = found["remedy"].as_array().into_iter().flatten().filter_map(Value::as_str);
    all.collect::<Vec<_>>().join("; ")
}

/// What the account's owner says by number.
fn ids(what: &str, id: &str) -> Value {
    json!({ what: [id] })
}
