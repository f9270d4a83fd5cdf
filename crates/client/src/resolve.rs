//! Names of endpoints, and where they were last: an outage of DNS must not end a lease while the table is well.
//!
//! The naive way asks for a name whenever a connection is opened, and fails when nobody answers; and a name server that does
//! not answer takes seconds to be given up, which are more than a heartbeat has. So the last good answer for each name is kept, and
//! stands in where the next is an error or late. It is never preferred: while DNS answers, its answer counts.
//!
//! An old answer may lead nowhere, since addresses of endpoints change. That is a connection that fails, as without an answer.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a lookup is waited for where there is an earlier answer: a healthy one takes a few milliseconds, and what is left of
/// the shortest attempt timeout is enough to connect and to ask.
const PATIENCE: Duration = Duration::from_millis(200);
/// Names that are remembered. A program of Baton asks for a handful.
const NAMES_MOST: usize = 32;

/// What a lookup has come to.
type Answer = Result<Vec<IpAddr>, String>;

/// Resolves names by `L`, and remembers. Clones share what they remember.
pub(crate) struct LastGood<L> {
    lookup: L,
    patience: Duration,
    names: Arc<Mutex<BTreeMap<String, Name>>>,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Name {
    last_good: Option<Vec<IpAddr>>,
    /// A lookup that goes on: a name server that hangs must not be asked again and again, each time by another thread.
    open: Option<watch::Receiver<Option<Answer>>>,
}

/// Asks the system.
pub(crate) fn by_the_system() -> impl ResolveDns + Clone + 'static {
    LastGood::new(system, PATIENCE)
}

async fn system(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

impl<L, F> LastGood<L>
where
    L: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
{
    fn new(lookup: L, patience: Duration) -> Self {
        Self { lookup, patience, names: Arc::default() }
    }

    async fn resolve(&self, name: &str) -> Answer {
        if let Ok(literal) = name.parse() {
            return Ok(vec![literal]);
        }
        let (last_good, mut open) = self.ask(name);
        let answered = async {
            match open.wait_for(Option::is_some).await {
                Ok(answer) => answer.clone().unwrap_or_else(|| Err("no answer".to_owned())),
                Err(_) => Err("the lookup has ended without an answer".to_owned()),
            }
        };
        let Some(last_good) = last_good else { return answered.await };
        match timeout(self.patience, answered).await {
            Ok(Ok(fresh)) => Ok(fresh),
            Ok(Err(reason)) => {
                tracing::debug!(name, reason, "the last good answer for this name stands in");
                Ok(last_good)
            }
            Err(_) => Ok(last_good),
        }
    }

    /// The last good answer, and a lookup that is under way; one is begun if none is.
    fn ask(&self, name: &str) -> (Option<Vec<IpAddr>>, watch::Receiver<Option<Answer>>) {
        let mut names = locked(&self.names);
        if names.len() >= NAMES_MOST && !names.contains_key(name) {
            names.clear();
        }
        let known = names.entry(name.to_owned()).or_default();
        // One whose task is gone, with its runtime, will never say anything.
        let open = known.open.clone().filter(|open| open.borrow().is_none() && open.has_changed().is_ok());
        let open = open.unwrap_or_else(|| {
            let (tell, told) = watch::channel(None);
            known.open = Some(told.clone());
            let (lookup, name, names) =
                ((self.lookup)(name.to_owned()), name.to_owned(), Arc::clone(&self.names));
            // It goes on when nobody waits any more, so that what it finds is known by the next attempt.
            tokio::spawn(async move {
                let answer = match lookup.await {
                    Ok(found) if found.is_empty() => Err("no address".to_owned()),
                    Ok(found) => Ok(found),
                    Err(error) => Err(error.to_string()),
                };
                if let (Ok(found), Some(known)) = (&answer, locked(&names).get_mut(&name)) {
                    known.last_good = Some(found.clone());
                }
                drop(tell.send(Some(answer)));
            });
            told
        });
        (known.last_good.clone(), open)
    }
}

fn locked(names: &Mutex<BTreeMap<String, Name>>) -> MutexGuard<'_, BTreeMap<String, Name>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<L: Clone> Clone for LastGood<L> {
    fn clone(&self) -> Self {
        Self { lookup: self.lookup.clone(), patience: self.patience, names: Arc::clone(&self.names) }
    }
}

impl<L> fmt::Debug for LastGood<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGood").field("names", &self.names).finish_non_exhaustive()
    }
}

impl<L, F> ResolveDns for LastGood<L>
where
    L: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
{
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move { self.resolve(name).await.map_err(ResolveDnsError::new) })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    const NAME: &str = "dynamodb.eu-west-1.amazonaws.com";

    fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    /// A name service that answers when and what the test says, and counts how often it is asked.
    struct Service {
        say: mpsc::UnboundedSender<io::Result<Vec<IpAddr>>>,
        asked: Arc<AtomicUsize>,
    }

    fn service(patience: Duration) -> (Service, Arc<dyn ResolveDns>) {
        let (say, said) = mpsc::unbounded_channel();
        let (said, asked) = (Arc::new(tokio::sync::Mutex::new(said)), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let lookup = move |name: String| {
            assert_eq!(name, NAME);
            count.fetch_add(1, Ordering::SeqCst);
            let said = Arc::clone(&said);
            async move { said.lock().await.recv().await.expect("the test says something") }
        };
        (Service { say, asked }, Arc::new(LastGood::new(lookup, patience)))
    }

    async fn resolved(resolver: &Arc<dyn ResolveDns>) -> Result<Vec<IpAddr>, String> {
        resolver
            .resolve_dns(NAME)
            .await
            .map_err(|error| std::error::Error::source(&error).expect("why").to_string())
    }

    fn broken() -> io::Result<Vec<IpAddr>> {
        Err(io::Error::other("no name server"))
    }

    #[tokio::test]
    async fn the_last_good_answer_stands_in_for_an_error_and_no_longer_than_it_has_to() {
        let (service, resolver) = service(Duration::from_secs(20));
        let says = |answer| service.say.send(answer).expect("heard");
        says(broken());
        assert_eq!(resolved(&resolver).await, Err("no name server".to_owned()), "there is none yet");
        says(Ok(vec![address(1)]));
        assert_eq!(resolved(&resolver).await, Ok(vec![address(1)]));
        says(broken());
        says(Ok(Vec::new()));
        for _ in 0..2 {
            assert_eq!(resolved(&resolver).await, Ok(vec![address(1)]));
        }
        says(Ok(vec![address(2), address(3)]));
        assert_eq!(resolved(&resolver).await, Ok(vec![address(2), address(3)]), "DNS has the word again");
        assert_eq!(service.asked.load(Ordering::SeqCst), 5, "it is asked each time");
    }

    #[tokio::test]
    async fn a_name_server_that_hangs_is_asked_once_and_its_late_answer_is_kept() {
        let (service, resolver) = service(Duration::from_millis(10));
        service.say.send(Ok(vec![address(1)])).expect("heard");
        assert_eq!(resolved(&resolver).await, Ok(vec![address(1)]));
        for _ in 0..3 {
            assert_eq!(resolved(&resolver).await, Ok(vec![address(1)]));
        }
        assert_eq!(service.asked.load(Ordering::SeqCst), 2, "one hangs, and the others wait for the same");
        service.say.send(Ok(vec![address(2)])).expect("heard");
        let look = async { while resolved(&resolver).await != Ok(vec![address(2)]) {} };
        tokio::time::timeout(Duration::from_secs(20), look).await.expect("the late answer is known");
    }

    #[tokio::test]
    async fn an_address_is_its_own_answer() {
        let (service, resolver) = service(Duration::from_secs(20));
        let found = resolver.resolve_dns("192.0.2.7").await.expect("an address");
        assert_eq!((found, service.asked.load(Ordering::SeqCst)), (vec![address(7)], 0));
    }

    #[tokio::test]
    async fn the_system_is_asked_for_names() {
        let found = by_the_system().resolve_dns("localhost").await.expect("every machine knows it");
        assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    }
}
