//! `--keep`: the cluster stays up, and a person is told what to type next.

use std::error::Error;
use std::io::Read;

use baton_sandbox::Stage;

use crate::output;

/// Prints how to reach the cluster and waits; everything ends with this process.
pub(crate) fn until_interrupted(stage: &Stage) -> Result<(), Box<dyn Error>> {
    let file = stage.sandbox().run_dir().join("environment");
    let mut lines: Vec<String> = stage
        .operator_environment()
        .into_iter()
        .filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("BATON_"))
        .map(|(name, value)| format!("export {name}='{value}'"))
        .collect();
    lines.push(format!("export PATH='{}':\"$PATH\"", stage.binaries().directory().display()));
    for node in stage.nodes() {
        if let Some(pid) = node.agent_process()? {
            lines.push(format!("export BATON_DEMO_AGENT_{}={pid}", node.name().to_uppercase()));
        }
    }
    std::fs::write(&file, lines.join("\n") + "\n")?;
    output::note("");
    output::note(&output::bold("The cluster stays up until you press Ctrl-C here. In another terminal:"));
    output::note(&format!("  . {}", file.display()));
    for command in [
        "baton status",
        "baton history",
        "baton switchover --wait",
        "baton status --watch",
        "kill -STOP $BATON_DEMO_AGENT_A      # freeze the agent of node a; if it holds, a standby takes over",
        "kill -CONT $BATON_DEMO_AGENT_A",
    ] {
        output::note(&format!("  {command}"));
    }
    output::note(&format!("  logs and files: {}", stage.sandbox().run_dir().display()));
    // Ctrl-C ends the process, and with it everything that was started; so does the end of its input, for scripts.
    let mut nothing = [0; 1];
    loop {
        if std::io::stdin().read(&mut nothing)? == 0 {
            std::thread::park();
        }
    }
}
