//! The whole: moto, ministack, the account and its world, in one run directory.

use std::path::{Path, PathBuf};

use crate::account::{Account, World, WorldSize};
use crate::machine::mark;
use crate::ministack::Ministack;
use crate::moto::Moto;
use crate::{SandboxError, Venv};

/// How to start a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where logs, state and nodes' files go; without one, a new directory among the temporary files.
    pub run_dir: Option<PathBuf>,
    /// Whether the run directory stays at the end.
    pub keep: bool,
    /// The cluster whose tag the addresses, route tables and interfaces carry.
    pub cluster: String,
    /// How many instances.
    pub nodes: usize,
    /// How many Elastic IPs.
    pub addresses: usize,
    /// How many route tables.
    pub route_tables: usize,
    /// The destination they route, outside 10.0.0.0/16.
    pub destination: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            run_dir: None,
            keep: false,
            cluster: "orders".to_owned(),
            nodes: 3,
            addresses: 1,
            route_tables: 2,
            destination: "192.0.2.10/32".to_owned(),
        }
    }
}

/// A running stand-in for an AWS account. Everything in it ends when it is dropped, and at the latest with
/// this process.
#[derive(Debug)]
pub struct Sandbox {
    // Dropped in this order: who asks before who answers.
    account: Account,
    ministack: Ministack,
    moto: Moto,
    world: World,
    venv: Venv,
    run_dir: PathBuf,
}

impl Sandbox {
    /// Starts everything and makes the world; `progress` is told each step.
    pub fn start(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Self, SandboxError> {
        let venv = Venv::ensure_with(progress)?;
        let run_dir = match &options.run_dir {
            Some(directory) => directory.clone(),
            None => {
                let made = tempfile::Builder::new().prefix("baton-sandbox-").tempdir();
                made.map_err(SandboxError::io("making the run directory"))?.keep()
            }
        };
        let fresh = options.run_dir.is_none() || !run_dir.exists();
        std::fs::create_dir_all(&run_dir)
            .map_err(SandboxError::io(format!("making {}", run_dir.display())))?;
        if fresh {
            mark(&run_dir)?;
        }
        progress("starting moto, which stands in for EC2");
        let moto = Moto::start_in(&venv, &run_dir)?;
        progress("starting ministack, which stands in for the rest of AWS");
        let ministack = Ministack::start_in(&venv, &run_dir, &moto.endpoint())?;
        if fresh && !options.keep {
            // A directory that was there before belongs to whoever made it.
            moto.remove_at_end(&run_dir)?;
        }
        let account = Account::open(&venv, &run_dir, &ministack.endpoint(), &moto.endpoint())?;
        progress(&format!(
            "making a VPC with {} instances in three zones, {} Elastic IPs and {} route tables",
            options.nodes, options.addresses, options.route_tables
        ));
        let world = account.make_world(&WorldSize {
            cluster: options.cluster.clone(),
            nodes: options.nodes,
            addresses: options.addresses,
            route_tables: options.route_tables,
            destination: options.destination.clone(),
        })?;
        Ok(Self { account, ministack, moto, world, venv, run_dir })
    }

    /// The administrator of the account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What was made at the start.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Everything but EC2.
    pub fn ministack(&self) -> &Ministack {
        &self.ministack
    }

    /// EC2.
    pub fn moto(&self) -> &Moto {
        &self.moto
    }

    /// The Python environment.
    pub fn venv(&self) -> &Venv {
        &self.venv
    }

    /// Where logs and files are.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }
}
