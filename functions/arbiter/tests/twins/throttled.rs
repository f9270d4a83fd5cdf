//! What EC2 throttles is counted, and changes nothing else.

use std::cell::RefCell;

use baton_arbiter::drive::Parts;
use baton_arbiter::handler::handle_and_count;
use baton_cloud::Counted;
use baton_cloud::memory::{Fault, Trouble};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::json;

use crate::world::{Woken, World};

#[tokio::test]
async fn looks_that_ec2_throttles_are_counted_by_their_action_and_the_turn_ends_as_ever() {
    let world = World::new(1, 1).await;
    world.wake().await;
    world.assert_whole_at(0, 1).await;
    let parts = Parts {
        store: world.parts.store.clone(),
        cloud: Counted::new(world.parts.cloud.clone()),
        successor: Woken::default(),
        origin: world.parts.origin,
        name: world.parts.name.clone(),
        brake: world.parts.brake,
    };
    let lines = RefCell::new(Vec::new());
    let turn = async || {
        let detail = json!({"cluster": "orders", "why": "verify", "schema_version": 1});
        let event = json!({"source": "baton.control-plane", "detail-type": "Wake", "detail": detail});
        let event = LambdaEvent::new(event, Context::default());
        handle_and_count(&parts, event, |line| lines.borrow_mut().push(line.clone())).await.expect("handled");
    };
    world.parts.cloud.fail(Fault::on("DescribeRouteTables", Trouble::Throttle).times(2));
    turn().await;
    let [line] = &lines.take()[..] else { panic!("one line") };
    assert_eq!((&line["Throttled"], &line["ControlPlane"]), (&json!(2), &json!("baton")));
    assert_eq!(line["about"], json!({"actions": {"ec2:DescribeRouteTables": 2}}));
    world.assert_whole_at(0, 1).await;
    turn().await;
    assert!(lines.take().is_empty(), "nothing was throttled, and nothing is counted twice");
}
