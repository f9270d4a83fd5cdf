//! As much HTTP as the sandbox needs to ask whether somebody answers: one request per connection, on the
//! loopback.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Asks for `path` and waits for the whole answer; `timeout` bounds connecting and each read and write.
pub fn get(address: SocketAddr, path: &str, timeout: Duration) -> io::Result<Response> {
    request("GET", address, path, &[], timeout)
}

/// Sends a request without a body.
pub fn request(
    method: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    timeout: Duration,
) -> io::Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut text = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> io::Result<Response> {
    let text = String::from_utf8_lossy(answer);
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok(Response { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_split_into_status_and_body() {
        let answer = b"HTTP/1.0 401 Unauthorized\r\nContent-Type: text/plain\r\n\r\nno token\r\n\r\nhere";
        let expected = Response { status: 401, body: "no token\r\n\r\nhere".to_owned() };
        assert_eq!(parse(answer).expect("well formed"), expected);
    }

    #[test]
    fn a_cut_answer_is_an_error_and_no_status() {
        assert!(parse(b"HTTP/1.0 200 OK\r\nContent-").is_err());
        assert!(parse(b"").is_err());
    }
}
