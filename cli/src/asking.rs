//! Putting an operator's request into the table, exactly once, and waking the arbiter for it.

use std::time::Duration;

use baton_protocol::ids::{ClusterName, RequestId};
use baton_protocol::lease::{Lease, SCHEMA};
use baton_protocol::outcome::{Failure, WriteFailure};
use baton_protocol::request::{Request, Wish};
use baton_protocol::time::WallTime;
use baton_protocol::wake::{Wake, Why};
use baton_store::Store;

use crate::clock::Clock;
use crate::command::Session;
use crate::console::Console;
use crate::exit::Exit;
use crate::text::printable;
use crate::trouble::Trouble;
use crate::waker::Waker;

/// How long a request stands that has done its work by being written, as the end of a pause or of an exclusion has, should
/// the arbiter be late to see it.
pub const DONE_AT_ONCE: Duration = Duration::from_secs(120);

/// How often a request is put again after a conflict, a throttle or an unknown outcome.
const ATTEMPTS: u32 = 4;

/// The wait before the second attempt; doubled for each one after.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Between two looks for an answer.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A request that was just put, and what is told of it, is among so many rows, the newest of its cluster.
pub const NEWEST: usize = 100;

/// Asks for something about the lease as it was read, from now on and for so long, and wakes the arbiter. The request, and
/// whether the wake was sent.
pub async fn ask<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    lease: &Lease,
    wish: Wish,
    valid_for: Duration,
) -> Result<(Request, bool), Trouble> {
    let request = request(lease, wish, session.who.clone(), session.clock.now(), valid_for)?;
    put(session, &request).await?;
    let wake_sent = wake(session, console, &lease.cluster).await;
    Ok((request, wake_sent))
}

/// What a request was answered with, if it was. A read that fails says nothing of it.
pub async fn answer<S: Store, W, C>(
    session: &Session<'_, S, W, C>,
    cluster: &ClusterName,
    id: &RequestId,
) -> Option<String> {
    let requests = session.store.requests(cluster, NEWEST).await.unwrap_or_default();
    let answer = requests.into_iter().find(|request| request.id == *id)?.answer?;
    Some(printable(&answer))
}

/// Makes a request about the lease as it was read.
pub fn request(
    lease: &Lease,
    wish: Wish,
    by: String,
    at: WallTime,
    valid_for: Duration,
) -> Result<Request, Trouble> {
    Ok(Request {
        cluster: lease.cluster.clone(),
        id: new_id(at)?,
        wish,
        by,
        at,
        until: at + valid_for,
        epoch: lease.epoch,
        answer: None,
    })
}

/// Puts the request. It carries its own id, and the store takes a repeat of it as done, so putting it again after an
/// unknown outcome cannot ask twice.
pub async fn put<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    request: &Request,
) -> Result<(), Trouble> {
    let mut may_be_there = false;
    let mut pause = FIRST_PAUSE;
    let mut last = Failure::Conflict;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            session.clock.sleep(pause).await;
            pause *= 2;
        }
        match session.store.ask(request).await {
            Ok(()) => return Ok(()),
            Err(WriteFailure::Refused(found)) => return Err(refused(request, found.as_ref())),
            Err(WriteFailure::Failed(failure)) => {
                may_be_there |= matches!(failure, Failure::Unknown(_));
                let again = matches!(failure, Failure::Conflict | Failure::Throttled | Failure::Unknown(_));
                last = failure;
                if !again {
                    break;
                }
            }
        }
    }
    let trouble = Trouble::of_table("writing the request", &last);
    if may_be_there {
        return Err(trouble.help(format!(
            "whether request {} was written is not known: look with `baton history {}` before asking again",
            request.id, request.cluster
        )));
    }
    Err(trouble)
}

/// Wakes the arbiter; says in one line if that failed. Returns whether it was done.
pub async fn wake<S: Store, W: Waker, C: Clock>(
    session: &Session<'_, S, W, C>,
    console: &mut Console<'_>,
    cluster: &ClusterName,
) -> bool {
    let wake = Wake { cluster: cluster.clone(), why: Why::Request, schema: SCHEMA };
    let Err(failure) = session.waker.wake(&wake).await else { return true };
    console.talk(&format!(
        "note: the wake event was not sent ({}); the request stands, and the table's stream or the sweep wakes the arbiter",
        printable(&failure.to_string())
    ));
    false
}

fn refused(request: &Request, found: Option<&Lease>) -> Trouble {
    match found {
        None => Trouble::new(Exit::Missing, format!("there is no cluster `{}` any more", request.cluster)),
        Some(lease) if lease.epoch != request.epoch => Trouble::new(
            Exit::Lost,
            format!("the epoch is {} now, not {}: another grant came first", lease.epoch, request.epoch),
        )
        .help(format!("look with `baton status {}` and ask again if it is still needed", request.cluster)),
        Some(_) => match request.wish {
            Wish::Exclude { .. } => {
                overtaken(request, "another request excluded a node or ended the exclusion meanwhile")
            }
            Wish::Include { .. } => {
                overtaken(request, "another request ended or replaced the exclusion meanwhile")
            }
            Wish::Fence { .. } => overtaken(request, "another request that a node be stopped came first"),
            _ => Trouble::new(Exit::Unexpected, format!("the request id {} is taken", request.id))
                .help("run the command again"),
        },
    }
}

fn overtaken(request: &Request, by: &str) -> Trouble {
    let cluster = &request.cluster;
    Trouble::new(Exit::Lost, by)
        .help(format!("look with `baton status {cluster}` and run it again if it is still needed"))
}

/// 26 characters: 48 bits of time and 80 of chance in Crockford's base 32, so that ids sort by when they were made.
fn new_id(at: WallTime) -> Result<RequestId, Trouble> {
    let mut chance = [0u8; 10];
    getrandom::fill(&mut chance).map_err(|failure| {
        Trouble::new(Exit::Unexpected, format!("the system gave no random bytes for a request id: {failure}"))
    })?;
    RequestId::new(id_text(at, chance))
        .map_err(|refused| Trouble::new(Exit::Unexpected, format!("a request id was refused: {refused}")))
}

fn id_text(at: WallTime, chance: [u8; 10]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let chance = chance.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    let number = u128::from(at.0 & ((1 << 48) - 1)) << 80 | chance;
    (0..26).rev().map(|place| char::from(DIGITS[(number >> (5 * place)) as usize & 31])).collect()
}

/// Who asks, as this machine knows it: a name for people. Who it really was, IAM's record says. `account` is the name
/// behind the process, for surroundings that name nobody, as cron's and a container's do.
pub fn who(env: impl Fn(&str) -> Option<String>, account: Option<String>, host: Option<String>) -> String {
    let part = |text: Option<String>, otherwise: &str| {
        let text: String = printable(&text.unwrap_or_default()).chars().take(64).collect();
        if text.is_empty() { otherwise.to_owned() } else { text }
    };
    let named = |name: &str| env(name).filter(|user| !user.trim().is_empty());
    let user = named("SUDO_USER").or_else(|| named("USER")).or(account);
    format!("{}@{}", part(user, "unknown"), part(host, "unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_26_characters_and_sort_by_time() {
        let early = id_text(WallTime(1_790_000_000_000), [0xff; 10]);
        let late = id_text(WallTime(1_790_000_000_001), [0; 10]);
        assert_eq!((early.len(), late.len()), (26, 26));
        assert!(early < late, "{early} {late}");
        assert!(early.ends_with("ZZZZZZZZZZZZZZZZ") && late.ends_with("0000000000000000"));
        let (one, other) = (new_id(WallTime(5)).expect("random"), new_id(WallTime(5)).expect("random"));
        assert_ne!(one, other);
    }

    #[test]
    fn the_operator_behind_sudo_is_named() {
        let env = |name: &str| match name {
            "USER" => Some("root".to_owned()),
            "SUDO_USER" => Some("alice".to_owned()),
            _ => None,
        };
        let account = || Some("root".to_owned());
        assert_eq!(who(env, account(), Some("ops-1\n".to_owned())), "alice@ops-1");
        assert_eq!(who(|name| (name == "USER").then(|| "bob".to_owned()), account(), None), "bob@unknown");
        assert_eq!(who(|_| None, account(), Some("ops-1".to_owned())), "root@ops-1");
        assert_eq!(who(|_| None, None, Some(String::new())), "unknown@unknown");
    }
}
