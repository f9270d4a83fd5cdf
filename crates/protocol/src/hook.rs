//! A termination that waits at a lifecycle hook of Auto Scaling, until the instance has nothing of a cluster any more.
//!
//! [Auto Scaling](https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks.html) tells of it once, waits as long as the hook
//! says, and goes on at once when it is told to. It is told so once every cluster of the instance has gone elsewhere, addresses
//! included; or once nobody could take over for as long as a hand-over was asked for: the termination comes in any case,
//! and whoever waits longer pays for it.

use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;
use crate::lease::{Lease, LeaseState};
use crate::time::WallTime;

/// The longest name of a group or a hook, in characters.
const LONGEST: usize = 255;
/// What the name of a hook begins with that is for Baton. A group can have others, which other programs wait for and let go.
pub const PREFIX: &str = "baton";
/// Nothing can be made to wait longer, in seconds: two days.
pub const FORGOTTEN_S: u64 = 48 * 60 * 60;

/// A termination that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The instance that will be terminated.
    pub instance: InstanceId,
    /// Its group.
    pub group: String,
    /// The name of the hook.
    pub name: String,
    /// Which of its actions.
    pub token: String,
    /// Until when a hand-over is waited for.
    pub until: WallTime,
    /// What became of it; none: it waits still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl Hook {
    /// A termination as an event tells of it. The error is what was expected and found.
    pub fn new(
        instance: InstanceId,
        group: String,
        name: String,
        token: String,
        until: WallTime,
    ) -> Result<Self, String> {
        for (what, text) in [("group", &group), ("hook", &name)] {
            let long = text.chars().count();
            if long == 0 || long > LONGEST {
                return Err(format!(
                    "expected the name of a {what} of 1 to {LONGEST} characters, found {long}"
                ));
            }
        }
        if !name.starts_with(PREFIX) {
            return Err(format!("expected a hook whose name begins with `{PREFIX}`, which this is not for"));
        }
        let is_token = token.len() == 36 && token.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if !is_token {
            return Err("expected the token of a lifecycle action, 36 characters of a UUID".to_owned());
        }
        Ok(Self { instance, group, name, token, until, ended: None })
    }

    /// Why Auto Scaling may go on, if it may. `leases` are those of every cluster that the instance is a member of.
    pub fn may_go_on(&self, leases: &[Lease], now: WallTime) -> Option<&'static str> {
        let holds = |lease: &&Lease| {
            let holder = lease.holder.as_ref().map(crate::ids::InstanceArn::instance_id);
            // The addresses may be at the instance until the move is recorded.
            let elsewhere =
                holder.is_some_and(|holder| holder != self.instance) && lease.moved == lease.epoch;
            lease.state == LeaseState::Active && !elsewhere
        };
        if leases.iter().find(holds).is_none() {
            return Some("the instance has nothing of a cluster");
        }
        (now >= self.until).then_some("nobody could take over in time")
    }

    /// Whether it still waits, as far as is known. After two days nothing does, whatever could not be said to Auto Scaling.
    pub fn is_open(&self, now: WallTime) -> bool {
        self.ended.is_none() && now.since(self.until).as_secs() < FORGOTTEN_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::testing::{arn, lease};

    const UNTIL: WallTime = WallTime(600_000);

    fn hook(n: u8) -> Hook {
        let token = "87654321-4321-4321-4321-210987654321".to_owned();
        Hook::new(arn(n).instance_id(), "asg".to_owned(), "baton-drain".to_owned(), token, UNTIL)
            .expect("valid")
    }

    #[test]
    fn a_termination_waits_while_its_instance_has_anything_and_no_longer_than_a_hand_over() {
        let early = WallTime(UNTIL.0 - 1);
        assert_eq!(hook(1).may_go_on(&[lease()], early), None, "it holds");
        assert!(hook(1).may_go_on(&[lease()], UNTIL).is_some_and(|why| why.contains("nobody")));
        assert!(hook(2).may_go_on(&[lease()], early).is_some(), "another holds");
        let moving = Lease { epoch: Epoch(2), ..lease() };
        assert_eq!(hook(2).may_go_on(&[moving], early), None, "the addresses may still be there");
        let vacant = Lease { holder: None, ..lease() };
        assert_eq!(
            hook(2).may_go_on(&[vacant], early),
            None,
            "nobody holds, and so nobody has the addresses"
        );
        let retired = Lease { state: LeaseState::Retired, ..lease() };
        assert!(hook(1).may_go_on(&[retired], early).is_some());
        assert_eq!(hook(1).may_go_on(&[lease(), lease()], early), None, "of several clusters each counts");
        assert!(hook(1).may_go_on(&[], early).is_some());
    }

    #[test]
    fn what_has_ended_or_is_long_over_is_open_no_more() {
        let over = WallTime(UNTIL.0 + FORGOTTEN_S * 1_000);
        assert!(hook(1).is_open(WallTime(over.0 - 1)) && !hook(1).is_open(over));
        assert!(!Hook { ended: Some("over".to_owned()), ..hook(1) }.is_open(UNTIL));
    }

    #[test]
    fn what_is_no_name_or_no_token_is_refused() {
        let made = |group: &str, name: &str, token: &str| {
            Hook::new(arn(1).instance_id(), group.to_owned(), name.to_owned(), token.to_owned(), UNTIL)
        };
        let token = "87654321-4321-4321-4321-210987654321";
        assert!(made("asg", "baton-drain", token).is_ok());
        assert!(made("die große\tGruppe", "baton", token).is_ok());
        let long = "x".repeat(256);
        let refused = [
            ("", "baton", token),
            ("asg", "", token),
            (&*long, "baton", token),
            ("asg", "drain-logs", token),
            ("asg", "baton", "x"),
        ];
        for (group, name, token) in refused {
            assert!(made(group, name, token).is_err(), "{group:.9} {name} {token}");
        }
    }
}
