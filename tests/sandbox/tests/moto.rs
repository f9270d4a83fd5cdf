//! moto as the conformance tests use it.

use std::time::Duration;

use baton_sandbox::{Moto, http};

#[test]
fn moto_answers_on_its_own_port_and_is_gone_when_dropped() {
    let (one, other) = (Moto::start().expect("starts"), Moto::start().expect("starts"));
    assert_ne!(one.endpoint(), other.endpoint());
    let address = one.endpoint().strip_prefix("http://").expect("http").parse().expect("an address");
    let second = Duration::from_secs(5);
    assert_eq!(http::get(address, "/moto-api/", second).expect("answers").status, 200);
    let directory = one.log().parent().expect("has a directory").to_owned();
    assert!(directory.is_dir());
    drop(one);
    assert!(http::get(address, "/moto-api/", second).is_err(), "still listens");
    assert!(!directory.exists(), "its directory was left behind");
    assert!(other.is_running().expect("known"), "the other one was ended too");
}
