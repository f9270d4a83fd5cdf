//! A wish that another operator gives while the grant of an earlier one is on its way.

use baton_arbiter::drive::Parts;
use baton_arbiter::handler::handle;
use baton_doubles::Interposed;
use baton_protocol::ids::{Epoch, InstanceArn, RequestId};
use baton_protocol::request::{Request, Wish};
use baton_store::Store;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::json;

use crate::lossy::Lossy;
use crate::world::{Woken, World, cluster, incarnation};

fn to(node: &InstanceArn) -> Wish {
    Wish::Switchover { to: Some(node.clone()), why: String::new() }
}

async fn answer_to(world: &World, id: &str) -> Option<String> {
    let requests = world.parts.store.requests(&cluster(), 10).await.expect("read");
    requests.into_iter().find(|request| request.id.as_str() == id).expect("asked").answer
}

/// Runs an invocation, with `between` asked for after it has read the lease and before its commit arrives.
async fn wake_with(world: &World, between: Request) {
    let gate = Lossy { asked_before_commit: Some(between).into(), ..Lossy::default() };
    let parts = Parts {
        store: Interposed { record: world.parts.store.clone(), gate },
        cloud: world.parts.cloud.clone(),
        successor: Woken::default(),
        origin: world.parts.origin,
        name: world.parts.name.clone(),
        brake: world.parts.brake,
    };
    let event = json!({
        "source": "baton.agent", "detail-type": "Wake",
        "detail": { "cluster": "orders", "why": "claim", "schema_version": 1 },
    });
    handle(&parts, LambdaEvent::new(event, Context::default())).await.expect("handled");
}

#[tokio::test]
async fn a_wish_that_comes_while_the_grant_of_another_is_on_its_way_is_granted_instead_and_both_are_answered()
{
    let mut world = World::new(1, 0).await;
    world.wake().await;
    let [holder, second, third] = [0, 1, 2].map(|n| world.nodes[n].arn.clone());
    let first = world.ask("1-second", to(&second)).await;
    world.parts.store.release(&cluster(), &holder, &incarnation(), Epoch(1)).await.expect("released");
    world.beat(&[1, 2], None).await;
    let id = RequestId::new("2-third").expect("valid");
    wake_with(&world, Request { id, wish: to(&third), by: "bob".to_owned(), ..first }).await;
    world.assert_whole_at(2, 2).await;
    let answer = answer_to(&world, "1-second").await.expect("answered");
    assert!(answer.starts_with("replaced by switchover asked by bob at "), "{answer}");
    assert_eq!(answer_to(&world, "2-third").await.as_deref(), Some("granted to c at epoch 2"));
}

#[tokio::test]
async fn a_wish_that_comes_while_a_silent_holder_is_deposed_is_not_lost() {
    let mut world = World::new(1, 0).await;
    world.wake().await;
    world.claim(0, 1).await;
    let third = world.nodes[2].arn.clone();
    let at = world.parts.now().wall;
    let asked = Request {
        cluster: cluster(),
        id: RequestId::new("1-third").expect("valid"),
        wish: to(&third),
        by: "alice".to_owned(),
        at,
        until: at + std::time::Duration::from_secs(60),
        epoch: Epoch(1),
        answer: None,
    };
    wake_with(&world, asked).await;
    world.assert_whole_at(2, 2).await;
    assert_eq!(answer_to(&world, "1-third").await.as_deref(), Some("granted to c at epoch 2"));
}
