//! The hooks of one cluster, and its virtual addresses around them: at most one runs, a demote ends whichever that is, and
//! always ends with the service and the addresses down.

use std::fmt;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::time::Duration;

use baton_protocol::ids::{ClusterName, Epoch};
use baton_protocol::node::Reason;
use baton_protocol::time::{BootTime, WallTime};
use futures_util::future::join;

use crate::check::Keepers;
use crate::clock;
use crate::command::Starter;
use crate::config::{Cluster, Hook};
use crate::deadman::{Target, target};
use crate::hook::{self, Circumstances, Direction, HookError, Watch};
use crate::log::chain;
use crate::packet_fence;
use crate::vip::{Keeper, VipError, Wish};

use super::fence;

/// How a hook ended; where it failed, why.
pub(super) type Outcome = Result<(), Failed>;

/// Why something failed, in one line, and the end of what the hook wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) why: String,
    pub(super) output: String,
    /// When, by the wall clock. What is done about it afterwards may take long, and the log has its lines from here on.
    pub(super) at: WallTime,
    /// Whether that is so because there is no such hook, which is nothing to tell others of.
    pub(super) is_absence: bool,
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { why, output: String::new(), at: clock::wall(), is_absence: false }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The packet fence is opened and the virtual addresses are added, before the promote hook of this epoch may run.
    Raise {
        /// The epoch.
        epoch: Epoch,
        /// Whether the dead-man must guard what the hook starts.
        guarded: bool,
    },
    /// A hook.
    Hook {
        /// Which.
        direction: Direction,
        /// The epoch that it is run for, as it is told.
        epoch: Epoch,
    },
}

impl Stage {
    fn hook(direction: Direction, epoch: Epoch) -> Self {
        Self::Hook { direction, epoch }
    }

    fn is_recovery(self) -> bool {
        matches!(self, Self::Hook { direction: Direction::Recover, .. })
    }
}

type Ending = Pin<Box<dyn Future<Output = Outcome> + Send>>;
type Start = Pin<Box<dyn Future<Output = Result<hook::Running, HookError>> + Send>>;

/// How far it is.
enum Phase {
    /// It is being started, by a thread that may hang.
    Starting(Start),
    /// It runs.
    Running(Ending),
}

/// The hooks as configured, and the one that runs.
pub(super) struct Hooks {
    cluster: ClusterName,
    promote: Option<Hook>,
    demote: Option<Hook>,
    recover: Option<Hook>,
    target: Option<Target>,
    vip: Option<Keeper>,
    fence: Option<packet_fence::Keeper>,
    /// What starts the promote and the recover hook.
    begins: Starter,
    /// What starts the demote hook, which is not to wait for another that hangs.
    stops: Starter,
    /// Which one. Dropping it kills the hook's process group, or ends its start.
    running: Option<(Stage, Phase)>,
}

impl Hooks {
    pub(super) fn new(cluster: &Cluster, Keepers { vip, fence }: Keepers) -> Self {
        Self {
            cluster: cluster.name.clone(),
            promote: cluster.promote.clone(),
            demote: cluster.demote.clone(),
            recover: cluster.recover.as_ref().map(|recover| recover.hook.clone()),
            target: cluster.service.as_ref().map(Target::from),
            vip,
            fence,
            begins: Starter::default(),
            stops: Starter::default(),
            running: None,
        }
    }

    /// What runs.
    pub(super) fn stage(&self) -> Option<Stage> {
        self.running.as_ref().map(|(stage, _)| *stage)
    }

    pub(super) fn idle(&self) -> bool {
        self.running.is_none()
    }

    /// The end of the hook that runs; pending for ever while none does. Cancel-safe: the hook is kept until it ended.
    pub(super) async fn finished(&mut self) -> (Stage, Outcome) {
        let Some(stage) = self.stage() else { return std::future::pending().await };
        let outcome = match self.started().await {
            Ok(()) => match &mut self.running {
                Some((_, Phase::Running(ending))) => ending.await,
                _ => return std::future::pending().await,
            },
            Err(failed) => {
                tracing::error!(reason = failed.why, "the hook did not start");
                Err(failed)
            }
        };
        self.running = None;
        (stage, outcome)
    }

    /// Waits until what is being started runs. Cancel-safe.
    async fn started(&mut self) -> Outcome {
        let Some((stage, Phase::Starting(start))) = &mut self.running else { return Ok(()) };
        let stage = *stage;
        let running = start.await.map_err(|error| chain(&error))?;
        self.running = Some((stage, Phase::Running(Box::pin(end(running)))));
        Ok(())
    }

    /// Begins to open the packet fence and to add the virtual addresses, so that the service finds them when the promote hook starts
    /// it; whether there is either. The promote hook is started once they are there. Nothing is added from `until` on.
    pub(super) fn raise(&mut self, epoch: Epoch, guarded: bool, until: Option<BootTime>) -> bool {
        let (vip, fence) = (self.vip.clone(), self.fence.clone());
        if vip.is_none() && fence.is_none() {
            return false;
        }
        if let Some(keeper) = &vip {
            keeper.wish_up(until);
        }
        let ending = async move {
            if let Some(keeper) = fence {
                fence::opened(keeper).await?;
            }
            let Some(keeper) = vip else { return Ok(()) };
            let raised = beside(move || keeper.raise()).await;
            raised.map_err(|error| format!("no virtual addresses: {error}").into())
        };
        self.running = Some((Stage::Raise { epoch, guarded }, Phase::Running(Box::pin(ending))));
        true
    }

    /// Starts the promote hook. The dead-man is told its process group, so that a hook which outlasts the validity dies
    /// with the service instead of starting it later. Where nothing is guarded yet, it may be before the hook ends; and the
    /// next run of the agent finds the hook by it, should this one die.
    pub(super) fn promote(&mut self, epoch: Epoch, addresses: Vec<Ipv4Addr>, watch: Option<Watch>) {
        tracing::info!(epoch = epoch.0, "promote");
        let circumstances = self.circumstances(epoch, "granted", addresses);
        let phase = match &self.promote {
            Some(hook) => starting(&self.begins, Direction::Promote, hook, &circumstances, watch),
            None => Phase::Running(Box::pin(std::future::ready(Ok(())))),
        };
        self.running = Some((Stage::hook(Direction::Promote, epoch), phase));
    }

    /// Starts the recover hook beside the service. It may start what must not outlast the validity, so the dead-man is told its
    /// group as it is told a promote hook's.
    pub(super) fn recover(
        &mut self,
        epoch: Epoch,
        reason: &str,
        addresses: Vec<Ipv4Addr>,
        watch: Option<Watch>,
    ) -> Result<(), String> {
        tracing::warn!(epoch = epoch.0, reason, "recover");
        if !self.idle() {
            return Err("another hook runs".to_owned());
        }
        let Some(hook) = &self.recover else { return Err("there is no recover hook".to_owned()) };
        let circumstances = self.circumstances(epoch, reason, addresses);
        let phase = starting(&self.begins, Direction::Recover, hook, &circumstances, watch);
        self.running = Some((Stage::hook(Direction::Recover, epoch), phase));
        Ok(())
    }

    /// Kills a recover hook that still runs; whether one did.
    pub(super) fn abandon_recovery(&mut self) -> bool {
        self.running.take_if(|(stage, _)| stage.is_recovery()).is_some()
    }

    /// Waits until no hook is being started any more. A driver that ends leaves none to run when nobody limits it.
    pub(super) fn settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let (begins, stops) = (self.begins.settled(), self.stops.settled());
        async {
            join(begins, stops).await;
        }
    }

    /// Stops the service by its hook; by force where there is none, or where it fails. The virtual addresses go when it has
    /// stopped, or beside it where there is no time to wait. Then the packet fence is closed, where something is guarded.
    pub(super) fn demote(
        &mut self,
        epoch: Option<Epoch>,
        reason: Reason,
        addresses: Vec<Ipv4Addr>,
        guarded: bool,
    ) {
        tracing::info!(epoch = epoch.map(|epoch| epoch.0), reason = reason.as_str(), "demote");
        // A promote or recover hook that still runs must not start what is being stopped.
        self.running = None;
        let keeper = self.vip.clone();
        if let Some(keeper) = &keeper {
            // From here on nothing is raised any more, late though it may come.
            keeper.wish(if reason.leaves_time() { Wish::AsItIs } else { Wish::Down });
        }
        let epoch = epoch.unwrap_or_default();
        let circumstances = self.circumstances(epoch, reason.as_str(), addresses);
        // What was being started must not come after what stops it, whatever has become of waiting for it.
        let settled = self.begins.settled();
        let (stops, demote) = (self.stops.clone(), self.demote.clone());
        let (target, fence) = (self.target.clone(), self.fence.clone().filter(|_| guarded));
        let stopped = async move {
            settled.await;
            let started =
                demote.map(|hook| hook::start(&stops, None, Direction::Demote, &hook, &circumstances));
            let outcome = match started {
                Some(start) => match start.await {
                    Ok(running) => end(running).await,
                    Err(error) => {
                        tracing::error!(reason = chain(&error), "demote failed");
                        Err(chain(&error).into())
                    }
                },
                None => {
                    Err(Failed { is_absence: true, ..Failed::from("there is no demote hook".to_owned()) })
                }
            };
            make_sure_it_is_down(target, &outcome).await;
            if let Some(keeper) = fence {
                fence::closed(keeper).await;
            }
            outcome
        };
        let ending: Ending = match keeper {
            None => Box::pin(stopped),
            Some(keeper) if reason.leaves_time() => Box::pin(async move {
                let outcome = stopped.await;
                lower(keeper).await;
                outcome
            }),
            Some(keeper) => Box::pin(async move { join(stopped, lower(keeper)).await.0 }),
        };
        self.running = Some((Stage::hook(Direction::Demote, epoch), Phase::Running(ending)));
    }

    fn circumstances(&self, epoch: Epoch, reason: &str, addresses: Vec<Ipv4Addr>) -> Circumstances {
        Circumstances { cluster: self.cluster.clone(), epoch, reason: reason.to_owned(), addresses }
    }
}

/// A hook that may start something.
fn starting(
    starter: &Starter,
    direction: Direction,
    hook: &Hook,
    circumstances: &Circumstances,
    watch: Option<Watch>,
) -> Phase {
    Phase::Starting(Box::pin(hook::start(starter, watch, direction, hook, circumstances)))
}

async fn end(running: hook::Running) -> Outcome {
    let finished = running.finish().await;
    // Before the line of the log, so that it is among those from here on.
    let at = clock::wall();
    match finished {
        Ok(result) if result.succeeded() => {
            tracing::info!(reason = %result, "hook");
            Ok(())
        }
        Ok(result) => {
            // All that is kept of it; the table has only the end (ADR 0042).
            tracing::error!(reason = %result, output = result.output, "hook");
            let why = result.in_words();
            Err(Failed { why, output: result.output, at, is_absence: false })
        }
        Err(error) => {
            tracing::error!(reason = chain(&error), "hook");
            Err(Failed { at, ..Failed::from(chain(&error)) })
        }
    }
}

/// How long to wait before another attempt to stop what does not end.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Looks for what the configuration names as the service and kills it, until nothing is left: a hook that says it is done may
/// be wrong, and an oath must not be sworn over a service that still answers. The dead-man stays armed meanwhile. Each
/// look blocks for a second at most, so it runs beside the loop.
async fn make_sure_it_is_down(target: Option<Target>, outcome: &Outcome) {
    let Some(target) = target else {
        if outcome.is_err() {
            tracing::error!(
                "the demote hook failed and `service` names nothing to kill: the service may still run"
            );
        }
        return;
    };
    loop {
        let look = target.clone();
        match tokio::task::spawn_blocking(move || target::stop(&look, None)).await {
            Ok(stopped) if stopped.complete => {
                if stopped.killed > 0 {
                    tracing::warn!(reason = %stopped, "the service was stopped by force");
                }
                return;
            }
            Ok(stopped) => tracing::error!(reason = %stopped, "the service does not end; it is tried again"),
            Err(error) => {
                tracing::error!(reason = %error, "the service could not be stopped; it is tried again")
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Removes the virtual addresses, until they are gone: where no hook stops the service, their end is the end of serving, and an
/// oath must not be sworn over an address that still answers.
async fn lower(keeper: Keeper) {
    keeper.wish(Wish::Down);
    loop {
        let next = keeper.clone();
        match beside(move || next.lower()).await {
            Ok(()) | Err(VipError::Overtaken) => return,
            Err(error) => {
                tracing::error!(reason = chain(&error), "the virtual addresses do not go; it is tried again")
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// The kernel works off a request while it is sent, and waits meanwhile for whoever else is busy with the network.
async fn beside(call: impl FnOnce() -> Result<(), VipError> + Send + 'static) -> Result<(), VipError> {
    let lost = |_| Err(VipError::Kernel { what: "see it through".to_owned(), errno: nix::errno::Errno::EIO });
    tokio::task::spawn_blocking(call).await.unwrap_or_else(lost)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::path::Path;

    use super::*;
    use crate::config::{Act, CommandLine, Fence, Need, Recover, Shutdown, Traffic};
    use crate::deadman::{DeadMan, Paths};
    use crate::testing::namespace::in_namespace;
    use crate::testing::{eventually, is_alive};

    fn hook(text: &str) -> Hook {
        let arguments = ["-c", text].map(str::to_owned).to_vec();
        let command = CommandLine { program: "/bin/sh".into(), arguments };
        Hook { act: Act::Command(command), timeout: Duration::from_secs(600) }
    }

    fn cluster(directory: &Path) -> Cluster {
        Cluster {
            name: ClusterName::new("orders").expect("valid"),
            directory: directory.to_owned(),
            shutdown: Shutdown::Handover,
            promote: None,
            demote: Some(hook("exit 0")),
            recover: Some(Recover {
                hook: hook("sleep 600; :"),
                limit: baton_protocol::recovery::Limit { times: 3, within: Duration::from_secs(600) },
            }),
            service: None,
            vip: None,
            fence: None,
            checks: Vec::new(),
        }
    }

    /// Writes down whether a process is gone while it runs itself. One that has been killed may need a moment to die.
    fn finds(pid: i32, into: &Path) -> String {
        let (state, into) = (format!("$(cut -d ' ' -f 3 /proc/{pid}/stat 2>/dev/null)"), into.display());
        let look = format!("case \"{state}\" in Z|X|'') echo gone > {into}; exit 0;; esac");
        format!("n=0; while [ $n -lt 100 ]; do {look}; n=$((n+1)); sleep 0.02; done; echo alive > {into}")
    }

    fn watch(dead_man: &DeadMan, is_needed: bool) -> Option<Watch> {
        Some(Watch { teller: dead_man.teller(), is_needed })
    }

    fn dead_man(directory: &Path) -> DeadMan {
        let target = Target::PidFile(directory.join("pid"));
        DeadMan::new(Paths::new(directory), "/nonexistent".into(), target).expect("made")
    }

    #[tokio::test]
    async fn the_dead_man_knows_the_group_of_a_recover_hook_and_a_demote_kills_it_first() {
        let place = tempfile::tempdir().expect("a directory");
        let (mut hooks, mut dead_man) =
            (Hooks::new(&cluster(place.path()), Keepers::default()), dead_man(place.path()));
        let found = place.path().join("found");
        hooks.recover(Epoch(1), "web: no answer", Vec::new(), watch(&dead_man, false)).expect("begun");
        hooks.started().await.expect("started");
        let group = dead_man.hook_group().expect("told, though nothing is guarded yet");
        assert!(is_alive(group));
        assert!(
            hooks.recover(Epoch(1), "again", Vec::new(), watch(&dead_man, true)).is_err(),
            "one at a time"
        );
        // A mode that guards nothing may become one that does, while the hook runs.
        dead_man.disarm().expect("disarmed");
        assert_eq!(dead_man.hook_group(), Some(group));
        hooks.demote = Some(hook(&finds(group, &found)));
        hooks.demote(Some(Epoch(1)), Reason::SelfFence, Vec::new(), false);
        assert_eq!(hooks.finished().await, (Stage::hook(Direction::Demote, Epoch(1)), Ok(())));
        assert_eq!(std::fs::read_to_string(found).expect("written"), "gone\n");
    }

    #[test]
    fn what_is_taken_back_of_a_hook_that_started_too_late_is_its_own_name() {
        let place = tempfile::tempdir().expect("a directory");
        let dead_man = dead_man(place.path());
        let teller = dead_man.teller();
        teller.name(5).expect("named");
        teller.take_back(6).expect("it is another's");
        assert_eq!(dead_man.hook_group(), Some(5));
        teller.take_back(5).expect("taken back");
        assert_eq!(dead_man.hook_group(), None);
    }

    #[tokio::test]
    async fn a_hook_that_the_dead_man_cannot_be_told_of_is_killed() {
        let place = tempfile::tempdir().expect("a directory");
        let dead_man = dead_man(&place.path().join("o"));
        let mut hooks = Hooks::new(&cluster(place.path()), Keepers::default());
        std::fs::remove_dir_all(place.path().join("o")).expect("removed");
        hooks.recover(Epoch(1), "web", Vec::new(), watch(&dead_man, true)).expect("begun");
        let (stage, refused) = hooks.finished().await;
        assert_eq!(stage, Stage::hook(Direction::Recover, Epoch(1)));
        assert!(refused.is_err() && hooks.idle(), "{refused:?}");
        let group = dead_man.hook_group().expect("it was to be told");
        eventually("the hook is gone", || !is_alive(group)).await;
        hooks.recover(Epoch(1), "web", Vec::new(), watch(&dead_man, false)).expect("begun");
        hooks.started().await.expect("nothing is guarded");
    }

    #[tokio::test]
    async fn a_hook_that_starts_when_its_driver_is_gone_is_killed_and_the_next_one_is_not_spoken_for() {
        let place = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(place.path());
        let before = dead_man(place.path());
        let watch = watch(&before, false);
        drop(before);
        let mut after = dead_man(place.path());
        after.set_hook_group(Some(7)).expect("written");
        let written = std::fs::read(paths.validity()).expect("there");
        let mut hooks = Hooks::new(&cluster(place.path()), Keepers::default());
        hooks.recover(Epoch(1), "web", Vec::new(), watch.clone()).expect("begun");
        let (_, refused) = hooks.finished().await;
        assert!(refused.expect_err("killed").why.contains("has ended"));
        watch.expect("made").teller.take_back(7).expect("it is another's");
        assert_eq!(std::fs::read(paths.validity()).expect("there"), written);
        assert_eq!(after.hook_group(), Some(7));
    }

    #[tokio::test]
    async fn a_demote_waits_for_a_start_that_was_given_up_and_has_made_no_process_yet() {
        let place = tempfile::tempdir().expect("a directory");
        let mut hooks = Hooks::new(&cluster(place.path()), Keepers::default());
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let (enter, entered) = tokio::sync::oneshot::channel();
        let (ran, told) = (place.path().join("ran"), place.path().join("demoted"));
        let start = move || {
            enter.send(()).expect("waited for");
            held.recv().expect("let go");
            std::fs::write(ran, "").expect("written");
            Err(std::io::Error::other("no process"))
        };
        let late = hooks.begins.start_by(Duration::from_secs(600), start, |_| ());
        tokio::select! {
            _ = late => panic!("it is held"),
            is_in = entered => is_in.expect("it begins"),
        }
        let text =
            format!("test -e {} && echo in order > {}", place.path().join("ran").display(), told.display());
        hooks.demote = Some(hook(&text));
        hooks.demote(Some(Epoch(1)), Reason::PromoteFailed, Vec::new(), false);
        let early = tokio::time::timeout(Duration::from_millis(300), hooks.finished()).await;
        assert!(early.is_err(), "it did not wait: {early:?}");
        let_go.send(()).expect("it waits");
        assert_eq!(hooks.finished().await, (Stage::hook(Direction::Demote, Epoch(1)), Ok(())));
        assert_eq!(std::fs::read_to_string(told).expect("written"), "in order\n");
    }

    #[tokio::test]
    async fn a_failure_is_of_the_epoch_that_the_hook_ran_for_and_of_the_moment_at_which_it_ended() {
        let place = tempfile::tempdir().expect("a directory");
        let mut hooks = Hooks::new(&cluster(place.path()), Keepers::default());
        // To stop it by force takes some looks after the hook has ended.
        let mut service = std::process::Command::new("sleep");
        service.arg("600").process_group(0);
        let mut service = service.spawn().expect("a service");
        std::fs::write(place.path().join("pid"), service.id().to_string()).expect("written");
        hooks.target = Some(Target::PidFile(place.path().join("pid")));
        let told = place.path().join("ended");
        hooks.demote = Some(hook(&format!("date +%s%3N > {}; exit 3", told.display())));
        hooks.demote(Some(Epoch(7)), Reason::SelfFence, Vec::new(), false);
        let (stage, outcome) = hooks.finished().await;
        service.wait().expect("it was stopped");
        assert_eq!(stage, Stage::hook(Direction::Demote, Epoch(7)));
        let failed = outcome.expect_err("3");
        let ended: u64 = std::fs::read_to_string(told).expect("written").trim().parse().expect("a time");
        assert!(failed.at >= WallTime(ended), "{failed:?}");
        assert!(failed.at < clock::wall(), "{failed:?}");
    }

    #[test]
    fn the_fence_is_closed_when_a_demote_is_over_and_only_where_something_is_guarded() {
        let test = "driver::hooks::tests::the_fence_is_closed_when_a_demote_is_over_and_only_where_something_is_guarded";
        in_namespace(test, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let place = tempfile::tempdir().expect("a directory");
                let cluster = cluster(place.path());
                let traffic = Traffic { tcp: vec![7000], ..Traffic::default() };
                let fence = packet_fence::Keeper::new(&cluster.name, Fence { need: Need::Required, traffic });
                let keepers = Keepers { fence: Some(fence.clone()), ..Keepers::default() };
                let mut hooks = Hooks::new(&cluster, keepers);
                let open = packet_fence::Wish::Open(crate::clock::boot() + Duration::from_secs(600));
                fence.wish(open);
                fence.apply().expect("it passes");
                let passes = || {
                    let mut nft = std::process::Command::new("nft");
                    let said = nft.args(["list", "chain", "inet", "baton_orders", "confirmed"]).output();
                    let said = said.expect("`nft`; install nftables");
                    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
                    String::from_utf8_lossy(&said.stdout).contains("accept")
                };
                hooks.demote(Some(Epoch(1)), Reason::Shutdown, Vec::new(), false);
                assert!(hooks.finished().await.1.is_ok());
                assert!(passes(), "nothing is guarded");
                hooks.demote(Some(Epoch(1)), Reason::Shutdown, Vec::new(), true);
                assert!(passes(), "the service has the time to end its conversations");
                assert!(hooks.finished().await.1.is_ok());
                assert!(!passes(), "before anybody is told that the service is down");
            });
        });
    }

    #[tokio::test]
    async fn only_a_recover_hook_is_abandoned() {
        let place = tempfile::tempdir().expect("a directory");
        let mut hooks = Hooks::new(&cluster(place.path()), Keepers::default());
        hooks.recover(Epoch(1), "web", Vec::new(), None).expect("started");
        assert!(hooks.abandon_recovery() && hooks.idle() && !hooks.abandon_recovery());
        hooks.demote(None, Reason::Start, Vec::new(), false);
        assert!(!hooks.abandon_recovery() && !hooks.idle());
    }
}
