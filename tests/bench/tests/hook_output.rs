//! What becomes of the output of a hook that fails, of the agent as a program.

use baton_bench::rig::{Rig, ended, named, shell_hook, told};
use baton_protocol::findings::{Hook, TAIL_LONGEST};
use baton_protocol::heartbeat::Heartbeat;
use baton_protocol::timing::Timing;
use baton_sandbox::Moto;
use baton_sandbox::binaries::Binaries;

/// The line of the log that tells of the hook's failure, with what was kept of its output.
fn output_in(log: &str) -> Option<String> {
    log.lines().filter_map(|line| told(line, "output")).find(|output| !output.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_has_the_last_4_kb_of_a_failed_hook_and_the_heartbeat_the_last_of_them() {
    let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
    let program = binaries.path("baton-agent");
    let rig = Rig::start(program, Moto::start().expect("it starts")).await.expect("a rig");
    let only = named("only", 0).expect("valid");
    rig.table.register(&only, Timing::DEFAULT).await.expect("registered");
    let place = rig.place().display();
    let write = "i=0; while [ $i -lt 1500 ]; do echo line $i; i=$((i+1)); done; exit 3";
    let text = format!(
        "table = \"baton\"\n[cluster.{only}]\nruntime-directory = \"{place}/run\"\nhooks = {{ promote = {}, demote = {} }}\n\
         service = {{ pid-file = \"{place}/service.pid\" }}\n",
        shell_hook(write),
        shell_hook("exit 0")
    );
    rig.configure(&text).expect("written");
    let agent = rig.run().expect("it starts");
    let log = || std::fs::read_to_string(rig.place().join("agent.log")).ok();
    let looks = async {
        let kept = rig.until("the log to tell", || output_in(&log()?)).await.expect("told");
        let hook = |found: &Heartbeat| found.findings.as_ref().and_then(|findings| findings.hook.clone());
        let beat = rig.table.until("the heartbeat tells", &only, |found| hook(found).is_some()).await;
        (kept, hook(&beat.expect("told")).expect("just seen"))
    };
    let (kept, failure) = tokio::select! {
        served = rig.table.grant(&only) => panic!("its hook fails: {served:?}"),
        found = looks => found,
    };
    assert!(kept.len() > 4_000 && kept.len() <= 4_096, "{} bytes", kept.len());
    assert!(kept.ends_with("line 1499"), "{kept}");
    let output = failure.output.as_str();
    assert_eq!(failure.hook, Hook::Promote);
    assert!(output.len() > TAIL_LONGEST - 4 && output.len() <= TAIL_LONGEST, "{} bytes", output.len());
    assert!(output.starts_with('…') && output.ends_with("line 1498\nline 1499"), "{output}");
    ended(agent).await.expect("it ran until here");
}
