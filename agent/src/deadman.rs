//! The dead-man: stops the service at the end of validity when the agent cannot.
//!
//! The agent itself may be what has failed: frozen, killed, out of memory, stuck in the kernel. So the end of
//! validity is kept by a second process, `baton-deadman`, which does nothing else ([`guard`]). It shares no
//! memory, no session and no process group with the agent, only a directory:
//!
//! * `validity`, written by the agent: until when the service may run, or that there is nothing to guard;
//! * `deadman.pid`, locked by the dead-man for as long as it guards, so that trying the lock tells whether
//!   one lives;
//! * `fired`, written by the dead-man before it kills, so that an agent that comes back knows why its service
//!   is gone.
//!
//! Everything that is not clearly "valid until later" counts as expired, because the price of a needless stop
//! is an outage of seconds and the price of a missing one is two holders.
//!
//! An agent writes `validity` first and then looks whether a dead-man lives; a dead-man that finds itself
//! disarmed gives up the lock first and then looks at `validity` once more. So whichever comes second sees
//! what the other did, and an agent never counts on a dead-man that is about to leave.

pub mod guard;
pub mod target;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_protocol::ids::Epoch;
use baton_protocol::time::BootTime;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::config::Vip;
use crate::{clock, file};
pub use target::Target;

/// The name of the program, which lies beside the agent's.
pub const PROGRAM: &str = "baton-deadman";

/// How long a dead-man may take from its start to its first word.
const START_LIMIT: Duration = Duration::from_secs(2);

/// How long one that has fired may take until it is gone.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// How far ahead an end of validity may lie: twice the longest that a timing allows. Beyond that the file is
/// wrong.
const HORIZON: Duration = Duration::from_secs(2 * 3600);

/// The files that the agent and the dead-man share, in the cluster's runtime directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths(PathBuf);

impl Paths {
    /// The files in this directory.
    pub fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// Until when the service may run.
    pub fn validity(&self) -> PathBuf {
        self.0.join("validity")
    }

    /// Locked while a dead-man guards; holds its process id, for people.
    pub fn lock(&self) -> PathBuf {
        self.0.join("deadman.pid")
    }

    /// That the dead-man has stopped the service.
    pub fn fired(&self) -> PathBuf {
        self.0.join("fired")
    }
}

/// What the agent tells the dead-man.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Validity {
    armed: bool,
    epoch: Epoch,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    valid_until: BootTime,
    boot_id: String,
    /// The process group of a hook that runs, to be killed with the service.
    hook_group: Option<i32>,
    /// What to kill. Here and not only in the dead-man's arguments, so that a changed configuration needs no
    /// new one.
    target: Target,
    /// The virtual addresses to be removed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vip: Option<Vip>,
}

/// What the dead-man leaves when it has stopped the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fired {
    /// The epoch whose validity had ended; none if that could not be read.
    pub epoch: Option<Epoch>,
    /// When.
    pub at: BootTime,
    /// Why: what was read, in words.
    pub why: String,
    /// What was killed and what could not be; none while it is being done.
    pub outcome: Option<String>,
}

/// Why the agent cannot count on a dead-man. In strict mode each of them means: do not serve.
#[derive(Debug, thiserror::Error)]
pub enum DeadManError {
    /// One of the shared files could not be read or written.
    #[error("could not {action} `{}`; see that the directory is there and may be written", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The program did not start.
    #[error("could not start `{}`; expected it beside the agent's own program", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The program started and did not get ready.
    #[error("expected the dead-man to report `ready`, found {found}")]
    NotReady {
        /// What it said instead.
        found: String,
    },
    /// The dead-man has stopped the service, and nobody has taken note of it yet.
    #[error("the dead-man has stopped the service: {}", .0.why)]
    Fired(Fired),
    /// The dead-man has fired and does not end.
    #[error("the dead-man has fired and is still there after {LEAVE_LIMIT:?}; see what it cannot kill")]
    Lingers,
    /// The driver that started a hook has ended meanwhile.
    #[error("whoever started the hook has ended")]
    Closed,
}

/// What the agent has told the dead-man last. Whoever holds the lock on it is the one who writes the file.
#[derive(Debug)]
struct Told {
    validity: Validity,
    /// Whether another may write the file by now, so that a thread which still starts a hook must not.
    is_closed: bool,
}

/// The agent's side of the dead-man of one cluster. Dropping it changes nothing for the dead-man, which guards on.
#[derive(Debug)]
pub struct DeadMan {
    paths: Paths,
    program: PathBuf,
    /// Shared with the thread that starts a hook, which names its group.
    told: Arc<Mutex<Told>>,
    /// The dead-man, if this run of the agent started it; kept to be waited for.
    child: Option<Child>,
}

impl DeadMan {
    /// The dead-man of the cluster with these files, for this service. Takes over what an earlier run of the
    /// agent in this boot has written; starts nothing.
    pub fn new(paths: Paths, program: PathBuf, target: Target) -> Result<Self, DeadManError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| DeadManError::File { action, path, source }
        };
        file::make_directory(paths.directory()).map_err(failed("make", paths.directory()))?;
        let boot_id =
            file::boot_id().map_err(failed("read", Path::new("/proc/sys/kernel/random/boot_id")))?;
        let stored = read_validity(&paths, &boot_id, clock::boot()).ok();
        let validity = match stored {
            Some(stored) => Validity { target, ..stored },
            None => {
                let (armed, epoch, valid_until) = (false, Epoch(0), BootTime(0));
                Validity { armed, epoch, valid_until, boot_id, hook_group: None, target, vip: None }
            }
        };
        let told = Arc::new(Mutex::new(Told { validity, is_closed: false }));
        Ok(Self { paths, program, told, child: None })
    }

    /// Names the virtual addresses that go with the service.
    pub fn also_lowering(self, vip: Option<Vip>) -> Self {
        locked(&self.told).validity.vip = vip;
        self
    }

    /// The dead-man's program beside the one that runs.
    pub fn program() -> io::Result<PathBuf> {
        Ok(std::env::current_exe()?.with_file_name(PROGRAM))
    }

    /// Lets the service run until `valid_until`, and makes sure that a dead-man lives to see to it. To be
    /// called before the promotion, and again with each extension.
    pub fn arm(&mut self, epoch: Epoch, valid_until: BootTime) -> Result<(), DeadManError> {
        self.write(|validity| {
            (validity.armed, validity.epoch, validity.valid_until) = (true, epoch, valid_until);
        })?;
        self.ensure()
    }

    /// Makes sure that a dead-man lives, adopting one that an earlier run of the agent has started.
    pub fn ensure(&mut self) -> Result<(), DeadManError> {
        if let Some(fired) = self.fired()? {
            return Err(DeadManError::Fired(fired));
        }
        if self.is_alive()? { Ok(()) } else { self.start() }
    }

    /// Names the process group of a hook that runs, or that none does.
    pub fn set_hook_group(&mut self, group: Option<i32>) -> Result<(), DeadManError> {
        self.write(|validity| validity.hook_group = group)
    }

    /// What names a hook that is started, from another thread.
    pub fn teller(&self) -> Teller {
        Teller { paths: self.paths.clone(), told: Arc::clone(&self.told) }
    }

    /// The process group of the hook that runs; at the start of a run, of one that an earlier run started and never saw end.
    pub fn hook_group(&self) -> Option<i32> {
        locked(&self.told).validity.hook_group
    }

    /// Says that there is nothing to guard. The dead-man leaves within half a second, without killing
    /// anything. A hook that runs stays named: it goes on, and may be guarded again.
    pub fn disarm(&mut self) -> Result<(), DeadManError> {
        self.write(|validity| validity.armed = false)?;
        self.reap();
        Ok(())
    }

    /// Whether the dead-man has stopped the service. A marker that cannot be understood counts as one.
    pub fn fired(&self) -> Result<Option<Fired>, DeadManError> {
        let path = self.paths.fired();
        let text = match file::read_if_there(&path) {
            Ok(None) => return Ok(None),
            Ok(Some(text)) => text,
            Err(source) => return Err(DeadManError::File { action: "read", path, source }),
        };
        Ok(Some(serde_json::from_str(&text).unwrap_or_else(|error| Fired {
            epoch: None,
            at: BootTime(0),
            why: format!("`{}` is there and cannot be understood: {error}", path.display()),
            outcome: None,
        })))
    }

    /// Takes note that the dead-man has fired, once it is gone, and disarms; only then can the next one be
    /// armed. Blocks while the dead-man still kills.
    pub fn acknowledge_fired(&mut self) -> Result<(), DeadManError> {
        let deadline = clock::boot() + LEAVE_LIMIT;
        while self.is_alive()? {
            if clock::boot() >= deadline {
                return Err(DeadManError::Lingers);
            }
            let pause = clock::block_until(clock::boot() + Duration::from_millis(5));
            pause.map_err(|source| self.failed("wait for", &self.paths.lock(), source))?;
        }
        self.disarm()?;
        let path = self.paths.fired();
        file::remove(&path).map_err(|source| self.failed("remove", &path, source))
    }

    /// Whether a dead-man guards.
    pub fn is_alive(&mut self) -> Result<bool, DeadManError> {
        self.reap();
        let path = self.paths.lock();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(self.failed("open", &path, source)),
        };
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_released_at_once) => Ok(false),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(true),
            Err((_, errno)) => Err(self.failed("lock", &path, errno.into())),
        }
    }

    /// The epoch and the end of validity that the dead-man was last told, if it is armed.
    pub fn armed(&self) -> Option<(Epoch, BootTime)> {
        let told = locked(&self.told);
        let validity = &told.validity;
        validity.armed.then_some((validity.epoch, validity.valid_until))
    }

    fn start(&mut self) -> Result<(), DeadManError> {
        let Validity { target, vip, .. } = locked(&self.told).validity.clone();
        let (flag, path) = target.as_arguments();
        let mut command = Command::new(&self.program);
        // Nothing of the agent's surroundings is needed, and credentials least of all.
        command.env_clear().arg(self.paths.directory()).arg(flag).arg(path);
        if let Some(vip) = &vip {
            command
                .args([guard::VIP, vip.interface.as_str()])
                .args(vip.addresses.iter().map(ToString::to_string));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let failed = |source| DeadManError::Start { program: self.program.clone(), source };
        let mut child = command.spawn().map_err(failed)?;
        let word = match child.stdout.take() {
            Some(mut output) => first_word(&mut output),
            None => "no output at all".to_owned(),
        };
        self.child = Some(child);
        match word.as_str() {
            "ready" => Ok(()),
            // Another one was quicker. It guards the same files, so it is as good.
            "held" if self.is_alive()? => Ok(()),
            _ => Err(DeadManError::NotReady { found: word }),
        }
    }

    fn write(&self, change: impl FnOnce(&mut Validity)) -> Result<(), DeadManError> {
        write(&self.paths, &mut locked(&self.told).validity, change)
    }

    /// Waits for a dead-man of ours that has ended, so that no zombie stays.
    fn reap(&mut self) {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(None))
        {
            self.child = None;
        }
    }

    fn failed(&self, action: &'static str, path: &Path, source: io::Error) -> DeadManError {
        DeadManError::File { action, path: path.to_owned(), source }
    }
}

/// Whoever comes next writes the file: nothing of this one does so any more.
impl Drop for DeadMan {
    fn drop(&mut self) {
        locked(&self.told).is_closed = true;
    }
}

/// Names the process group of a hook, on the thread that starts it: whatever holds up the agent's loop, or ends the agent, the
/// dead-man and the next run know of the hook. Once its [`DeadMan`] is gone it writes nothing.
#[derive(Debug, Clone)]
pub struct Teller {
    paths: Paths,
    told: Arc<Mutex<Told>>,
}

impl Teller {
    /// Names a hook that runs.
    pub fn name(&self, group: i32) -> Result<(), DeadManError> {
        let mut told = locked(&self.told);
        if told.is_closed {
            return Err(DeadManError::Closed);
        }
        write(&self.paths, &mut told.validity, |validity| validity.hook_group = Some(group))
    }

    /// Takes that back of a hook that was killed since nobody waited for it, unless another one is named by now.
    pub fn take_back(&self, group: i32) -> Result<(), DeadManError> {
        let mut told = locked(&self.told);
        if told.is_closed || told.validity.hook_group != Some(group) {
            return Ok(());
        }
        write(&self.paths, &mut told.validity, |validity| validity.hook_group = None)
    }
}

fn locked(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    // Whoever panicked with it has changed whole fields at most.
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Under the lock, so that what is in the file is what was changed last.
fn write(
    paths: &Paths,
    validity: &mut Validity,
    change: impl FnOnce(&mut Validity),
) -> Result<(), DeadManError> {
    change(validity);
    let path = paths.validity();
    let failed = |source: io::Error| DeadManError::File { action: "write", path: path.clone(), source };
    let text = serde_json::to_vec(validity).map_err(|error| failed(error.into()))?;
    file::replace(&path, &text).map_err(failed)
}

/// The first line that a starting dead-man writes, or what is wrong with it.
fn first_word(output: &mut std::process::ChildStdout) -> String {
    let deadline = clock::boot() + START_LIMIT;
    let mut line = Vec::new();
    let mut buffer = [0; 256];
    loop {
        let left = deadline.since(clock::boot());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return format!("nothing within {START_LIMIT:?}"),
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(errno) => return format!("that its output cannot be watched: {errno}"),
        }
        match output.read(&mut buffer) {
            Ok(0) => return format!("the end of its output after `{}`", String::from_utf8_lossy(&line)),
            Ok(read) => line.extend_from_slice(&buffer[..read]),
            Err(error) => return format!("that its output cannot be read: {error}"),
        }
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            return String::from_utf8_lossy(&line[..end]).into_owned();
        }
    }
}

/// Reads the validity as strictly as its meaning demands; the error says why it is not one.
fn read_validity(paths: &Paths, boot_id: &str, now: BootTime) -> Result<Validity, String> {
    let text =
        file::read(&paths.validity()).map_err(|error| format!("could not read `validity`: {error}"))?;
    let validity: Validity =
        serde_json::from_str(&text).map_err(|error| format!("`validity` is malformed: {error}"))?;
    if validity.boot_id != boot_id {
        return Err("`validity` belongs to another boot".to_owned());
    }
    if validity.valid_until > now + HORIZON {
        return Err(format!("`validity` ends more than {HORIZON:?} from now"));
    }
    Ok(validity)
}
