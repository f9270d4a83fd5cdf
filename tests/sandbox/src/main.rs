//! Starts a sandbox by hand and keeps it until interrupted: `cargo run -p baton-sandbox`.
//!
//! On standard output, one JSON object with the endpoints, the administrator's keys and the world; progress
//! on standard error. Its end, by Ctrl-C or by SIGKILL, is the end of everything it started.

use std::io::Write;
use std::process::ExitCode;

use baton_sandbox::{ADMINISTRATOR, Options, REGION, Sandbox, SandboxError};
use serde_json::json;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), SandboxError> {
    let sandbox = Sandbox::start(&Options::default(), &mut |line| eprintln!("{line}"))?;
    let world = sandbox.world();
    let names = |kind: &[baton_sandbox::account::ElasticIp]| -> Vec<String> {
        kind.iter().map(|address| address.allocation.clone()).collect()
    };
    let about = json!({
        "AWS_ENDPOINT_URL": sandbox.ministack().endpoint(),
        "AWS_ENDPOINT_URL_EC2": sandbox.moto().endpoint(),
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ADMINISTRATOR,
        "AWS_SECRET_ACCESS_KEY": ADMINISTRATOR,
        "instances": world.instances.iter().map(|instance| instance.id.clone()).collect::<Vec<_>>(),
        "addresses": names(&world.addresses),
        "route_tables": world.route_tables,
        "run_dir": sandbox.run_dir(),
    });
    let mut out = std::io::stdout();
    writeln!(out, "{about}")
        .and_then(|()| out.flush())
        .map_err(|source| SandboxError::Io { doing: "writing to standard output".to_owned(), source })?;
    eprintln!("running; Ctrl-C ends it");
    loop {
        std::thread::park();
    }
}
