//! Counts the requests that pass on their way to the table.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What begins the header that every request to DynamoDB has, once.
const SIGN: &[u8] = b"x-amz-target: dynamodb_";

/// A way to a server that counts what takes it.
#[derive(Debug)]
pub(crate) struct Counter {
    endpoint: String,
    passed: Arc<AtomicUsize>,
}

impl Counter {
    /// A way to `to`, as `host:port`.
    pub(crate) async fn before(to: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let passed = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&passed);
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                if let Ok(there) = TcpStream::connect(&to).await {
                    tokio::spawn(carry(from, there, Arc::clone(&counted)));
                }
            }
        });
        Ok(Self { endpoint, passed })
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How many requests have passed.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }
}

async fn carry(from: TcpStream, there: TcpStream, passed: Arc<AtomicUsize>) {
    // Small packets in both directions, as between the two without it.
    drop(from.set_nodelay(true));
    drop(there.set_nodelay(true));
    let (mut asks, mut answered) = from.into_split();
    let (mut answers, mut asked) = there.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut answered).await });
    let (mut buffer, mut seen) = (vec![0; 64 * 1024], Vec::new());
    while let Ok(length @ 1..) = asks.read(&mut buffer).await {
        seen.extend(buffer[..length].iter().map(u8::to_ascii_lowercase));
        let found = seen.windows(SIGN.len()).filter(|part| *part == SIGN).count();
        passed.fetch_add(found, Ordering::Relaxed);
        // What may be the beginning of the sign stays, and what was counted goes.
        seen.drain(..seen.len().saturating_sub(SIGN.len() - 1));
        if asked.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    drop(asked);
    drop(back.await);
}
