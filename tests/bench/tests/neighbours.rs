//! The agent as a program whose neighbours' heartbeats cannot be read.

use baton_bench::rig::{Rig, ended, named};
use baton_bench::table::patient;
use baton_protocol::timing::Timing;
use baton_sandbox::Moto;
use baton_sandbox::binaries::Binaries;

/// How many heartbeats are surely longer than the validity of one.
fn longer_than_validity(timing: Timing) -> usize {
    let heartbeats = timing.validity().as_millis() / u128::from(timing.durations().heartbeat_ms);
    2 * usize::try_from(heartbeats).expect("a few")
}

/// In strict mode a lease that is not read is a service that is stopped, and nobody would follow: the heartbeats go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_cannot_read_its_neighbours_serves_on() {
    let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
    let program = binaries.path("baton-agent");
    let rig = Rig::start(program, Moto::start().expect("it starts")).await.expect("a rig");
    let only = named("only", 0).expect("valid");
    rig.table.register(&only, patient()).await.expect("registered");
    let text = format!("table = \"baton\"\n{}", rig.telling_cluster(&only, "web", "1s"));
    rig.configure(&text).expect("written");
    let agent = rig.run().expect("it starts");
    rig.table.grant(&only).await.expect("it serves");
    rig.passage.cut_batches();
    let before = rig.passage.beats();
    rig.until_beats(before + longer_than_validity(patient())).await.expect("it beats on");
    assert_eq!(rig.hooks(), "promote\n", "{}", rig.log());
    let mine = rig.table.until("it serves", &only, |found| found.serving_epoch.is_some()).await;
    mine.expect("it serves");
    ended(agent).await.expect("it ran until here");
}
