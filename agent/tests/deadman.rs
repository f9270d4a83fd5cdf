//! The dead-man as real processes: a service, a dead-man, and an agent that may be frozen or dead.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use baton_agent::clock;
use baton_agent::deadman::{DeadMan, DeadManError, Fired, Paths, Target};
use baton_protocol::ids::Epoch;
use baton_protocol::time::BootTime;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// The longest a test waits for anything; a passing test waits as long as the thing takes.
const BOUND: Duration = Duration::from_secs(40);
const PROGRAM: &str = env!("CARGO_BIN_EXE_baton-deadman");

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::boot() + BOUND;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::boot() < deadline, "waited {BOUND:?} in vain until {what}");
        clock::block_until(clock::boot() + Duration::from_millis(2)).expect("a timer");
    }
}

/// The state letter of a process; none if it does not exist.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn is_alive(pid: u32) -> bool {
    !matches!(state(pid), None | Some('Z' | 'X'))
}

/// A process group that is ended, whatever the test does.
struct Group(Child);

impl Group {
    fn shell(script: &str) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).process_group(0).stdin(Stdio::null());
        Self(command.spawn().expect("a shell"))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.id()).expect("a pid"))
    }

    fn is_alive(&self) -> bool {
        is_alive(self.id())
    }

    /// Whether it is dead, as a dead-man says that did its work. Where that says that something may be left, what was sent SIGKILL has
    /// had no turn to die, and is waited for.
    fn is_killed(&self, fired: &Fired) -> bool {
        if left_nothing(fired) {
            return !self.is_alive();
        }
        eventually("what was killed is dead", || (!self.is_alive()).then_some(true))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// The directory of a cluster, with a service whose pid file lies in it.
struct Node {
    place: tempfile::TempDir,
    service: Group,
}

impl Node {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let child = place.path().join("child");
        // A service with a child in its group, as a shell or a preforking server would have.
        let script = format!("sleep 600 & echo $! > {0}.next; mv {0}.next {0}; wait", child.display());
        let service = Group::shell(&script);
        eventually("the service runs", || child.exists().then_some(()));
        let node = Self { place, service };
        fs::write(node.pid_file(), format!("{}\n", node.service.id())).expect("written");
        node
    }

    fn pid_file(&self) -> PathBuf {
        self.place.path().join("service.pid")
    }

    fn child(&self) -> u32 {
        let text = fs::read_to_string(self.place.path().join("child")).expect("read");
        text.trim().parse().expect("a pid")
    }

    fn paths(&self) -> Paths {
        Paths::new(&self.place.path().join("orders"))
    }

    fn dead_man(&self) -> DeadMan {
        DeadMan::new(self.paths(), PROGRAM.into(), Target::PidFile(self.pid_file())).expect("prepared")
    }

    fn fired(&self) -> Option<Fired> {
        serde_json::from_str(&fs::read_to_string(self.paths().fired()).ok()?).ok()
    }

    /// The marker, once the dead-man has done its work.
    fn done(&self) -> Fired {
        eventually("the dead-man has done its work", || self.fired().filter(|f| f.outcome.is_some()))
    }

    fn guard_pid(&self) -> u32 {
        eventually("the dead-man has written its id", || {
            fs::read_to_string(self.paths().lock()).ok()?.trim().parse().ok()
        })
    }
}

fn ahead(ms: u64) -> BootTime {
    clock::boot() + Duration::from_millis(ms)
}

fn left_nothing(fired: &Fired) -> bool {
    fired.outcome.as_deref().is_some_and(|outcome| outcome.starts_with("nothing is left"))
}

/// Long enough that it does not end while a test runs.
const FAR_MS: u64 = 600_000;

fn ended(dead_man: &mut DeadMan) {
    eventually("the dead-man is gone", || (!dead_man.is_alive().expect("looked")).then_some(()));
}

#[test]
fn at_the_end_of_validity_the_service_and_its_children_are_killed() {
    // Where what was killed has no turn to die, the dead-man cannot tell that it has: once more.
    assert!((0..5).any(|_| nothing_is_left_at_the_end_of_validity()));
}

/// Whether the dead-man has seen that nothing is left.
fn nothing_is_left_at_the_end_of_validity() -> bool {
    let node = Node::new();
    let child = node.child();
    let mut dead_man = node.dead_man();
    let until = ahead(400);
    dead_man.arm(Epoch(7), until).expect("armed");
    assert!(node.service.is_alive() || clock::boot() >= until, "not before its time");
    let fired = node.done();
    assert_eq!(fired.epoch, Some(Epoch(7)));
    assert!(fired.at >= until, "{fired:?} before {until:?}");
    assert!(node.service.is_killed(&fired));
    eventually("its child is dead", || (!is_alive(child)).then_some(()));
    ended(&mut dead_man);
    left_nothing(&fired)
}

#[test]
fn a_frozen_agent_and_a_killed_one_keep_nothing_alive() {
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        let node = Node::new();
        let mut agent = Command::new(std::env::current_exe().expect("this test"));
        agent.args(["--exact", "an_agent_for_other_tests", "--nocapture"]);
        agent.env("BATON_TEST_DIRECTORY", node.place.path()).process_group(0).stdout(Stdio::null());
        let agent = Group(agent.spawn().expect("an agent"));
        let mut dead_man = node.dead_man();
        eventually("the agent has armed", || dead_man.is_alive().expect("looked").then_some(()));
        let guard = node.guard_pid();
        fs::write(node.place.path().join("soon"), "").expect("written");
        eventually("the dead-man was told", || fs::metadata(node.place.path().join("armed")).ok());
        // The whole group of the agent, as a supervisor or a terminal would do it.
        killpg(agent.pid(), signal).expect("ours");
        let fired = node.done();
        assert_eq!(fired.epoch, Some(Epoch(3)), "{signal}");
        assert!(node.service.is_killed(&fired), "{signal}");
        assert_ne!(guard, agent.id());
    }
}

/// Not a test by itself: the agent of the test above, which arms, for a short time once it is told to, and then does nothing more.
#[test]
fn an_agent_for_other_tests() {
    let Some(place) = std::env::var_os("BATON_TEST_DIRECTORY").map(PathBuf::from) else { return };
    let target = Target::PidFile(place.join("service.pid"));
    let mut dead_man =
        DeadMan::new(Paths::new(&place.join("orders")), PROGRAM.into(), target).expect("prepared");
    dead_man.arm(Epoch(3), ahead(FAR_MS)).expect("armed");
    eventually("it is looked at", || place.join("soon").exists().then_some(()));
    dead_man.arm(Epoch(3), ahead(1_500)).expect("armed");
    fs::write(place.join("armed"), "").expect("written");
    clock::block_until(ahead(FAR_MS)).expect("a timer");
}

#[test]
fn each_extension_postpones_the_end() {
    // A machine that stands still for longer than an extension lasts shows nothing, and begins anew.
    let (node, last) = eventually("each extension is in time", extended_beyond_the_first_end);
    let fired = node.done();
    assert!(fired.at >= last, "{fired:?} before {last:?}");
    assert!(node.service.is_killed(&fired));
}

/// A service whose end has been postponed until well after the first one, and its end by now; none if an extension came too late.
fn extended_beyond_the_first_end() -> Option<(Node, BootTime)> {
    let node = Node::new();
    let mut dead_man = node.dead_man();
    let first = ahead(1_500);
    let mut last = first;
    dead_man.arm(Epoch(1), first).expect("armed");
    while clock::boot() < first + Duration::from_millis(300) {
        let (before, next) = (last, ahead(1_500));
        let extended = dead_man.arm(Epoch(1), next);
        let goes_on = node.service.is_alive() && node.fired().is_none();
        if clock::boot() >= before {
            return None;
        }
        extended.expect("extended");
        assert!(goes_on);
        last = next;
        clock::block_until(ahead(20)).expect("a timer");
    }
    Some((node, last))
}

#[test]
fn a_disarmed_dead_man_leaves_without_killing() {
    let node = Node::new();
    let mut dead_man = node.dead_man();
    dead_man.arm(Epoch(1), ahead(FAR_MS)).expect("armed");
    dead_man.disarm().expect("disarmed");
    ended(&mut dead_man);
    assert!(node.service.is_alive());
    assert_eq!(dead_man.fired().expect("read"), None);
}

#[test]
fn arming_again_right_after_disarming_is_guarded() {
    let node = Node::new();
    let mut dead_man = node.dead_man();
    for round in 0..12 {
        dead_man.arm(Epoch(round), ahead(FAR_MS)).expect("armed");
        dead_man.disarm().expect("disarmed");
        // Each round another moment of the dead-man's leaving.
        clock::block_until(ahead(round * 50)).expect("a timer");
    }
    dead_man.arm(Epoch(99), ahead(700)).expect("armed");
    let fired = node.done();
    assert_eq!(fired.epoch, Some(Epoch(99)));
    assert!(node.service.is_killed(&fired));
}

#[test]
fn a_second_agent_adopts_the_living_dead_man() {
    let node = Node::new();
    let mut first = node.dead_man();
    first.arm(Epoch(4), ahead(FAR_MS)).expect("armed");
    let guard = node.guard_pid();
    let mut second = node.dead_man();
    assert_eq!(second.armed(), first.armed());
    second.ensure().expect("adopted");
    assert_eq!(node.guard_pid(), guard, "no second one was started");
    // A dead-man that is started all the same gives way.
    let another = Command::new(PROGRAM)
        .arg(node.paths().directory())
        .arg("--pid-file")
        .arg(node.pid_file())
        .output()
        .expect("started");
    assert_eq!((another.stdout.as_slice(), another.status.code()), (&b"held\n"[..], Some(0)));
    second.disarm().expect("disarmed");
    ended(&mut second);
    assert!(node.service.is_alive());
}

#[test]
fn a_killed_dead_man_is_noticed_and_replaced() {
    let node = Node::new();
    let mut dead_man = node.dead_man();
    dead_man.arm(Epoch(4), ahead(FAR_MS)).expect("armed");
    let guard = node.guard_pid();
    kill(Pid::from_raw(i32::try_from(guard).expect("a pid")), Signal::SIGKILL).expect("ours");
    ended(&mut dead_man);
    dead_man.arm(Epoch(4), ahead(300)).expect("armed again");
    let fired = node.done();
    assert_eq!(fired.epoch, Some(Epoch(4)));
    assert!(node.service.is_killed(&fired));
}

#[test]
fn the_signals_that_end_a_daemon_do_not_end_a_dead_man() {
    let node = Node::new();
    let mut dead_man = node.dead_man();
    dead_man.arm(Epoch(4), ahead(FAR_MS)).expect("armed");
    let guard = Pid::from_raw(i32::try_from(node.guard_pid()).expect("a pid"));
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGPIPE] {
        kill(guard, signal).expect("ours");
    }
    dead_man.arm(Epoch(4), ahead(100)).expect("still the same");
    assert_eq!(i32::try_from(node.guard_pid()).ok(), Some(guard.as_raw()));
    let fired = node.done();
    assert_eq!(fired.epoch, Some(Epoch(4)));
    assert!(node.service.is_killed(&fired));
}

/// What is done to the file at this path, which held this text, under a name.
type Damage = (&'static str, fn(&Path, &str));

#[test]
fn a_validity_that_cannot_be_understood_counts_as_expired() {
    let damage: [Damage; 5] = [
        ("removed", |path, _| fs::remove_file(path).expect("removed")),
        ("cut", |path, text| fs::write(path, &text[..text.len() / 2]).expect("written")),
        ("of another boot", |path, text| {
            fs::write(path, text.replace("\"boot_id\":\"", "\"boot_id\":\"0")).expect("written");
        }),
        ("with a key too many", |path, text| {
            fs::write(path, text.replace('{', "{\"x\":1,")).expect("written")
        }),
        ("of next year", |path, text| {
            let far = format!("\"valid_until\":{}", ahead(400 * 24 * 3_600_000).0);
            let start = text.find("\"valid_until\":").expect("there");
            let end = start + text[start..].find(',').expect("more follows");
            fs::write(path, [&text[..start], &far, &text[end..]].concat()).expect("written");
        }),
    ];
    for (what, damage) in damage {
        let node = Node::new();
        let mut dead_man = node.dead_man();
        dead_man.arm(Epoch(5), ahead(FAR_MS)).expect("armed");
        let text = fs::read_to_string(node.paths().validity()).expect("read");
        damage(&node.paths().validity(), &text);
        let fired = node.done();
        assert!(fired.why.contains("`validity`"), "{what}: {fired:?}");
        assert!(node.service.is_killed(&fired), "{what}");
    }
}

#[test]
fn a_running_promote_hook_is_killed_with_the_service() {
    let node = Node::new();
    let hook = Group::shell("sleep 600; :");
    let mut dead_man = node.dead_man();
    dead_man.arm(Epoch(5), ahead(FAR_MS)).expect("armed");
    dead_man.set_hook_group(Some(hook.pid().as_raw())).expect("told");
    dead_man.arm(Epoch(5), ahead(300)).expect("armed");
    let fired = node.done();
    assert!(hook.is_killed(&fired) && node.service.is_killed(&fired));
}

/// Waits for the dead-man to fire on a pid file with this text, with the service as a bystander.
fn fire_on(text: &str) -> (Node, Fired) {
    let node = Node::new();
    fs::write(node.pid_file(), text).expect("written");
    node.dead_man().arm(Epoch(1), ahead(50)).expect("armed");
    let fired = node.done();
    (node, fired)
}

#[test]
fn a_pid_file_that_names_nobody_kills_nobody() {
    let mut dead = Command::new("/bin/true").spawn().expect("started");
    let gone = dead.id();
    dead.wait().expect("ended");
    for text in ["", "x", "-1", "0", "1", "-5", "99999999999", &gone.to_string()] {
        let (node, fired) = fire_on(text);
        assert!(node.service.is_alive(), "{text}: {fired:?}");
        assert!(fired.outcome.as_deref().is_some_and(|o| o.contains("after 0 kills")), "{text}: {fired:?}");
    }
}

#[test]
fn a_process_much_younger_than_the_pid_file_is_another_one() {
    let node = Node::new();
    let file = fs::File::options().write(true).open(node.pid_file()).expect("opened");
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("dated back");
    node.dead_man().arm(Epoch(1), ahead(50)).expect("armed");
    let fired = node.done();
    assert!(node.service.is_alive(), "{fired:?}");
    assert!(fired.outcome.as_deref().is_some_and(|o| o.contains("is another one")), "{fired:?}");
}

#[test]
fn a_control_group_is_emptied_and_its_neighbours_are_left_alone() {
    let node = Node::new();
    let (inside, deeper, outside) =
        (Group::shell("sleep 600; :"), Group::shell("sleep 600; :"), Group::shell("sleep 600; :"));
    // The layout of a kernel without `cgroup.kill`, made by hand: whether groups can be made here is not the
    // question.
    let group = node.place.path().join("group");
    fs::create_dir_all(group.join("nested")).expect("made");
    fs::write(group.join("cgroup.procs"), format!("{}\n", inside.id())).expect("written");
    fs::write(group.join("nested/cgroup.procs"), format!("{}\n", deeper.id())).expect("written");
    let mut dead_man = DeadMan::new(node.paths(), PROGRAM.into(), Target::Cgroup(group)).expect("prepared");
    dead_man.arm(Epoch(1), ahead(50)).expect("armed");
    let fired = node.done();
    assert!(inside.is_killed(&fired) && deeper.is_killed(&fired));
    assert!(outside.is_alive() && node.service.is_alive());
}

#[test]
fn a_changed_target_reaches_the_living_dead_man() {
    let node = Node::new();
    node.dead_man().arm(Epoch(1), ahead(FAR_MS)).expect("armed");
    let other = Group::shell("sleep 600; :");
    let elsewhere = node.place.path().join("other.pid");
    fs::write(&elsewhere, other.id().to_string()).expect("written");
    let mut changed =
        DeadMan::new(node.paths(), PROGRAM.into(), Target::PidFile(elsewhere)).expect("prepared");
    changed.arm(Epoch(1), ahead(300)).expect("armed");
    let fired = node.done();
    assert!(other.is_killed(&fired) && node.service.is_alive());
}

#[test]
fn nothing_can_be_armed_until_the_firing_is_acknowledged() {
    let node = Node::new();
    let mut dead_man = node.dead_man();
    dead_man.arm(Epoch(6), ahead(50)).expect("armed");
    node.done();
    let refused = dead_man.arm(Epoch(6), ahead(FAR_MS)).expect_err("the service is gone");
    assert!(matches!(refused, DeadManError::Fired(Fired { epoch: Some(Epoch(6)), .. })), "{refused}");
    dead_man.acknowledge_fired().expect("acknowledged");
    assert_eq!(dead_man.fired().expect("read"), None);
    dead_man.arm(Epoch(7), ahead(FAR_MS)).expect("armed");
    assert!(dead_man.is_alive().expect("looked"));
    dead_man.disarm().expect("disarmed");
    ended(&mut dead_man);
}

#[test]
fn a_missing_program_is_an_error_that_names_it() {
    let node = Node::new();
    let target = Target::PidFile(node.pid_file());
    let mut dead_man =
        DeadMan::new(node.paths(), "/nonexistent/baton-deadman".into(), target).expect("prepared");
    let refused = dead_man.arm(Epoch(1), ahead(FAR_MS)).expect_err("no program");
    assert!(refused.to_string().contains("`/nonexistent/baton-deadman`"), "{refused}");
}

#[test]
fn a_dead_man_is_no_child_in_the_agents_group_or_session() {
    let node = Node::new();
    let mut dead_man = node.dead_man();
    dead_man.arm(Epoch(1), ahead(FAR_MS)).expect("armed");
    let guard = Pid::from_raw(i32::try_from(node.guard_pid()).expect("a pid"));
    assert_eq!(nix::unistd::getpgid(Some(guard)).expect("lives"), guard);
    assert_eq!(nix::unistd::getsid(Some(guard)).expect("lives"), guard);
    dead_man.disarm().expect("disarmed");
    ended(&mut dead_man);
}
