//! The way to the table, which notes each request of the agent and when it was answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What a request asks the table for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To take a heartbeat.
    Beat,
    /// To take an oath.
    Release,
    /// Anything else.
    Other,
}

impl Asked {
    /// By the text of a request: each kind of write has a condition of its own.
    fn of(request: &str) -> Self {
        let is_update = request.to_ascii_lowercase().contains("x-amz-target: dynamodb_20120810.updateitem");
        match () {
            () if is_update && request.contains("#seq < :seq") => Self::Beat,
            () if is_update && request.contains("SET #released = :released") => Self::Release,
            () => Self::Other,
        }
    }
}

/// A request that the table has fulfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// What it was.
    pub asked: Asked,
    /// When its answer passed.
    pub at: Instant,
}

/// A way to a server. It ends with the runtime.
#[derive(Debug)]
pub struct Passage {
    endpoint: String,
    confirmed: Arc<Mutex<Vec<Confirmed>>>,
    /// Whether requests are held up, and how many are.
    held: watch::Sender<(bool, usize)>,
    /// Whether reads of several items are cut off.
    cuts: Arc<AtomicBool>,
}

impl Passage {
    /// A way to `to`, as `host:port`.
    pub async fn before(to: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let confirmed = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&confirmed);
        let held = watch::Sender::new((false, 0));
        let gate = held.clone();
        let cuts = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&cuts);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                if let Ok(there) = TcpStream::connect(&to).await {
                    tokio::spawn(carry(from, there, Arc::clone(&noted), gate.clone(), Arc::clone(&cut)));
                }
            }
        });
        Ok(Self { endpoint, confirmed, held, cuts })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Holds up what the agent asks from here on; resolves once something is.
    pub async fn hold(&self) {
        self.held.send_replace((true, 0));
        // It cannot be closed while this stands.
        let _ = self.held.subscribe().wait_for(|(_, held)| *held > 0).await;
    }

    /// Lets everything pass again.
    pub fn let_pass(&self) {
        self.held.send_replace((false, 0));
    }

    /// Ends the connection of whoever asks for several items at once, from here on.
    pub fn cut_batches(&self) {
        self.cuts.store(true, Ordering::Relaxed);
    }

    /// How many heartbeats were confirmed.
    pub fn beats(&self) -> usize {
        list(&self.confirmed).iter().filter(|confirmed| confirmed.asked == Asked::Beat).count()
    }

    /// How many requests of any kind were fulfilled.
    pub fn requests(&self) -> usize {
        list(&self.confirmed).len()
    }

    /// The first confirmation of this kind after `since`.
    pub fn first_since(&self, asked: Asked, since: Instant) -> Option<Instant> {
        let list = list(&self.confirmed);
        list.iter().find(|confirmed| confirmed.asked == asked && confirmed.at >= since).map(|found| found.at)
    }
}

fn list(confirmed: &Mutex<Vec<Confirmed>>) -> MutexGuard<'_, Vec<Confirmed>> {
    confirmed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection. Its client asks again only once it was answered, so a request is all that came since the last answer.
async fn carry(
    from: TcpStream,
    there: TcpStream,
    confirmed: Arc<Mutex<Vec<Confirmed>>>,
    gate: watch::Sender<(bool, usize)>,
    cuts: Arc<AtomicBool>,
) {
    drop(from.set_nodelay(true));
    drop(there.set_nodelay(true));
    let (mut asks, mut answered) = from.into_split();
    let (mut answers, mut asked) = there.into_split();
    let (mut request, mut to, mut back) = (Vec::new(), vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = asks.read(&mut to) => match read {
                Ok(length @ 1..) => {
                    request.extend_from_slice(&to[..length]);
                    if cuts.load(Ordering::Relaxed) && is_of_several(&request) { break }
                    gate.send_if_modified(|(holds, held)| {
                        *held += usize::from(*holds);
                        *holds
                    });
                    if gate.subscribe().wait_for(|(holds, _)| !holds).await.is_err() { break }
                    if asked.write_all(&to[..length]).await.is_err() { break }
                }
                _ => break,
            },
            read = answers.read(&mut back) => match read {
                Ok(length @ 1..) => {
                    // Only the first part of an answer has a status, and a request before it.
                    if !request.is_empty() && back[..length].starts_with(b"HTTP/1.1 200") {
                        let asked = Asked::of(&String::from_utf8_lossy(&request));
                        list(&confirmed).push(Confirmed { asked, at: Instant::now() });
                    }
                    request.clear();
                    if answered.write_all(&back[..length]).await.is_err() { break }
                }
                _ => break,
            },
        }
    }
}

fn is_of_several(request: &[u8]) -> bool {
    String::from_utf8_lossy(request).contains("BatchGetItem")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_known_by_its_condition() {
        let target = "X-Amz-Target: DynamoDB_20120810.UpdateItem\r\n\r\n";
        for (text, asked) in [
            (
                format!("{target}{{\"ConditionExpression\":\"#incarnation = :mine AND #seq < :seq\"}}"),
                Asked::Beat,
            ),
            (format!("{target}{{\"UpdateExpression\":\"SET #released = :released\"}}"), Asked::Release),
            (format!("{target}{{\"UpdateExpression\":\"SET #why = :why\"}}"), Asked::Other),
            ("x-amz-target: DynamoDB_20120810.GetItem\r\n\r\n#seq < :seq".to_owned(), Asked::Other),
        ] {
            assert_eq!(Asked::of(&text), asked, "{text}");
        }
    }

    #[test]
    fn the_conditions_are_those_of_the_store() {
        assert!(baton_store::condition::BEAT.contains("#seq < :seq"));
        let release = baton_store::condition::RELEASE;
        assert!(release.contains(":released") && !release.contains("#seq < :seq"));
    }
}
