//! The agent as a program where the metadata service gives no session tokens, or no answer yet.

use std::time::Duration;

use baton_bench::rig::{Rig, configuration, ended, named, told};
use baton_protocol::timing::Timing;
use baton_sandbox::Moto;
use baton_sandbox::binaries::Binaries;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(40);

/// Who it is and with which credentials it writes come from the metadata, and from nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_beats_by_version_1_of_the_metadata_where_that_is_chosen_and_ends_where_it_is_not() {
    let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
    let program = binaries.path("baton-agent");
    let rig = Rig::start(program, Moto::start().expect("it starts")).await.expect("a rig");
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
    let status = rig.status().expect("it answers");
    assert_eq!(status["imds"], "v1", "{status}");
    ended(agent).await.expect("it ran until here");
}

/// Starting it anew would not help, so it is the same process that waits, says why, and then beats.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_starts_before_its_metadata_can_be_had_waits_for_them() {
    let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
    let program = binaries.path("baton-agent");
    let rig = Rig::start(program, Moto::start().expect("it starts")).await.expect("a rig");
    rig.metadata.be_down(true);
    let only = named("only", 0).expect("valid");
    rig.table.register(&only, Timing::DEFAULT).await.expect("registered");
    let mut agent = rig.agent(std::slice::from_ref(&only), Duration::from_secs(1)).expect("it starts");
    let log = || std::fs::read_to_string(rig.place().join("agent.log")).expect("written");
    let waits = || log().contains("who this node is cannot be told yet").then_some(());
    rig.until("it says what it waits for", waits).await.expect("told");
    // So often is it asked by one try of the start.
    let asked = rig.metadata.asked();
    rig.until("it asks again", || (rig.metadata.asked() >= asked + 6).then_some(())).await.expect("asked");
    assert_eq!((agent.try_wait().expect("asked"), rig.passage.beats()), (None, 0), "{}", log());
    // Where this process stands still an answer is missing, which is another reason.
    let text = log();
    let lines = text.lines().filter(|line| line.contains("cannot be told yet"));
    let reasons: Vec<_> = lines.filter_map(|line| told(line, "reason")).collect();
    assert!(!reasons.is_empty(), "{text}");
    assert!(reasons.windows(2).all(|pair| pair[0] != pair[1]), "the same is told once: {text}");

    // What is changed meanwhile is in force once it has begun.
    let changed = configuration(rig.place(), &[only], &rig.service.url(), Duration::from_secs(1));
    rig.configure(&changed.replace(".check.web]", ".check.app]")).expect("written");
    let pid = Pid::from_raw(i32::try_from(agent.id().expect("it runs")).expect("a pid"));
    kill(pid, Signal::SIGHUP).expect("it runs");
    rig.metadata.be_down(false);
    rig.until_beats(3).await.expect("its heartbeats are confirmed");
    let in_force = || rig.status().filter(|status| status.to_string().contains(r#""name":"app""#));
    rig.until("the changed check is in force", in_force).await.expect("in force");
    ended(agent).await.expect("it ran until here");
}
