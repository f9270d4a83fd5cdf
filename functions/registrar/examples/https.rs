//! temp
use std::time::Duration;
use baton_registrar::{request::ResponseUrl, respond::Responder};
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let r = Responder::new(Duration::from_millis(100));
    let until = tokio::time::Instant::now() + Duration::from_secs(2);
    println!("{:?}", r.deliver(&ResponseUrl::new(std::env::args().nth(1).unwrap()), "{\"a\":1}", until).await);
}
