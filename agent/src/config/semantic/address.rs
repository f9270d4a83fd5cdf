//! Where a check goes: addresses, ports, URLs and the statuses it expects.

use std::net::SocketAddr;

use hyper::Uri;
use toml::Spanned;

use super::{Rules, raw};
use crate::config::{Address, Probe};

impl Rules {
    pub(super) fn tcp(&mut self, given: &Spanned<String>) -> Option<Probe> {
        match address(given.get_ref()) {
            Ok(address) => Some(Probe::Tcp { address }),
            Err(reason) => {
                self.refuse(
                    given.span(),
                    "config::check::address",
                    format!("expected an address and a port, found `{}`: {reason}", given.get_ref()),
                    "not an address",
                    "write `\"127.0.0.1:5432\"`, `\"[::1]:5432\"` or `\"localhost:5432\"`",
                );
                None
            }
        }
    }

    pub(super) fn http(&mut self, raw: &raw::Http) -> Option<Probe> {
        for status in &raw.expect {
            if !(100..=599).contains(status.get_ref()) {
                self.refuse(
                    status.span(),
                    "config::check::status",
                    format!("expected a status of HTTP, 100 to 599, found {}", status.get_ref()),
                    "no server answers this",
                    "without `expect`, any status from 200 to 299 is success",
                );
            }
        }
        let expect = raw.expect.iter().map(|status| *status.get_ref()).collect();
        match url(raw.url.get_ref()) {
            Ok((address, host, target)) => Some(Probe::Http { address, host, target, expect }),
            Err(reason) => {
                self.refuse(
                    raw.url.span(),
                    "config::check::url",
                    format!("expected a URL of plain HTTP, found `{}`: {reason}", raw.url.get_ref()),
                    "cannot be asked for",
                    "write `\"http://127.0.0.1:8080/health\"`; for anything else use a `script` check",
                );
                None
            }
        }
    }
}

/// An address or a name, and a port.
fn address(text: &str) -> Result<Address, &'static str> {
    if let Ok(literal) = text.parse::<SocketAddr>() {
        return if literal.port() == 0 { Err("port 0 is no port") } else { Ok(Address::Literal(literal)) };
    }
    let (name, port) = text.rsplit_once(':').ok_or("there is no port")?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or("the port is not 1 to 65535")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    // What starts with a digit and is not an address is an address with a slip in it.
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if name.len() > 253 || !starts_well || !name.chars().all(plain) {
        return Err("the host is neither an address nor a name");
    }
    Ok(Address::Named(name.to_owned(), port))
}

/// The address to connect to, the `Host` to name, and the path and query to ask for.
fn url(text: &str) -> Result<(Address, String, String), &'static str> {
    let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("TLS is not spoken here"),
        _ => return Err("it does not begin with `http://`"),
    }
    let authority = uri.authority().ok_or("it names no host")?;
    if authority.as_str().contains('@') {
        return Err("it carries a user name");
    }
    let has_port = !authority.as_str().ends_with(authority.host());
    let spelled = if has_port { authority.as_str().to_owned() } else { format!("{}:80", authority.host()) };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Ok((address(&spelled)?, authority.as_str().to_owned(), target.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_literal_or_named_and_has_a_port() {
        for good in ["127.0.0.1:1", "[::1]:65535", "localhost:80", "db-1.internal:5432"] {
            assert_eq!(address(good).expect(good).to_string(), good);
        }
        for bad in [
            "127.0.0.1",
            "127.0.0.1:0",
            "localhost:0",
            "127.0.0.1:65536",
            "::1:80x",
            "a b:80",
            ":80",
            "1.2.3:80",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_yields_address_host_and_target() {
        let (to, host, target) = url("http://127.0.0.1:8080/health?full=1").expect("valid");
        assert_eq!((to.to_string().as_str(), host.as_str()), ("127.0.0.1:8080", "127.0.0.1:8080"));
        assert_eq!(target, "/health?full=1");
        let (to, host, target) = url("http://[::1]").expect("valid");
        assert_eq!((to.to_string().as_str(), host.as_str(), target.as_str()), ("[::1]:80", "[::1]", "/"));
        for bad in [
            "https://127.0.0.1/",
            "127.0.0.1/health",
            "/health",
            "http://",
            "http://a@b/",
            "http://x:70000/",
            "",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
