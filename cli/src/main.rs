//! The binary: streams, environment and AWS clients, and nothing else.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use baton::args::{Cli, Command};
use baton::asking;
use baton::clock::SystemClock;
use baton::command::{Session, doctor};
use baton::console::{Console, Look, wants_color};
use baton::exit::Exit;
use baton::gather::Eyes;
use baton::trouble::Trouble;
use baton_client::{Bus, Limits, Place};
use baton_cloud::Ec2Cloud;
use baton_store::DynamoStore;
use baton_survey::AwsAccount;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(refused) => {
            // Help and version come this way as well. A reader that has left them is no failure.
            let _ = refused.print();
            return if refused.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let (mut out, mut err, mut input) = (io::stdout().lock(), io::stderr().lock(), io::stdin().lock());
    let borders = io::stdout().is_terminal();
    let look = Look {
        borders,
        can_ask: io::stdin().is_terminal() && io::stderr().is_terminal(),
        color: wants_color(cli.global.color, |name| std::env::var(name).ok(), borders),
        width: comfy_table::Table::new().width(),
    };
    let mut console = Console { out: &mut out, err: &mut err, input: &mut input, look };
    if let Command::Completions(args) = &cli.command {
        let outcome = baton::completions(&mut console, args);
        return baton::conclude(&mut console, outcome).into();
    }

    let place = Place { profile: cli.global.profile.clone(), region: cli.global.region.clone() };
    let config = baton_client::load_at(Limits::cli(), &place).await;
    if config.region().is_none() {
        let trouble = Trouble::new(Exit::Configuration, "no AWS region is known")
            .help("name it with --region, in AWS_REGION or in the profile");
        return baton::conclude(&mut console, Err(trouble)).into();
    }
    let session = Session {
        store: &DynamoStore::new(&config, cli.global.table.clone()),
        waker: &Bus::new(&config, cli.global.bus.clone()),
        clock: &SystemClock,
        who: asking::who(|name| std::env::var(name).ok(), account(), host()),
        format: cli.global.format(),
    };
    if let Command::Doctor(args) = &cli.command {
        let eyes = Eyes {
            cloud: &Ec2Cloud::new(&config),
            account: &AwsAccount::new(&config),
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            table: cli.global.table.clone(),
        };
        let outcome = doctor::run(&session, &eyes, &mut console, cli.cluster(), args).await;
        return baton::conclude(&mut console, outcome).into();
    }
    baton::run(&session, &mut console, &cli).await.into()
}

/// The account this process runs as.
fn account() -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name)
}

/// This machine's name.
fn host() -> Option<String> {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok())
}
