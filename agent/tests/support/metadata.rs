//! An instance metadata service that says what a test wants.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The session token of one that demands one.
pub(crate) const TOKEN: &str = "a-session-token";

/// A metadata service of a legacy host: it knows these pages, gives no token, and wants to hear of none.
pub(crate) async fn legacy(status: &'static str, pages: &[(&str, &str)]) -> SocketAddr {
    let pages: BTreeMap<String, String> =
        pages.iter().map(|(path, text)| (format!("/latest/{path}"), (*text).to_owned())).collect();
    serve(move |head| {
        if head.starts_with("PUT") || head.to_lowercase().contains("x-aws-ec2-metadata-token") {
            return (status, String::new());
        }
        match pages.get(head.split_whitespace().nth(1).unwrap_or_default()) {
            Some(text) => ("200 OK", text.clone()),
            None => ("404 Not Found", String::new()),
        }
    })
    .await
}

/// A metadata service that knows these pages and demands a session token, as IMDSv2 does.
pub(crate) async fn service(pages: &[(&str, &str)]) -> SocketAddr {
    let pages: BTreeMap<String, String> =
        pages.iter().map(|(path, text)| (format!("/latest/{path}"), (*text).to_owned())).collect();
    serve(move |head| {
        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if (method, path) == ("PUT", "/latest/api/token") {
            return ("200 OK", TOKEN.to_owned());
        }
        if !head.to_lowercase().contains(&format!("x-aws-ec2-metadata-token: {TOKEN}")) {
            return ("401 Unauthorized", String::new());
        }
        match pages.get(path) {
            Some(text) => ("200 OK", text.clone()),
            None => ("404 Not Found", String::new()),
        }
    })
    .await
}

/// Answers every request, several on one connection, with what `answer` makes of its head.
pub(crate) async fn serve(
    answer: impl Fn(&str) -> (&'static str, String) + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, answer.clone()));
        }
    });
    address
}

async fn converse(mut stream: TcpStream, answer: impl Fn(&str) -> (&'static str, String)) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => received.extend_from_slice(&buffer[..read]),
        }
        while let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = received.drain(..end + 4).collect();
            let (status, body) = answer(&String::from_utf8_lossy(&head));
            let length = body.len();
            // Only with a token.
            let ttl = "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n";
            let ttl = if status.starts_with("200") { ttl } else { "" };
            let text = format!("HTTP/1.1 {status}\r\n{ttl}content-length: {length}\r\n\r\n{body}");
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
