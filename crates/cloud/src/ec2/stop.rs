//! Stopping an instance: at once, and without waiting for its system, which may hang for the very reason that it is stopped.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::InstanceStateName;
use baton_protocol::ec2::{CloudFailure, Effect};
use baton_protocol::ids::InstanceId;

use super::{Mode, asked_for};
use crate::error::{failure, unreadable};

const STOP: &str = "StopInstances";

/// Stops an instance. EC2 takes the call for one that is stopped, too, and does nothing then.
///
/// `Force` has it stop although its system does not; `SkipOsShutdown` has EC2 not wait for that system at all. What was not
/// written to its disks is lost, as with a power cut.
pub(super) async fn stop(client: &Client, instance: &InstanceId, mode: Mode) -> Result<Effect, CloudFailure> {
    let answer = client
        .stop_instances()
        .instance_ids(instance.as_str())
        .force(true)
        .skip_os_shutdown(true)
        .set_dry_run(mode.dry_run())
        .send()
        .await
        .map_err(|error| failure(STOP, error))?;
    let asked = std::slice::from_ref(instance);
    let row =
        answer.stopping_instances().iter().find(|row| asked_for(STOP, asked, row.instance_id()).is_some());
    let row = row.ok_or_else(|| unreadable(STOP, format_args!("{instance} is not in the answer")))?;
    let before = row.previous_state().and_then(|state| state.name());
    Ok(Effect::Stopping { began: before == Some(&InstanceStateName::Running) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::canned::{Canned, error_body};

    const INSTANCE: &str = "i-0123456789abcdef0";

    fn id() -> InstanceId {
        InstanceId::new(INSTANCE).expect("valid")
    }

    fn body(id: &str, before: &str) -> String {
        format!(
            "<StopInstancesResponse><instancesSet><item><instanceId>{id}</instanceId>\
             <currentState><code>64</code><name>stopping</name></currentState>\
             <previousState><code>16</code><name>{before}</name></previousState></item></instancesSet>\
             </StopInstancesResponse>"
        )
    }

    #[tokio::test]
    async fn it_is_stopped_by_force_and_its_system_is_not_waited_for() {
        for (before, began) in [("running", true), ("stopping", false), ("stopped", false)] {
            let canned = Canned::answers([(200, body(INSTANCE, before))]);
            let effect = stop(&canned.client(), &id(), Mode::InEarnest).await;
            assert_eq!(effect, Ok(Effect::Stopping { began }));
            let request = &canned.requests()[0];
            let given: Vec<_> = request.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!(
                given,
                [
                    ("Action", STOP),
                    ("Force", "true"),
                    ("InstanceId.1", INSTANCE),
                    ("SkipOsShutdown", "true"),
                    ("Version", "2016-11-15"),
                ]
            );
        }
    }

    #[tokio::test]
    async fn an_answer_about_another_instance_says_nothing_and_a_refusal_is_one() {
        let canned = Canned::answers([(200, body("i-0123456789abcdef1", "running"))]);
        let found = stop(&canned.client(), &id(), Mode::InEarnest).await;
        assert!(matches!(found, Err(CloudFailure::Unknown(_))), "{found:?}");
        let refusal = error_body(
            "IncorrectInstanceState",
            "This instance is not in a state from which it can be stopped.",
        );
        let canned = Canned::answers([(400, refusal)]);
        let found = stop(&canned.client(), &id(), Mode::InEarnest).await;
        assert!(
            matches!(found, Err(CloudFailure::Refused(why)) if why.starts_with("IncorrectInstanceState"))
        );
    }
}
