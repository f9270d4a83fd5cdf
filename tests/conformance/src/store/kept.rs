//! What is kept for information: what the last probe found, and terminations that wait.

use baton_protocol::brake;
use baton_protocol::hook::Hook;
use baton_protocol::ids::{ClusterName, InstanceId};
use baton_protocol::probe::{Obstacle, Probe};
use baton_protocol::time::WallTime;
use baton_store::Store;

use super::Record;
use super::build::{AT, cluster, uid};

/// The last one that was written is read, and none of them touches the lease.
pub async fn a_probe_takes_the_place_of_the_one_before(record: &impl Record) {
    let store = record.store();
    assert_eq!(store.probe(&cluster()).await, Ok(None));
    let obstacle = Obstacle {
        node: Some("node-1".to_owned()),
        resource: "eipalloc-1".to_owned(),
        why: "denied".to_owned(),
    };
    for obstacles in [vec![obstacle], Vec::new()] {
        let probe = Probe { at: AT, uid: uid(1), revision: 3, obstacles };
        store.record_probe(&cluster(), &probe).await.expect("kept");
        assert_eq!(store.probe(&cluster()).await, Ok(Some(probe)));
    }
    assert_eq!(store.lease(&cluster()).await, Ok(None));
}

/// It is told of more than once, and what has ended stays so.
pub async fn a_termination_waits_until_it_has_ended_and_is_not_begun_again(record: &impl Record) {
    let store = record.store();
    assert_eq!(store.hooks(&cluster()).await, Ok(Vec::new()));
    let hook = |instance: &str, n: u8| {
        let token = format!("8765432{n}-4321-4321-4321-210987654321");
        let instance = InstanceId::new(instance).expect("valid");
        Hook::new(instance, "asg".to_owned(), "baton".to_owned(), token, WallTime(AT.0 + 600_000))
            .expect("valid")
    };
    let (one, other) = (hook("i-0123456789abcdef0", 1), hook("i-0123456789abcdef1", 1));
    for hook in [&one, &other, &one] {
        store.record_hook(&cluster(), hook).await.expect("kept");
    }
    store.end_hook(&cluster(), &one, "over").await.expect("ended");
    store.record_hook(&cluster(), &one).await.expect("kept");
    let again = hook("i-0123456789abcdef0", 2);
    store.record_hook(&cluster(), &again).await.expect("kept");
    let ended = Hook { ended: Some("over".to_owned()), ..one };
    let mut found = store.hooks(&cluster()).await.expect("read");
    found.sort_by_key(|hook| (hook.instance.clone(), hook.token.clone()));
    assert_eq!(found, [ended, again, other]);
    // Of one that nobody has told of there is nothing to end.
    store.end_hook(&cluster(), &hook("i-0123456789abcdef2", 1), "over").await.expect("nothing");
    assert_eq!(store.hooks(&cluster()).await.expect("read").len(), 3);
}

/// A cluster is one however often it says so, and what was said a while ago counts for nothing.
pub async fn clusters_that_suspect_are_counted_once_each_within_two_spans(record: &impl Record) {
    let store = record.store();
    let named = |n: u8| ClusterName::new(format!("cluster-{n}")).expect("valid");
    let length = u64::try_from(brake::SPAN.as_millis()).expect("short");
    let begins = AT.0 - AT.0 % length;
    let mut counted = Vec::new();
    for (n, at) in [
        (1, begins),
        (1, begins + length - 1),
        (2, begins + 1),
        (3, begins + length),
        (1, begins + length),
        (4, begins + 2 * length),
        (4, begins + 5 * length),
        (1, begins),
    ] {
        counted.push(store.suspect(&named(n), WallTime(at)).await);
    }
    assert_eq!(counted, [1, 1, 2, 3, 3, 3, 1, 2].map(Ok));
    assert_eq!(store.lease(&named(1)).await, Ok(None));
}
