//! The agent as a program on a legacy host whose metadata service gives no session tokens.

use std::process::Command;
use std::time::Duration;

use baton_bench::rig::{Rig, ended, named};
use baton_protocol::timing::Timing;
use baton_sandbox::Moto;
use baton_sandbox::binaries::Binaries;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(40);

/// Who it is and with which credentials it writes come from the metadata, and from nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_beats_by_version_1_of_the_metadata_where_that_is_chosen_and_ends_where_it_is_not() {
    let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
    let program = binaries.path("baton-agent");
    let rig = Rig::start(program.clone(), Moto::start().expect("it starts")).await.expect("a rig");
    rig.metadata.refuse_tokens();
    let only = named("only", 0).expect("valid");
    rig.table.register(&only, Timing::DEFAULT).await.expect("registered");
    let of = |first: &str| {
        let place = rig.place().display();
        format!("{first}table = \"baton\"\n[cluster.{only}]\nruntime-directory = \"{place}/run\"\n")
    };
    rig.configure(&of("")).expect("written");
    let mut refused = rig.run().expect("it starts");
    let end = tokio::time::timeout(LIMIT, refused.wait()).await.expect("it ends").expect("a status");
    assert_eq!((end.code(), rig.passage.beats()), (Some(1), 0));
    let log = || std::fs::read_to_string(rig.place().join("agent.log")).expect("written");
    assert!(
        log().contains("gave no session token") && !log().contains("without session tokens"),
        "{}",
        log()
    );

    rig.configure(&of("imds = \"v1\"\n")).expect("written");
    let agent = rig.run().expect("it starts");
    rig.until_beats(3).await.expect("its heartbeats are confirmed");
    assert!(log().contains("are asked without session tokens"), "{}", log());
    let socket = rig.place().join("run/status.sock");
    let asked = Command::new(&program).args(["status", "--json", "--socket"]).arg(socket).output();
    let status: Value = serde_json::from_slice(&asked.expect("it starts").stdout).expect("JSON");
    assert_eq!(status["imds"], "v1", "{status}");
    ended(agent).await.expect("it ran until here");
}
