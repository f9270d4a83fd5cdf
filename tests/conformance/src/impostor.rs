//! A server that gives every request the same reply, right or wrong, and keeps what it was sent.
//!
//! With it a client can be shown everything that a real service does too rarely to wait for, and a request
//! can be looked at as it goes over the wire.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What every request is given.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This status and body.
    Answer(u16, String),
    /// Nothing, for as long as the client waits.
    Silence,
    /// The beginning of an answer, and then nothing.
    Stall,
    /// The end of the connection.
    HangUp,
}

impl Reply {
    /// An error as the JSON protocols of AWS put it.
    pub fn error(status: u16, code: &str) -> Self {
        Self::Answer(
            status,
            format!(r#"{{"__type":"com.amazonaws#{code}","message":"the impostor says so"}}"#),
        )
    }
}

/// A request as it was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The operation: what stands after the dot in `X-Amz-Target`.
    pub operation: String,
    /// The body.
    pub body: serde_json::Value,
}

/// The server. It ends when this is dropped or the runtime is.
#[derive(Debug)]
pub struct Impostor {
    endpoint: String,
    sent: Arc<Mutex<Vec<Sent>>>,
    task: JoinHandle<()>,
}

impl Impostor {
    /// Starts a server.
    pub async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, reply.clone(), Arc::clone(&kept)));
            }
        });
        Self { endpoint, sent, task }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What it was sent since this was last asked.
    pub fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request per connection, which is all that a reply needs; the client opens another.
async fn serve(mut connection: TcpStream, reply: Reply, sent: Arc<Mutex<Vec<Sent>>>) {
    let Some(request) = read_request(&mut connection).await else { return };
    sent.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let head = |status: u16, length: usize| {
        format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Type: application/x-amz-json-1.0\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )
    };
    // A client that has gone away in the meantime is what some of the tests are about.
    match reply {
        Reply::Answer(status, body) => {
            let text = format!("{}{body}", head(status, body.len()));
            drop(connection.write_all(text.as_bytes()).await);
        }
        Reply::Stall => {
            drop(connection.write_all(format!("{}{{", head(200, 100)).as_bytes()).await);
            std::future::pending::<()>().await;
        }
        Reply::Silence => std::future::pending().await,
        Reply::HangUp => {}
    }
}

async fn read_request(connection: &mut TcpStream) -> Option<Sent> {
    read_message(connection).await?.sent()
}

/// An HTTP message, its length told by its head.
pub(crate) struct Message {
    head: String,
    body: Vec<u8>,
    /// All of it, as it came.
    pub(crate) bytes: Vec<u8>,
}

impl Message {
    /// The request that this is, if it is one of a JSON protocol.
    pub(crate) fn sent(&self) -> Option<Sent> {
        let target = header(&self.head, "x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        Some(Sent { operation, body: self.json()? })
    }

    /// Its body, if it is JSON.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The same message with one text of its body exchanged for another of the same length.
    pub(crate) fn exchanged(&self, text: &str, other: &str) -> Self {
        assert_eq!(text.len(), other.len(), "the head tells the length of the body");
        let body = String::from_utf8_lossy(&self.body).replace(text, other).into_bytes();
        let head_length = self.bytes.len() - self.body.len();
        let bytes = [&self.bytes[..head_length], &body].concat();
        Self { head: self.head.clone(), body, bytes }
    }
}

/// Reads one message; `None` at the end of the connection.
pub(crate) async fn read_message(connection: &mut TcpStream) -> Option<Message> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length: usize =
                header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                let body = bytes[end + 4..].to_vec();
                return Some(Message { head, body, bytes });
            }
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}
