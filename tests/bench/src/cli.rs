//! A call of the AWS CLI, which is what a script in the agent's place would make at each look.

use std::process::Command;
use std::time::Duration;

use baton_sandbox::{ADMINISTRATOR, Moto, REGION, Venv};
use nix::sys::resource::{UsageWho, getrusage};

use crate::Trouble;

/// How often it is called; the median counts.
const CALLS: usize = 3;

/// The processor time of one `aws ec2 describe-addresses` against this EC2, the children of this process being nobody else's
/// meanwhile.
pub fn describe_addresses(venv: &Venv, moto: &Moto) -> Result<Duration, Trouble> {
    // The first one compiles.
    call(venv, moto)?;
    let mut all = Vec::new();
    for _ in 0..CALLS {
        let before = of_children()?;
        call(venv, moto)?;
        all.push(of_children()?.saturating_sub(before));
    }
    all.sort_unstable();
    Ok(all[CALLS / 2])
}

fn call(venv: &Venv, moto: &Moto) -> Result<(), Trouble> {
    let mut aws = Command::new(venv.python());
    aws.args(["-I", "-m", "awscli", "ec2", "describe-addresses", "--output", "json"]);
    aws.env_clear().env("AWS_ENDPOINT_URL", moto.endpoint()).env("AWS_REGION", REGION);
    aws.env("AWS_DEFAULT_REGION", REGION).env("AWS_ACCESS_KEY_ID", ADMINISTRATOR);
    let output = aws.env("AWS_SECRET_ACCESS_KEY", ADMINISTRATOR).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && said.contains("Addresses") {
        return Ok(());
    }
    Err(format!("`aws ec2 describe-addresses`: {said}{}", String::from_utf8_lossy(&output.stderr)).into())
}

fn of_children() -> Result<Duration, Trouble> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: nix::sys::time::TimeVal| {
        use nix::sys::time::TimeValLike;
        u64::try_from(time.num_microseconds())
    };
    Ok(Duration::from_micros(micros(usage.user_time())? + micros(usage.system_time())?))
}
