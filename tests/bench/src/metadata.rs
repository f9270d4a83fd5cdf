//! The instance metadata of one instance, version 2 unless told otherwise: a few pages that answer at once, with credentials among them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use tokio::net::TcpListener;

const TOKEN: &str = "a-token-of-the-bench";
const MAC: &str = "02:00:00:00:00:01";

/// The running service; it ends with the runtime.
#[derive(Debug)]
pub struct Metadata {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    legacy: Arc<AtomicBool>,
    down: Arc<AtomicBool>,
}

impl Metadata {
    /// Starts the service for the instance with this ARN, which shows this public address.
    pub async fn start(instance: &str, public: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicUsize::new(0));
        let legacy = Arc::new(AtomicBool::new(false));
        let down = Arc::new(AtomicBool::new(false));
        let kept = (Arc::clone(&asked), Arc::clone(&legacy), Arc::clone(&down));
        let pages =
            Arc::new(Pages { asked: kept.0, legacy: kept.1, down: kept.2, of: pages(instance, public) });
        let router = Router::new().fallback(answer).with_state(pages);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, asked, legacy, down })
    }

    /// For `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From here on it is the service of a legacy host: it gives no tokens, and refuses whoever sends one.
    pub fn refuse_tokens(&self) {
        self.legacy.store(true, Ordering::Relaxed);
    }

    /// Whether it answers 503 to whoever asks for a page, from here on.
    pub fn be_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    /// How many requests came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

struct Pages {
    asked: Arc<AtomicUsize>,
    legacy: Arc<AtomicBool>,
    down: Arc<AtomicBool>,
    of: Vec<(String, String)>,
}

fn pages(instance: &str, public: &str) -> Vec<(String, String)> {
    // arn:PARTITION:ec2:REGION:ACCOUNT:instance/ID
    let parts: Vec<&str> = instance.split(':').collect();
    let part = |n: usize| parts.get(n).copied().unwrap_or_default();
    let id = part(5).trim_start_matches("instance/");
    let interface = format!("meta-data/network/interfaces/macs/{MAC}");
    let credentials = concat!(
        r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"test","SecretAccessKey":"test","Token":"test","#,
        r#""LastUpdated":"2026-01-01T00:00:00Z","Expiration":"2999-01-01T00:00:00Z"}"#
    );
    let fixed = [
        ("meta-data/instance-id", id.to_owned()),
        ("meta-data/placement/region", part(3).to_owned()),
        ("meta-data/placement/availability-zone", format!("{}a", part(3))),
        ("meta-data/services/partition", part(1).to_owned()),
        ("dynamic/instance-identity/document", format!(r#"{{"accountId":"{}"}}"#, part(4))),
        ("meta-data/iam/security-credentials/", "node".to_owned()),
        ("meta-data/iam/security-credentials/node", credentials.to_owned()),
        ("meta-data/network/interfaces/macs/", format!("{MAC}/")),
    ];
    let of_interface = [
        ("public-ipv4s", public.to_owned()),
        ("local-ipv4s", "10.0.1.10".to_owned()),
        ("interface-id", "eni-00000000000000001".to_owned()),
    ];
    let of_interface = of_interface.map(|(name, text)| (format!("{interface}/{name}"), text));
    fixed.map(|(path, text)| (path.to_owned(), text)).into_iter().chain(of_interface).collect()
}

async fn answer(
    State(pages): State<Arc<Pages>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> (StatusCode, HeaderMap, String) {
    pages.asked.fetch_add(1, Ordering::Relaxed);
    let path = uri.path().trim_start_matches("/latest/");
    let mut more = HeaderMap::new();
    let token = headers.get("x-aws-ec2-metadata-token");
    if pages.legacy.load(Ordering::Relaxed) {
        if method != Method::GET || token.is_some() {
            return (StatusCode::METHOD_NOT_ALLOWED, more, String::new());
        }
        return page(&pages, path, more);
    }
    if method == Method::PUT && path == "api/token" {
        if let Some(ttl) = headers.get("x-aws-ec2-metadata-token-ttl-seconds") {
            more.insert("x-aws-ec2-metadata-token-ttl-seconds", ttl.clone());
        }
        return (StatusCode::OK, more, TOKEN.to_owned());
    }
    if token.is_none_or(|token| token != TOKEN) {
        return (StatusCode::UNAUTHORIZED, more, String::new());
    }
    page(&pages, path, more)
}

fn page(pages: &Pages, path: &str, more: HeaderMap) -> (StatusCode, HeaderMap, String) {
    if pages.down.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, more, String::new());
    }
    match pages.of.iter().find(|(known, _)| *known == path) {
        Some((_, text)) => (StatusCode::OK, more, text.clone()),
        None => (StatusCode::NOT_FOUND, more, String::new()),
    }
}
