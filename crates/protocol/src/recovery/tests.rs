use super::*;
use crate::time::WallTime;

const LIMIT: Limit = Limit { times: 2, within: Duration::from_secs(60) };
const JUDGING: Duration = Duration::from_secs(8);

fn at(seconds: u64) -> Now {
    Now { boot: BootTime(seconds * 1_000_000_000), wall: WallTime(1_000_000 + seconds * 1_000) }
}

fn bad() -> Said {
    Said::Bad("web: no answer".to_owned())
}

fn fresh() -> LocalRecovery {
    LocalRecovery::new(LIMIT, JUDGING)
}

/// One that began at this second and whose hook was done a second later.
fn judging(from: u64) -> LocalRecovery {
    let mut recovery = fresh();
    assert!(recovery.handle_said(at(from), &bad(), true));
    recovery.handle_ended(at(from + 1), None);
    recovery
}

/// Goes through a whole one that helps, from this second on; whether it was begun at all.
fn helped(recovery: &mut LocalRecovery, from: u64) -> bool {
    let begun = recovery.handle_said(at(from), &bad(), true);
    recovery.handle_ended(at(from + 1), None);
    recovery.handle_said(at(from + 2), &Said::Good, true);
    begun
}

fn last(recovery: &LocalRecovery) -> Recovery {
    recovery.kept().last().expect("one").clone()
}

fn failed(recovery: &LocalRecovery) -> String {
    last(recovery).ended.expect("ended").failed.expect("failed").to_string()
}

#[test]
fn only_a_bad_service_of_a_node_that_may_recover_is_recovered() {
    let mut recovery = fresh();
    assert!(!recovery.handle_said(at(1), &Said::Undecided, true));
    assert!(!recovery.handle_said(at(1), &Said::Good, true));
    assert!(!recovery.handle_said(at(1), &bad(), false), "it does not serve");
    assert_eq!((recovery.is_under_way(), recovery.given_up()), (false, None));
    assert!(recovery.handle_said(at(2), &bad(), true));
    assert!(recovery.is_running() && recovery.is_under_way());
    assert_eq!(last(&recovery).begun, at(2).wall);
    assert_eq!((last(&recovery).number, last(&recovery).what.as_str()), (1, "web: no answer"));
    assert!(!recovery.handle_said(at(3), &bad(), true), "one at a time");
    assert_eq!(recovery.kept().count(), 1);
}

#[test]
fn a_recovery_that_helps_ends_when_every_check_is_good() {
    let mut recovery = judging(2);
    assert!(!recovery.is_running() && recovery.is_under_way());
    assert!(!recovery.handle_said(at(4), &Said::Undecided, true));
    assert!(recovery.is_under_way());
    assert!(!recovery.handle_said(at(5), &Said::Good, true));
    assert!(!recovery.is_under_way());
    assert_eq!(last(&recovery).ended, Some(Ended { at: at(5).wall, failed: None }));
    assert_eq!(recovery.given_up(), None);
}

#[test]
fn a_recovery_that_does_not_help_is_the_last_until_the_service_has_been_well() {
    let mut recovery = judging(2);
    assert!(!recovery.handle_said(at(5), &bad(), true));
    assert_eq!(failed(&recovery), "still bad: web: no answer");
    for later in [6, 600, 86_400] {
        assert!(!recovery.handle_said(at(later), &bad(), true), "{later}");
        assert!(!recovery.handle_said(at(later), &Said::Undecided, true), "{later}");
    }
    assert!(recovery.given_up().is_some_and(|why| why.starts_with("local recovery failed: still bad")));
    recovery.handle_said(at(86_401), &Said::Good, true);
    assert!(recovery.handle_said(at(86_402), &bad(), true));
}

#[test]
fn a_hook_that_fails_has_recovered_nothing() {
    let mut recovery = fresh();
    recovery.handle_said(at(2), &bad(), true);
    recovery.handle_ended(at(3), Some("exit code 1"));
    assert_eq!((recovery.is_under_way(), failed(&recovery).as_str()), (false, "exit code 1"));
    assert!(!recovery.handle_said(at(4), &bad(), true));
    recovery.handle_ended(at(5), None);
    assert!(!recovery.is_under_way(), "the end of no hook begins nothing");
}

#[test]
fn what_is_neither_good_nor_bad_in_time_has_failed() {
    let mut recovery = judging(2);
    assert_eq!(recovery.next_deadline(), Some(at(3).boot + JUDGING));
    recovery.handle_timer(at(10));
    assert!(recovery.is_under_way());
    recovery.handle_timer(at(11));
    assert_eq!((recovery.is_under_way(), recovery.next_deadline()), (false, None));
    assert_eq!(failed(&recovery), "not every check was good in time");
    assert_eq!(fresh().next_deadline(), None, "a hook is limited by its own timeout");
}

#[test]
fn only_so_many_begin_within_so_long_whatever_came_of_them() {
    let mut recovery = fresh();
    assert!(helped(&mut recovery, 0));
    assert!(helped(&mut recovery, 30));
    assert!(!helped(&mut recovery, 59));
    assert_eq!(recovery.given_up(), None, "it was good again");
    assert!(!recovery.handle_said(at(59), &bad(), true));
    assert_eq!(recovery.given_up(), Some("2 local recoveries within 60 s"));
    assert_eq!(last(&recovery).number, 2, "one that was not begun is not told of");
    recovery.handle_said(at(59), &Said::Good, true);
    assert!(helped(&mut recovery, 60), "the first has left the window");
    assert!(!recovery.handle_said(at(89), &bad(), true));
}

#[test]
fn the_limit_counts_over_the_end_of_serving() {
    let mut recovery = fresh();
    for begin in [0, 5] {
        assert!(helped(&mut recovery, begin));
        recovery.handle_stopped(at(begin + 4));
    }
    assert!(!recovery.handle_said(at(20), &bad(), true));
}

#[test]
fn the_end_of_serving_ends_a_recovery_in_any_stage() {
    let mut running = fresh();
    running.handle_said(at(2), &bad(), true);
    for mut recovery in [running, judging(2)] {
        recovery.handle_stopped(at(4));
        assert!(!recovery.is_under_way());
        assert_eq!(failed(&recovery), "this node serves no longer");
        recovery.handle_ended(at(5), None);
        assert!(!recovery.is_under_way(), "the hook of another time");
        assert!(recovery.handle_said(at(6), &bad(), true), "the next service begins anew");
    }
    let mut ended = judging(2);
    ended.handle_said(at(4), &Said::Good, true);
    ended.handle_stopped(at(5));
    assert_eq!(last(&ended).ended, Some(Ended { at: at(4).wall, failed: None }), "an end stays as it was");
}

#[test]
fn while_it_is_under_way_nothing_is_known_and_a_check_that_it_cannot_mend_still_counts() {
    let mut recovery = fresh();
    for health in [Health::Ok, Health::Bad, Health::Unknown] {
        assert_eq!(recovery.health(health, Health::Ok), health);
    }
    recovery.handle_said(at(2), &bad(), true);
    for stage in 0..2 {
        for others in [Health::Ok, Health::Unknown] {
            assert_eq!(recovery.health(Health::Bad, others), Health::Unknown, "{stage}");
            assert_eq!(recovery.health(Health::Ok, others), Health::Unknown, "{stage}");
        }
        assert_eq!(recovery.health(Health::Bad, Health::Bad), Health::Bad, "{stage}");
        recovery.handle_ended(at(3), None);
    }
}

#[test]
fn what_was_given_up_is_bad_until_it_is_good() {
    let mut recovery = fresh();
    recovery.handle_said(at(2), &bad(), true);
    recovery.handle_ended(at(3), Some("exit code 1"));
    assert_eq!(recovery.health(Health::Ok, Health::Ok), Health::Bad, "the checks began anew");
    recovery.handle_said(at(4), &Said::Undecided, true);
    assert_eq!(recovery.health(Health::Ok, Health::Ok), Health::Bad);
    recovery.handle_said(at(5), &Said::Good, true);
    assert_eq!(recovery.health(Health::Ok, Health::Ok), Health::Ok);
}

#[test]
fn the_last_few_are_kept_for_whoever_looks_seldom() {
    let mut recovery = LocalRecovery::new(Limit { times: 10, within: Duration::from_secs(60) }, JUDGING);
    for begin in 0..5 {
        assert!(helped(&mut recovery, 3 * begin));
    }
    let numbers: Vec<_> = recovery.kept().map(|recovery| recovery.number).collect();
    assert_eq!(numbers, [3, 4, 5]);
}
