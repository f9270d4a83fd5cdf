//! The measurement itself, in small, on the agent as tests build it: that it comes to an end, and what holds on any machine.

use baton_bench::agent::{Options, Report, measure};
use baton_sandbox::binaries::Binaries;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_soak_ends_with_no_call_to_ec2_two_requests_a_heartbeat_and_a_release_within_one() {
    let binaries = Binaries::build(&mut |_| ()).expect("the programs are built");
    let options = Options { programs: binaries.directory().to_owned(), beats: 40, clusters: 2 };
    // The write and one read; a third request for each heartbeat would be three.
    let few_requests = |report: &Report| (1.8..2.5).contains(&report.table_requests_per_beat);
    // A release takes a tenth of a heartbeat. A machine that stands still meanwhile for the rest of it shows nothing, nor does one
    // that does so until a check or a read has failed: once more.
    let mut last = None;
    for _ in 0..3 {
        match measure(&options, &mut |line| eprintln!("{line}")).await {
            Ok(report) => {
                assert_eq!(report.ec2_calls, 0);
                let shows = report.check_to_release_beats <= 1.0 && few_requests(&report);
                last = Some(report);
                if shows {
                    break;
                }
            }
            Err(error) => assert!(error.to_string().starts_with("in vain until"), "{error}"),
        }
    }
    let report = last.expect("measured");
    assert!(few_requests(&report), "{report:?}");
    assert!(report.beats >= 40 && report.cpu_ms_per_beat > 0.0 && report.rss_mb > 1.0, "{report:?}");
    assert!(report.check_to_release_beats <= 1.0, "{report:?}");
    assert!(report.ratios.beats_per_aws_cli_call > 1.0, "{report:?}");
}
