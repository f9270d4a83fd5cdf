//! Metrics, written as a line of the log in CloudWatch's
//! [embedded metric format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html):
//! they need no call, no permission and no time, and the line says what the numbers are about.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Map, Value, json};

/// Under which all metrics stand.
pub const NAMESPACE: &str = "Baton";
/// Their only dimension: the control plane's name. What they are about of one cluster is in the line itself, since each
/// value of a dimension is a metric that is paid for.
pub const DIMENSION: &str = "ControlPlane";

/// The metric of requests that EC2 has throttled.
pub const THROTTLED: &str = "Throttled";

/// A line with these counts, and with more to read beside them.
pub fn line(control_plane: &str, at_ms: u64, counts: &[(&str, u64)], about: Value) -> Value {
    let metrics: Vec<_> = counts.iter().map(|(name, _)| json!({"Name": name, "Unit": "Count"})).collect();
    let mut line = Map::new();
    line.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": at_ms,
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": metrics}],
        }),
    );
    line.insert(DIMENSION.to_owned(), json!(control_plane));
    line.extend(counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))));
    line.insert("about".to_owned(), about);
    // Lambda keeps lines from its log that are below the function's level, and takes a line for INFO that has no level, or no
    // timestamp as in RFC 3339.
    // <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>
    line.insert("timestamp".to_owned(), json!(rfc3339(at_ms)));
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").unwrap_or_else(|_| "INFO".to_owned());
    line.insert("level".to_owned(), json!(level));
    Value::Object(line)
}

/// How many requests EC2 has throttled, and by the action which; none: it has throttled none.
pub fn throttled(control_plane: &str, at_ms: u64, requests: &BTreeMap<&'static str, u64>) -> Option<Value> {
    let all = requests.values().sum();
    (all > 0).then(|| line(control_plane, at_ms, &[(THROTTLED, all)], json!({ "actions": requests })))
}

/// A moment beyond the calendar is none that a clock shows.
fn rfc3339(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    format!("{:.3}", at.unwrap_or_default())
}

/// Writes a line to standard output, where Lambda reads it. A line that cannot be written is no reason to fail: whoever
/// reads the metric learns of its absence.
pub fn emit(line: &Value) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttled_requests_are_summed_and_named_and_none_are_no_line() {
        assert_eq!(throttled("baton", 7, &BTreeMap::new()), None);
        let requests = BTreeMap::from([("ec2:DescribeAddresses", 2), ("ec2:DescribeInstances", 1)]);
        let line = throttled("baton", 7, &requests).expect("a line");
        assert_eq!((&line["Throttled"], &line["ControlPlane"]), (&json!(3), &json!("baton")));
        assert_eq!(line["about"]["actions"], json!(requests));
    }

    #[test]
    fn a_line_declares_each_count_that_it_holds() {
        let line =
            line("baton", 1_800_000_000_000, &[("Clusters", 3), ("Unprotected", 1)], json!({"a": ["b"]}));
        let declared = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(declared["Dimensions"], json!([["ControlPlane"]]));
        for metric in declared["Metrics"].as_array().expect("a list") {
            assert!(line[metric["Name"].as_str().expect("a name")].is_u64(), "{line}");
        }
        assert_eq!((&line["Unprotected"], &line["ControlPlane"]), (&json!(1), &json!("baton")));
        assert_eq!(
            (&line["_aws"]["Timestamp"], &line["about"]),
            (&json!(1_800_000_000_000_u64), &json!({"a": ["b"]}))
        );
    }

    #[test]
    fn a_line_has_a_level_and_a_moment_that_lambda_reads_or_it_would_count_as_info_and_be_dropped() {
        let line = line("baton", 1_800_000_000_123, &[], json!({}));
        assert_eq!(
            (&line["level"], &line["timestamp"]),
            (&json!("INFO"), &json!("2027-01-15T08:00:00.123Z"))
        );
        assert_eq!(rfc3339(u64::MAX), "1970-01-01T00:00:00.000Z");
    }
}
