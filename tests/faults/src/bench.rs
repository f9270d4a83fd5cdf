//! What a move costs: calls, how many of them one after the other, time and processor time of the function.

use std::path::Path;
use std::time::Duration;

use baton_sandbox::moto::{Ec2Call, Ec2Fault};
use serde::Serialize;

use crate::rig::{Rig, Size, Trouble};

/// The sizes that are measured.
pub const CASES: [(&str, Size); 5] = [
    ("1 address", Size { addresses: 1, tables: 0 }),
    ("1 address, 1 table", Size { addresses: 1, tables: 1 }),
    ("1 address, 2 tables", Size { addresses: 1, tables: 2 }),
    ("1 address, 10 tables", Size { addresses: 1, tables: 10 }),
    ("10 addresses, 10 tables", Size { addresses: 10, tables: 10 }),
];

/// How long EC2 takes in each region, by what others have measured: the slow half of it.
const DELAYS: [(&str, u32); 7] = [
    ("DescribeAddresses", 120),
    ("DescribeRouteTables", 120),
    ("DescribeNetworkInterfaces", 120),
    ("DisassociateAddress", 460),
    ("AssociateAddress", 460),
    ("ReplaceRoute", 156),
    ("ModifyNetworkInterfaceAttribute", 156),
];

/// One case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What moves.
    pub case: &'static str,
    /// Whether EC2 was slowed down.
    pub ec2_delays: bool,
    /// Requests to EC2 in one failover.
    pub ec2_calls: usize,
    /// Of those that change something, the longest row of which each began after the one before had ended; counted while
    /// EC2 is slow, so that what can be side by side is.
    pub ec2_sequential: usize,
    /// Requests to the table.
    pub dynamodb_calls: usize,
    /// From the start of the program to its answer, in milliseconds.
    pub wall_cold_ms: f64,
    /// From the event to the answer, of a program that runs; the median.
    pub wall_warm_ms: f64,
    /// The processor time of the first, in milliseconds.
    pub cpu_cold_ms: f64,
    /// And of the second; the median.
    pub cpu_warm_ms: f64,
}

/// Measures one case.
pub async fn measure(
    case: &'static str,
    size: Size,
    ec2_delays: bool,
    programs: &Path,
    runs: usize,
) -> Result<Row, Trouble> {
    let mut rig = Rig::start(size, programs.to_owned()).await?;
    rig.wake("registered").await;
    if ec2_delays {
        let slow: Vec<_> = DELAYS.iter().map(|(action, delay)| Ec2Fault::slow(action, *delay)).collect();
        rig.sandbox().moto().set_faults(&slow)?;
    }
    // The node that takes over has its source/destination check off after its first time.
    for next in [1, 0] {
        fail_over(&mut rig, next).await?;
    }
    rig.claim(1).await?;
    rig.start_cold().await?;
    rig.wake("claim").await;
    let (wall_cold, cpu_cold) = (rig.arbiter().age(), rig.arbiter().cpu());
    is_whole(&rig, 1).await?;
    let mut warm = Vec::new();
    for n in 0..runs {
        warm.push(fail_over(&mut rig, n % 2).await?);
    }
    let median = |of: fn(&Moved) -> Duration| {
        let mut all: Vec<_> = warm.iter().map(of).collect();
        all.sort_unstable();
        milliseconds(all.get(all.len() / 2).copied().unwrap_or_default())
    };
    let most = |of: fn(&Moved) -> usize| warm.iter().map(of).max().unwrap_or_default();
    Ok(Row {
        case,
        ec2_delays,
        ec2_calls: most(|moved| moved.calls.len()),
        ec2_sequential: most(|moved| sequential(&moved.calls)),
        dynamodb_calls: most(|moved| moved.table_requests),
        wall_cold_ms: milliseconds(wall_cold),
        wall_warm_ms: median(|moved| moved.wall),
        cpu_cold_ms: milliseconds(cpu_cold),
        cpu_warm_ms: median(|moved| moved.cpu),
    })
}

/// One failover.
#[derive(Debug)]
struct Moved {
    calls: Vec<Ec2Call>,
    table_requests: usize,
    wall: Duration,
    cpu: Duration,
}

async fn fail_over(rig: &mut Rig, next: usize) -> Result<Moved, Trouble> {
    rig.claim(next).await?;
    let (calls, requests) = (rig.sandbox().moto().calls()?.len(), rig.table_requests());
    let invoked = rig.wake("claim").await;
    is_whole(rig, next).await?;
    Ok(Moved {
        calls: rig.sandbox().moto().calls()?.split_off(calls),
        table_requests: rig.table_requests() - requests,
        wall: invoked.wall,
        cpu: invoked.cpu,
    })
}

/// What did not move was not measured.
async fn is_whole(rig: &Rig, at: usize) -> Result<(), Trouble> {
    let (expected, found) = (rig.whole_at(at, rig.lease().await?.epoch.0), rig.picture().await?);
    if expected == found { Ok(()) } else { Err(format!("expected {expected}, found {found}").into()) }
}

/// The longest row of changes of which each began after the one before had ended.
fn sequential(calls: &[Ec2Call]) -> usize {
    let mut changes: Vec<_> = calls.iter().filter(|call| call.changes()).collect();
    changes.sort_by(|a, b| a.ended.total_cmp(&b.ended));
    let (mut rows, mut last) = (0, f64::NEG_INFINITY);
    // The one that ends first leaves the most room for those after it.
    for call in changes {
        if call.begun >= last {
            rows += 1;
            last = call.ended;
        }
    }
    rows
}

fn milliseconds(length: Duration) -> f64 {
    (length.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(action: &str, begun: f64, ended: f64) -> Ec2Call {
        Ec2Call { action: action.to_owned(), begun, ended, fault: None }
    }

    #[test]
    fn calls_side_by_side_are_no_row_and_looks_are_none_either() {
        assert_eq!(sequential(&[]), 0);
        let all = [
            call("DescribeAddresses", 0.0, 0.5),
            call("DisassociateAddress", 0.6, 1.0),
            call("ReplaceRoute", 0.6, 1.4),
            call("ReplaceRoute", 0.6, 1.3),
            call("AssociateAddress", 1.1, 1.5),
            call("DescribeAddresses", 1.6, 1.7),
        ];
        assert_eq!(sequential(&all), 2);
        assert_eq!(sequential(&all[..4]), 1);
    }
}
