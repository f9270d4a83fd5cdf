//! What other tools were seen to fall to.

use baton_protocol::history::Happening;
use baton_sandbox::moto::{Ec2Fault, Ec2Trouble};
use serde_json::{Value, json};

use super::{Seen, and, standing, told, whole};
use crate::rig::{Rig, Trouble, bus_event};

const CHANGES: [&str; 3] = ["DisassociateAddress", "AssociateAddress", "ReplaceRoute"];

/// Node `next` claims, and the arbiter is woken until the move is recorded, as its chain of successors would be.
pub(super) async fn take_over(rig: &mut Rig, next: usize) -> Result<usize, Trouble> {
    rig.claim(next).await?;
    let epoch = rig.lease().await?.epoch.next();
    let mut runs = 0;
    while rig.lease().await?.moved < epoch && runs < 5 {
        rig.wake(if runs == 0 { "claim" } else { "continue" }).await;
        runs += 1;
    }
    Ok(runs)
}

pub(super) async fn similar_address(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (_, epoch, next) = standing(rig).await?;
    let account = rig.sandbox().account();
    // On an interface of the next holder's network, as a second one of that instance would be.
    let subnet = &rig.sandbox().world().instances[next].subnet;
    let made = account.call("ec2", "create_network_interface", &json!({"SubnetId": subnet}))?;
    // Of the two texts one is the beginning of the other.
    let [a, b, c, last] = rig.registration().resources.addresses[0].public_ip.octets();
    let last = if last <= 25 { last * 10 } else { last / 10 };
    let public_ip = std::net::Ipv4Addr::new(a, b, c, last).to_string();
    let similar = account.call("ec2", "allocate_address", &json!({"Domain": "vpc", "Address": public_ip}))?;
    if similar["PublicIp"] != public_ip.as_str() {
        return Err(format!("asked for {public_ip}, found {similar}").into());
    }
    let parameters = json!({
        "AllocationId": similar["AllocationId"], "NetworkInterfaceId": made["NetworkInterface"]["NetworkInterfaceId"],
    });
    account.call("ec2", "associate_address", &parameters)?;
    take_over(rig, next).await?;
    let addresses = rig.sandbox().account().addresses()?;
    let stays = addresses.iter().find(|seen| similar["AllocationId"] == seen.allocation.as_str());
    let stays = stays.and_then(|seen| seen.interface.clone()).unwrap_or_default();
    let there = made["NetworkInterface"]["NetworkInterfaceId"].as_str().unwrap_or_default();
    Ok(and(whole(rig, next, epoch + 1).await?, "the other address at", there, stays))
}

/// The second table cannot be changed; returns the picture expected while that is so.
async fn with_a_denied_table(rig: &mut Rig) -> Result<(usize, u64, Seen), Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let table = rig.registration().resources.routes[1].table.to_string();
    let denied =
        ["ReplaceRoute", "CreateRoute"].map(|call| Ec2Fault::on(call, Ec2Trouble::Deny).about(&table));
    rig.sandbox().moto().set_faults(&denied)?;
    rig.claim(next).await?;
    rig.wake("claim").await;
    let [here, there] = [holder, next].map(|n| rig.registration().members[n].node.to_string());
    let tables = rig.sandbox().account().routes(&rig.sandbox().world().destination)?;
    let routes: Vec<_> = tables
        .iter()
        .map(|seen| if seen.route_table == table { here.clone() } else { there.clone() })
        .collect();
    let expected = format!(
        "{there} holds epoch {}, moved {epoch}; addresses at {there}; routes at {}",
        epoch + 1,
        routes.join(" ")
    );
    Ok((next, epoch + 1, Seen { expected, observed: rig.picture().await? }))
}

pub(super) async fn one_table_denied(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (next, epoch, partial) = with_a_denied_table(rig).await?;
    rig.sandbox().moto().set_faults(&[])?;
    rig.beat(&[0, 1, 2], None).await?;
    rig.wake("sweep").await;
    let seen = whole(rig, next, epoch).await?;
    Ok(and(seen, "before the permission was there", partial.expected, partial.observed))
}

pub(super) async fn stale_answers(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (_, epoch, next) = standing(rig).await?;
    let from = rig.history().await?.len();
    rig.sandbox().moto().set_faults(&[Ec2Fault::on("DescribeRouteTables", Ec2Trouble::Stale).times(4)])?;
    take_over(rig, next).await?;
    let seen = whole(rig, next, epoch + 1).await?;
    let routes = rig.registration().resources.routes.len();
    let steps =
        told(rig, from, |what| matches!(what, Happening::Step { call, .. } if call == "ReplaceRoute"));
    Ok(and(seen, "ReplaceRoute was called", routes, steps.await?))
}

pub(super) async fn failure_is_told(rig: &mut Rig) -> Result<Seen, Trouble> {
    let from = rig.history().await?.len();
    let (_, _, partial) = with_a_denied_table(rig).await?;
    let named = told(
        rig,
        from,
        |what| matches!(what, Happening::Stuck { why, .. } if why.contains("UnauthorizedOperation")),
    );
    let named = named.await?;
    Ok(and(partial, "failures told with EC2's own code", 1, named))
}

pub(super) async fn nothing_goes_back(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (_, _, mut seen) = with_a_denied_table(rig).await?;
    let expected = seen.expected.clone();
    for why in ["sweep", "continue", "verify", "claim"] {
        rig.beat(&[0, 1, 2], None).await?;
        rig.wake(why).await;
        seen = and(seen, &format!("after {why}"), &expected, rig.picture().await?);
    }
    Ok(seen)
}

pub(super) async fn both_down(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    rig.claim_long_ago(next).await?;
    let mut seen = whole(rig, holder, epoch).await?;
    for _ in 0..2 {
        rig.wake("claim").await;
        let again = whole(rig, holder, epoch).await?;
        seen = and(seen, "again", again.expected, again.observed);
    }
    Ok(seen)
}

pub(super) async fn throttled_association(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (_, epoch, next) = standing(rig).await?;
    rig.sandbox().moto().set_faults(&[Ec2Fault::on("AssociateAddress", Ec2Trouble::Throttle).times(5)])?;
    let runs = take_over(rig, next).await?;
    Ok(and(whole(rig, next, epoch + 1).await?, "runs", 1, runs))
}

pub(super) async fn throttled_everything(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (_, epoch, next) = standing(rig).await?;
    let faults = CHANGES.map(|action| Ec2Fault::on(action, Ec2Trouble::Throttle).times(6));
    rig.sandbox().moto().set_faults(&faults)?;
    let runs = take_over(rig, next).await?;
    Ok(and(whole(rig, next, epoch + 1).await?, "runs", 1, runs))
}

pub(super) async fn throttled_looks(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, _) = standing(rig).await?;
    let from = rig.history().await?.len();
    let looks =
        ["DescribeInstances", "DescribeAddresses", "DescribeRouteTables", "DescribeNetworkInterfaces"];
    rig.sandbox()
        .moto()
        .set_faults(&looks.map(|action| Ec2Fault::on(action, Ec2Trouble::Throttle).times(3)))?;
    let detail = json!({ "instance-id": rig.node(holder).instance_id(), "state": "stopping" });
    rig.send(bus_event("aws.ec2", "EC2 Instance State-change Notification", &detail)).await;
    rig.wake("verify").await;
    let seen = whole(rig, holder, epoch).await?;
    Ok(and(seen, "rows of history", 0, told(rig, from, |_| true).await?))
}

pub(super) async fn lost_answers(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (_, epoch, next) = standing(rig).await?;
    let lose = |action| Ec2Fault::on(action, Ec2Trouble::Lose).times(1);
    rig.sandbox().moto().set_faults(&[lose("DisassociateAddress"), lose("ReplaceRoute")])?;
    take_over(rig, next).await?;
    whole(rig, next, epoch + 1).await
}

pub(super) async fn terminated(rig: &mut Rig) -> Result<Seen, Trouble> {
    let (holder, epoch, next) = standing(rig).await?;
    let id = rig.node(holder).instance_id();
    rig.sandbox().account().terminate_instance(id.as_str())?;
    rig.beat(&[next], None).await?;
    let detail = json!({ "instance-id": id, "state": "shutting-down" });
    let event: Value = bus_event("aws.ec2", "EC2 Instance State-change Notification", &detail);
    let from = rig.history().await?.len();
    for _ in 0..3 {
        rig.send(event.clone()).await;
    }
    let fences =
        told(rig, from, |what| matches!(what, Happening::Step { call, .. } if call == "StopInstances"));
    Ok(and(whole(rig, next, epoch + 1).await?, "calls to fence what is gone", 0, fences.await?))
}
