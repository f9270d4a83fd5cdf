//! What CloudWatch and CloudTrail say: alarms that act on instances, the use of metadata without a token, and trails.

use std::collections::{BTreeMap, BTreeSet};

use baton_doctor::survey::{AlarmDetail, TokenUse, TrailDetail};
use baton_protocol::ids::InstanceId;
use baton_protocol::time::WallTime;
use serde_json::{Value, json};

use super::{Answer, PAGES, unreadable};
use crate::signed::{Operation, Signed};

/// Two weeks, over which nothing should have asked without a token before one is required.
const TWO_WEEKS_S: u64 = 14 * 86_400;
/// One sum an hour: 336 are fewer than the 1,440 that one answer may have, and an hour without any shows that the instance did not
/// run, which a sum of nothing would hide.
const HOUR_S: u64 = 3_600;
/// The actions of an alarm that restart an instance or move it to other hardware, at the end of their names.
const RESTARTS: [&str; 4] = [":ec2:recover", ":ec2:reboot", ".Reboot/1.0", ".Recover/1.0"];
/// More trails than a region may have (five) and an organization shows.
const MOST_TRAILS: usize = 50;

/// The two services.
pub(super) struct Watch<'a> {
    pub(super) signed: &'a Signed,
    pub(super) region: &'a str,
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Watch<'_> {
    /// The alarms that restart or move one of these instances.
    pub(super) async fn alarms(&self, ids: &[InstanceId]) -> Answer<Vec<AlarmDetail>> {
        let mut found = Vec::new();
        let mut token = None;
        for _ in 0..PAGES {
            let mut asked = json!({ "AlarmTypes": ["MetricAlarm"], "MaxRecords": 100 });
            if let Some(token) = token {
                asked["NextToken"] = token;
            }
            let answer = self.signed.ask(Operation::DescribeAlarms, &asked).await?;
            found.extend(list(&answer["MetricAlarms"]).iter().filter_map(|row| alarm(row, ids)));
            token = Some(answer["NextToken"].clone()).filter(Value::is_string);
            if token.is_none() {
                return Ok(found);
            }
        }
        Err(unreadable(Operation::DescribeAlarms.action(), "too many pages"))
    }

    /// How often each instance has asked its metadata without a token, and of which time that is known.
    pub(super) async fn without_token(
        &self,
        ids: &[InstanceId],
        now: WallTime,
    ) -> Answer<BTreeMap<InstanceId, TokenUse>> {
        let mut found = BTreeMap::new();
        // By whole hours, so that each sum is of one.
        let end = now.0 / 1_000 / HOUR_S * HOUR_S;
        for id in ids {
            let asked = json!({
                "Namespace": "AWS/EC2",
                "MetricName": "MetadataNoToken",
                "Dimensions": [{ "Name": "InstanceId", "Value": id.as_str() }],
                "StartTime": end.saturating_sub(TWO_WEEKS_S),
                "EndTime": end,
                "Period": HOUR_S,
                "Statistics": ["Sum"],
            });
            let answer = self.signed.ask(Operation::GetMetricStatistics, &asked).await?;
            found.insert(id.clone(), token_use(&answer));
        }
        Ok(found)
    }

    /// The trails that record this region.
    pub(super) async fn trails(&self) -> Answer<Vec<TrailDetail>> {
        let answer =
            self.signed.ask(Operation::DescribeTrails, &json!({ "includeShadowTrails": true })).await?;
        let mut found = Vec::new();
        for row in list(&answer["trailList"]).iter().take(MOST_TRAILS) {
            let here = row["HomeRegion"].as_str().is_none_or(|home| home == self.region);
            if !here && row["IsMultiRegionTrail"] != Value::Bool(true) {
                continue;
            }
            let arn = row["TrailARN"].as_str().or_else(|| row["Name"].as_str()).unwrap_or_default();
            let status = self.signed.ask(Operation::GetTrailStatus, &json!({ "Name": arn })).await?;
            let selectors =
                self.signed.ask(Operation::GetEventSelectors, &json!({ "TrailName": arn })).await?;
            found.push(TrailDetail {
                name: text(&row["Name"]),
                logging: status["IsLogging"] == Value::Bool(true),
                changes: records_changes(&selectors),
            });
        }
        Ok(found)
    }
}

/// What the sums of two weeks say. Each hour has one, if the instance has run in it.
fn token_use(answer: &Value) -> TokenUse {
    let points = list(&answer["Datapoints"]);
    // A moment is a number, or a text in some stand-ins; only that it differs from the others counts.
    let sums =
        points.iter().filter_map(|point| Some((point["Timestamp"].to_string(), point["Sum"].as_f64()?)));
    let (mut told, mut sum) = (BTreeSet::new(), 0.0_f64);
    for (at, calls) in sums.filter(|(at, _)| at != "null") {
        told.insert(at);
        sum += calls;
    }
    // A count: whole, and not below nothing. Any part of a call is one.
    let calls = sum.max(0.0).ceil() as u64;
    TokenUse { calls, untold: (TWO_WEEKS_S / HOUR_S).saturating_sub(told.len() as u64) }
}

fn alarm(row: &Value, ids: &[InstanceId]) -> Option<AlarmDetail> {
    let dimension = list(&row["Dimensions"]).iter().find(|dimension| dimension["Name"] == "InstanceId")?;
    let instance: InstanceId = dimension["Value"].as_str()?.parse().ok()?;
    let actions: Vec<String> = list(&row["AlarmActions"])
        .iter()
        .filter_map(Value::as_str)
        .filter(|action| RESTARTS.iter().any(|end| action.ends_with(end)))
        .map(str::to_owned)
        .collect();
    let acts = row["ActionsEnabled"] != Value::Bool(false) && !actions.is_empty();
    (acts && ids.contains(&instance)).then(|| AlarmDetail {
        name: text(&row["AlarmName"]),
        instance,
        actions,
    })
}

/// Whether management events are recorded that change something. A trail without selectors records all of them.
fn records_changes(selectors: &Value) -> bool {
    let (plain, advanced) = (list(&selectors["EventSelectors"]), list(&selectors["AdvancedEventSelectors"]));
    if plain.is_empty() && advanced.is_empty() {
        return true;
    }
    let plain = plain.iter().any(|selector| {
        selector["IncludeManagementEvents"] != Value::Bool(false) && selector["ReadWriteType"] != "ReadOnly"
    });
    let field = |selector: &Value, name: &str, value: &str| {
        list(&selector["FieldSelectors"])
            .iter()
            .filter(|field| field["Field"] == name)
            .any(|field| list(&field["Equals"]).iter().any(|found| found == value))
    };
    plain
        || advanced.iter().any(|selector| {
            field(selector, "eventCategory", "Management") && !field(selector, "readOnly", "true")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_counts_that_restarts_one_of_the_nodes() {
        let ids = [InstanceId::new("i-0123456789abcdef0").expect("valid")];
        let row = |instance: &str, action: &str, enabled: bool| {
            json!({
                "AlarmName": "a", "ActionsEnabled": enabled, "AlarmActions": [action],
                "Dimensions": [{ "Name": "InstanceId", "Value": instance }],
            })
        };
        let ours = "i-0123456789abcdef0";
        let recover = "arn:aws:automate:eu-west-1:ec2:recover";
        assert!(alarm(&row(ours, recover, true), &ids).is_some());
        assert!(alarm(&row(ours, recover, false), &ids).is_none());
        assert!(alarm(&row("i-0123456789abcdef1", recover, true), &ids).is_none());
        assert!(alarm(&row(ours, "arn:aws:sns:eu-west-1:123456789012:ec2", true), &ids).is_none());
    }

    #[test]
    fn an_hour_without_a_sum_is_one_of_which_nothing_is_known() {
        let answer = |hours: u64, sum: f64| {
            let points: Vec<Value> =
                (0..hours).map(|hour| json!({ "Timestamp": (hour * HOUR_S) as f64, "Sum": sum })).collect();
            token_use(&json!({ "Datapoints": points }))
        };
        assert_eq!(answer(336, 0.0), TokenUse { calls: 0, untold: 0 });
        assert_eq!(answer(0, 0.0), TokenUse { calls: 0, untold: 336 });
        assert_eq!(answer(24, 0.5), TokenUse { calls: 12, untold: 312 });
        // The same hour twice, one without a sum, and one without a moment.
        let odd = json!({ "Datapoints": [
            { "Timestamp": 0, "Sum": 0 }, { "Timestamp": 0, "Sum": 0 }, { "Timestamp": 3_600 }, { "Sum": 0 },
        ]});
        assert_eq!(token_use(&odd), TokenUse { calls: 0, untold: 335 });
        assert_eq!(token_use(&json!({})), TokenUse { calls: 0, untold: 336 });
    }

    #[test]
    fn a_trail_that_reads_only_tells_of_no_change() {
        let plain = |kind: &str, management: bool| {
            records_changes(&json!({ "EventSelectors":
                [{ "ReadWriteType": kind, "IncludeManagementEvents": management }] }))
        };
        assert!(plain("All", true) && plain("WriteOnly", true) && records_changes(&json!({})));
        assert!(!plain("ReadOnly", true) && !plain("All", false));
        let advanced = |category: &str, read_only: &str| {
            records_changes(&json!({ "AdvancedEventSelectors": [{ "FieldSelectors": [
                { "Field": "eventCategory", "Equals": [category] },
                { "Field": "readOnly", "Equals": [read_only] },
            ]}]}))
        };
        assert!(advanced("Management", "false"));
        assert!(!advanced("Management", "true") && !advanced("Data", "false"));
    }
}
