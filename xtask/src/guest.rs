//! The packages in a machine of their own: `cargo xtask test guest`.
//!
//! A small Debian with systemd as its first process, in QEMU: with KVM where this machine has it, emulated where it has not. In it the
//! debs are installed as they are, and what no process can be shown by is shown: the unit under systemd, its watchdog, the
//! kernel's watchdog and what it does, a suspension, a machine that is stopped from outside, and a fence made of
//! real modules. The table, the functions and the metadata are the sandbox's, on this machine, which the guest reaches by its network.
//!
//! The cluster's other node is never started, so that nobody takes over and each row can begin where the last one did. What a takeover
//! waits for is shown by the simulator and in the sandbox.

mod control;
mod image;
mod machine;
mod prober;
mod qmp;
mod scenarios;
mod wait;

use std::error::Error;

use baton_sandbox::stage::{Deployment, StageOptions};
use baton_sandbox::venv::target_directory;
use baton_sandbox::{Imds, Options};

use self::machine::Guest;
use self::scenarios::Seen;
use crate::package::tally::{Tally, want};
use crate::package::{Profile, debs};
use crate::{output, tools};

/// What it takes, each with its Debian package.
const PROGRAMS: [(&str, &str); 3] =
    [("debootstrap", "debootstrap"), ("qemu-system-x86_64", "qemu-system-x86"), ("mke2fs", "e2fsprogs")];

/// Boots a guest and tries everything in it. `quick` packs what tests are built with.
pub(crate) fn check(quick: bool) -> Result<(), Box<dyn Error>> {
    if std::env::consts::ARCH != "x86_64" {
        return Err("the guest is an x86_64 machine, and so are the packages in it: run this on one".into());
    }
    for (program, package) in PROGRAMS {
        tools::system(program, package)?;
    }
    let directory = target_directory().join("guest");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    let packages = debs(if quick { Profile::Dev } else { Profile::Dist }, &directory.join("packages"))?;
    let image = image::make(&directory, &packages)?;
    let options = StageOptions {
        sandbox: Options { nodes: 2, ..Options::default() },
        mode: "strict".to_owned(),
        timing: "default".to_owned(),
        ..StageOptions::default()
    };
    let deployment = Deployment::make(&options, &mut output::note)?;
    let metadata = Imds::start(&deployment.sandbox, Some(&deployment.role))?;
    output::note(&format!("booting the guest; its console is {}", directory.join("console.log").display()));
    let mut guest = Guest::boot(&directory, &image)?;
    // What differs from a node on EC2: where the API and the metadata are.
    let (api, metadata) =
        (in_guest(&deployment.sandbox.ministack().endpoint()), in_guest(&metadata.endpoint(0)));
    guest.run(&format!(
        "mkdir -p /etc/systemd/system/baton-agent.service.d && printf '[Service]\\nEnvironment=AWS_ENDPOINT_URL={api} \
         AWS_EC2_METADATA_SERVICE_ENDPOINT={metadata}\\n' >/etc/systemd/system/baton-agent.service.d/endpoints.conf"
    ))?;
    let mut tally = Tally::default();
    run(&mut tally, &mut guest)?;
    tally.close()
}

/// An endpoint on this machine's loopback, as the guest sees it.
fn in_guest(endpoint: &str) -> String {
    endpoint.replace("127.0.0.1", image::HOST)
}

/// One scenario.
type Scenario = fn(&mut Guest) -> Seen;

/// What is tried once the packages are in place, in this order.
const SCENARIOS: [(&str, Scenario); 9] = [
    ("unit: enabled, ready, serving, with a status", scenarios::unit),
    ("unit: no more exposed than is published", scenarios::exposure),
    ("watchdog: systemd replaces a frozen agent, and nothing serves too long", scenarios::watchdog),
    ("update: the agent is restarted, and its service runs on", scenarios::update),
    ("fence: the kernel cuts off a service that nobody stops", scenarios::fence),
    ("suspend: after a suspension nothing is served before the lease is confirmed", scenarios::suspend),
    ("freeze: a machine that is stopped from outside serves by its own clock", scenarios::freeze),
    ("softdog: the machine is reset, and after it nothing is served before W and R", scenarios::softdog),
    ("purge: everything ends in order", scenarios::purge),
];

fn run(tally: &mut Tally, guest: &mut Guest) -> Result<(), Box<dyn Error>> {
    // Without the packages nothing else means anything, so that ends it.
    let said = scenarios::install(guest)?;
    row(tally, "install: neither enabled nor started", Ok(said));
    for (name, scenario) in SCENARIOS {
        let seen = scenario(guest);
        if seen.is_err() {
            explain(guest);
        }
        row(tally, name, seen);
    }
    let answers = guest.prober.answers();
    let wrong = answers.iter().filter(|answer| !answer.is_confirmed()).count();
    let sum = format!("{wrong} of {} answers were given without a confirmed lease", answers.len());
    let held = want(wrong == 0 && !answers.is_empty(), &sum).map(|()| sum);
    row(tally, "in all of this: no answer without a confirmed lease", held);
    Ok(())
}

fn row(tally: &mut Tally, name: &str, seen: Seen) {
    match seen {
        Ok(said) => {
            tally.take(name, Ok(()));
            output::note(&output::dim(&format!("   {said}")));
        }
        Err(error) => tally.take(name, Err(error)),
    }
}

/// What the agent said last, where something went wrong.
fn explain(guest: &mut Guest) {
    let said = guest.run("journalctl --boot --quiet --no-pager --lines=25 --unit=baton-agent --unit=orders");
    let said = said.unwrap_or_else(|error| error.to_string());
    output::note(&output::dim(&format!("{said}\n(the console: {})", guest.console.display())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_of_this_machine_is_reached_by_another_address_in_the_guest() {
        assert_eq!(in_guest("http://127.0.0.1:4566"), "http://10.0.2.2:4566");
    }
}
