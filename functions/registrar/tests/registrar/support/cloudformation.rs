//! An HTTP server in CloudFormation's place, which can refuse, break off or keep silent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// This status, and a body that never ends.
    Status(u16),
    /// Breaks the connection off.
    BreakOff,
    /// Never answers.
    KeepSilent,
}

#[derive(Debug, Default)]
struct Script {
    replies: VecDeque<Reply>,
    heads: Vec<String>,
    bodies: Vec<Value>,
}

/// The server.
#[derive(Debug, Clone)]
pub(crate) struct CloudFormation {
    port: u16,
    script: Arc<Mutex<Script>>,
}

impl CloudFormation {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = Self { port, script: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/answer?X-Amz-Signature=very%2Fsecret", self.port)
    }

    /// Does these things first; after them it accepts.
    pub(crate) fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().expect("nobody panicked").replies.extend(replies);
    }

    /// The bodies so far, refused ones included.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.script.lock().expect("nobody panicked").bodies.clone()
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.script.lock().expect("nobody panicked").heads.clone()
    }

    pub(crate) fn last(&self) -> Value {
        self.bodies().pop().expect("an answer came")
    }

    async fn serve(&self, mut stream: TcpStream) {
        while let Some((head, body)) = read(&mut stream).await {
            let reply = {
                let mut script = self.script.lock().expect("nobody panicked");
                script.heads.push(head);
                script.bodies.push(serde_json::from_slice(&body).expect("the answer is JSON"));
                script.replies.pop_front().unwrap_or(Reply::Status(200))
            };
            match reply {
                Reply::Status(status) => {
                    let reply = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
                    if stream.write_all(reply.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Reply::BreakOff => return,
                Reply::KeepSilent => std::future::pending().await,
            }
        }
    }
}

/// One request: its head, and a body as long as the head says.
async fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())?;
    let mut body = bytes.split_off(end);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}
