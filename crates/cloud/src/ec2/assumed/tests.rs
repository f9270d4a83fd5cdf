use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use baton_protocol::ec2::{Call, Look};
use baton_protocol::ids::{AllocationId, ClusterName, InterfaceId, RoleArn, RouteTableId};
use baton_protocol::resource::{Destination, Route};
use futures_util::future::join_all;

use super::*;
use crate::ec2::canned::{Canned, error_body};
use crate::{Cloud, Ec2Cloud};

const ROLE: &str = "arn:aws:iam::210987654321:role/baton-route-tables-orders";
const TABLE: &str = "rtb-0123456789abcdef0";

fn access() -> TableAccess {
    TableAccess {
        role: RoleArn::new(ROLE).expect("valid"),
        cluster: ClusterName::new("orders").expect("valid"),
    }
}

/// A session under this key that ends in so many seconds.
fn session(key: &str, seconds: i64) -> (u16, String) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let ends = DateTime::from_secs(i64::try_from(now).expect("not that late") + seconds);
    let ends = ends.fmt(Format::DateTime).expect("a moment");
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
         <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey>\
         <SessionToken>token-of-{key}</SessionToken><Expiration>{ends}</Expiration>\
         </Credentials></AssumeRoleResult></AssumeRoleResponse>"
    );
    (200, body)
}

fn refused(status: u16, code: &str) -> (u16, String) {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>because</Message></Error>\
         <RequestId>0</RequestId></ErrorResponse>"
    );
    (status, body)
}

fn no_tables() -> (u16, String) {
    (200, "<DescribeRouteTablesResponse><routeTableSet/></DescribeRouteTablesResponse>".to_owned())
}

fn through(canned: &Canned) -> Ec2Cloud {
    Ec2Cloud::new(&canned.config()).through(Some(&access()))
}

async fn look(cloud: &Ec2Cloud) -> Result<(), CloudFailure> {
    cloud.look(&Look::Tables(vec![RouteTableId::new(TABLE).expect("valid")])).await.map(drop)
}

/// What was asked, and by which key.
fn asked(canned: &Canned) -> Vec<(String, String)> {
    let requests = canned.requests().into_iter().zip(canned.keys());
    requests.map(|(form, key)| (form["Action"].clone(), key)).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(action, key)| ((*action).to_owned(), (*key).to_owned())).collect()
}

#[tokio::test]
async fn a_role_is_taken_on_once_at_the_regional_endpoint_and_for_tables_only() {
    let addresses = "<DescribeAddressesResponse><addressesSet/></DescribeAddressesResponse>".to_owned();
    let modified = "<ModifyNetworkInterfaceAttributeResponse><return>true</return>\
                    </ModifyNetworkInterfaceAttributeResponse>"
        .to_owned();
    let replaced = "<ReplaceRouteResponse><return>true</return></ReplaceRouteResponse>".to_owned();
    let canned = Canned::answers([
        (200, addresses),
        session("first", 3_600),
        no_tables(),
        (200, replaced),
        (200, modified),
    ]);
    let cloud = through(&canned);
    let interface = InterfaceId::new("eni-01234567").expect("valid");
    let allocation = AllocationId::new("eipalloc-01234567").expect("valid");
    cloud.look(&Look::Addresses(vec![allocation])).await.expect("answered");
    look(&cloud).await.expect("answered");
    let table = RouteTableId::new(TABLE).expect("valid");
    let route = Route { table, destination: Destination::new("10.9.0.1/32").expect("valid") };
    cloud.call(&Call::ReplaceRoute { route, interface: interface.clone() }).await.expect("done");
    cloud.call(&Call::DisableSourceDestCheck { interface }).await.expect("done");
    assert_eq!(
        asked(&canned),
        pairs(&[
            ("DescribeAddresses", "test"),
            ("AssumeRole", "test"),
            ("DescribeRouteTables", "first"),
            ("ReplaceRoute", "first"),
            ("ModifyNetworkInterfaceAttribute", "test"),
        ])
    );
    let form = &canned.requests()[1];
    assert_eq!(
        (&*form["RoleArn"], &*form["RoleSessionName"], &*form["ExternalId"], &*form["DurationSeconds"]),
        (ROLE, "baton-orders", "baton/orders", "3600")
    );
    assert_eq!(canned.hosts()[1], "sts.eu-west-1.amazonaws.com");
    assert_eq!(canned.hosts()[2], "ec2.eu-west-1.amazonaws.com");
}

#[tokio::test]
async fn what_sts_says_of_the_role_of_the_caller_and_of_nothing_is_told_apart_and_ec2_is_not_asked() {
    let kind = |failure: CloudFailure| match failure {
        CloudFailure::RoleRefused { .. } => "refused",
        CloudFailure::NoCredentials(_) => "unknown",
        CloudFailure::Throttled => "throttled",
        CloudFailure::Denied(_) => "denied",
        _ => "else",
    };
    for ((status, body), expected) in [
        (refused(403, "AccessDenied"), "refused"),
        (refused(403, "RegionDisabledException"), "refused"),
        (refused(400, "ValidationError"), "refused"),
        (refused(400, "Throttling"), "throttled"),
        (refused(503, "Throttling"), "throttled"),
        (refused(403, "ExpiredToken"), "denied"),
        (refused(403, "InvalidClientTokenId"), "denied"),
        (refused(500, "AccessDenied"), "unknown"),
        (refused(503, "ServiceUnavailable"), "unknown"),
        ((403, "nonsense".to_owned()), "unknown"),
        ((200, "<AssumeRoleResponse><AssumeRoleResult/></AssumeRoleResponse>".to_owned()), "unknown"),
    ] {
        let canned = Canned::answers([(status, body.clone())]);
        let failure = look(&through(&canned)).await.expect_err("no session");
        assert_eq!(kind(failure), expected, "{status} {body}");
        assert_eq!(asked(&canned), pairs(&[("AssumeRole", "test")]));
    }
    let failure = look(&through(&Canned::answers([]))).await.expect_err("the connection breaks");
    assert_eq!((failure.is_transient(), kind(failure)), (true, "unknown"));
}

#[tokio::test]
async fn a_refusal_says_which_role_what_to_do_and_what_sts_said() {
    let canned = Canned::answers([refused(403, "AccessDenied")]);
    let failure = through(&canned).prepare().await.expect_err("refused");
    assert!(!failure.is_transient());
    assert_eq!(
        failure.to_string(),
        format!(
            "the role {ROLE} cannot be assumed: allow it in the role's trust policy (external id `baton/orders`), in \
             RouteTablesRoles of the control plane, and in every service control policy; STS said: AccessDenied: because"
        )
    );
}

#[tokio::test]
async fn resources_side_by_side_ask_sts_once_whatever_it_answers() {
    let canned = Canned::answers([session("first", 3_600), no_tables(), no_tables(), no_tables()]);
    let cloud = through(&canned);
    let all = join_all([look(&cloud), look(&cloud), look(&cloud)]).await;
    assert_eq!(all, [Ok(()), Ok(()), Ok(())]);
    assert_eq!(asked(&canned).iter().filter(|(action, _)| action == "AssumeRole").count(), 1);

    let canned = Canned::answers([refused(403, "AccessDenied"), session("first", 3_600), no_tables()]);
    let cloud = through(&canned);
    let all = join_all([look(&cloud), look(&cloud), look(&cloud)]).await;
    assert!(all.iter().all(|one| matches!(one, Err(CloudFailure::RoleRefused { .. }))), "{all:?}");
    assert_eq!(canned.requests().len(), 1);
    assert_eq!(look(&cloud).await, Ok(()), "and who comes afterwards asks anew");
}

#[tokio::test]
async fn a_session_is_renewed_early_and_goes_on_while_sts_gives_none() {
    let canned = Canned::answers([
        session("first", 600),
        no_tables(),
        refused(503, "ServiceUnavailable"),
        no_tables(),
        no_tables(),
    ]);
    let cloud = through(&canned);
    look(&cloud).await.expect("answered");
    for _ in 0..2 {
        cloud.prepare().await.expect("the session is good for minutes");
        look(&cloud).await.expect("answered");
    }
    let [assume, first] = [("AssumeRole", "test"), ("DescribeRouteTables", "first")];
    // After a failure it is left for a minute.
    assert_eq!(asked(&canned), pairs(&[assume, first, assume, first, first]));

    let canned = Canned::answers([session("first", 600), no_tables(), session("second", 3_600), no_tables()]);
    let cloud = through(&canned);
    for _ in 0..2 {
        cloud.prepare().await.expect("given");
        look(&cloud).await.expect("answered");
    }
    assert_eq!(asked(&canned), pairs(&[assume, first, assume, ("DescribeRouteTables", "second")]));
}

#[tokio::test]
async fn a_question_waits_for_no_renewal_of_a_session_that_is_good() {
    let canned = Canned::answers([session("first", 600), no_tables(), no_tables(), no_tables()]);
    let cloud = through(&canned);
    for _ in 0..3 {
        look(&cloud).await.expect("answered");
    }
    assert_eq!(canned.requests().iter().filter(|form| form["Action"] == "AssumeRole").count(), 1);
}

#[tokio::test]
async fn a_session_that_ends_is_not_used_for_one_more_call() {
    let canned = Canned::answers([session("first", 20), no_tables(), refused(403, "AccessDenied")]);
    let cloud = through(&canned);
    look(&cloud).await.expect("asked for a moment ago");
    assert!(matches!(look(&cloud).await, Err(CloudFailure::RoleRefused { .. })));
    assert_eq!(canned.requests().len(), 3);
}

#[tokio::test]
async fn after_a_denial_the_role_is_taken_on_anew() {
    let denied = (403, error_body("UnauthorizedOperation", "revoked"));
    let canned = Canned::answers([session("first", 3_600), denied, session("second", 3_600), no_tables()]);
    let cloud = through(&canned);
    assert!(matches!(look(&cloud).await, Err(CloudFailure::Denied(_))));
    look(&cloud).await.expect("answered");
    assert_eq!(asked(&canned)[3], pairs(&[("DescribeRouteTables", "second")])[0]);
}

#[tokio::test]
async fn each_cluster_has_a_session_of_its_own_and_none_is_needed_without_a_role() {
    let canned = Canned::answers([session("first", 3_600), session("second", 3_600), no_tables()]);
    let cloud = Ec2Cloud::new(&canned.config());
    let other = TableAccess { cluster: ClusterName::new("billing").expect("valid"), ..access() };
    cloud.through(Some(&access())).prepare().await.expect("taken on");
    cloud.through(Some(&other)).prepare().await.expect("taken on");
    assert_eq!(canned.requests()[1]["ExternalId"], "baton/billing");
    cloud.prepare().await.expect("nothing to take on");
    look(&cloud.through(Some(&other)).through(None)).await.expect("answered");
    assert_eq!(asked(&canned)[2], pairs(&[("DescribeRouteTables", "test")])[0]);
}

#[tokio::test]
async fn nothing_of_a_session_is_in_what_a_log_could_show() {
    let canned = Canned::answers([session("first", 3_600)]);
    let cloud = through(&canned);
    cloud.prepare().await.expect("taken on");
    let shown = format!("{:?}", cloud.sessions);
    assert!(!shown.contains("hidden") && !shown.contains("token-of-first"), "{shown}");
}
