//! [`Ec2Cloud`]: EC2 asked through the AWS SDK.
//!
//! Every look asks by filter and never by a list of ids, since one id that EC2 does not know fails a whole list and
//! takes the others' answers with it. Nothing here retries, and nothing lets EC2 guess: each parameter that has a
//! default at EC2 is given. Answers are untrusted: ids and addresses go through their types, rows nobody asked for are
//! dropped, and a row that cannot be read makes the whole answer unknown unless leaving it out is safe.

mod address;
mod assumed;
#[cfg(test)]
mod canned;
mod instance;
mod interface;
mod network;
mod route;
mod stop;
mod subnet;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::Filter;
use baton_protocol::access::TableAccess;
use baton_protocol::ec2::{Call, CloudFailure, Effect, Look, Sight};
use baton_protocol::ids::{InstanceId, InterfaceId, RouteTableId, SubnetId};
use baton_protocol::resource::Destination;
use baton_protocol::roster::Tag;
use baton_protocol::tables::Tables;

use crate::error::unreadable;
use crate::{Cloud, InstanceSeen, SubnetSeen, TableSeen};
use assumed::Sessions;

/// EC2 takes at most this many values for one filter.
const VALUES_PER_FILTER: usize = 200;

/// How many pages of one answer are read. More means that a filter was not obeyed, and then the answer is of no use.
const PAGES: usize = 20;

/// EC2, in the account and region of a configuration; route tables perhaps in another account.
#[derive(Debug, Clone)]
pub struct Ec2Cloud {
    client: Client,
    region: Option<String>,
    sessions: Arc<Sessions>,
    access: Option<TableAccess>,
}

impl Ec2Cloud {
    /// A client for this configuration, whose timeouts and retries are taken as they are.
    pub fn new(config: &SdkConfig) -> Self {
        Self {
            client: Client::new(config),
            region: config.region().map(|region| region.as_ref().to_owned()),
            sessions: Arc::new(Sessions::new(config)),
            access: None,
        }
    }

    /// The client for whatever is asked of route tables.
    async fn for_tables(&self) -> Result<Client, CloudFailure> {
        match &self.access {
            None => Ok(self.client.clone()),
            Some(access) => self.sessions.client(access).await,
        }
    }

    /// What EC2 said to that client. If it denied something, the next question goes by new credentials.
    fn heard<T>(&self, answer: Result<T, CloudFailure>) -> Result<T, CloudFailure> {
        if let (Some(access), Err(CloudFailure::Denied(_))) = (&self.access, &answer) {
            self.sessions.forget(access);
        }
        answer
    }
}

impl Cloud for Ec2Cloud {
    fn through(&self, access: Option<&TableAccess>) -> Self {
        Self { access: access.cloned(), ..self.clone() }
    }

    async fn prepare(&self) -> Result<(), CloudFailure> {
        match &self.access {
            None => Ok(()),
            Some(access) => self.sessions.prepare(access).await,
        }
    }

    async fn look(&self, look: &Look) -> Result<Sight, CloudFailure> {
        match look {
            Look::Addresses(ids) => address::addresses(&self.client, ids).await.map(Sight::Addresses),
            Look::Seats(interfaces) => address::seats(&self.client, interfaces).await.map(Sight::Seats),
            Look::Tables(ids) => {
                self.heard(route::tables(&self.for_tables().await?, ids).await).map(Sight::Tables)
            }
            Look::Subnets(ids) => {
                self.heard(subnet::associations(&self.for_tables().await?, ids).await).map(Sight::Subnets)
            }
            Look::Interfaces(ids) => interface::interfaces(&self.client, ids).await.map(Sight::Interfaces),
            Look::Instance(id) => instance::state(&self.client, id).await.map(Sight::Instance),
        }
    }

    async fn call(&self, call: &Call) -> Result<Effect, CloudFailure> {
        self.send(call, Mode::InEarnest).await
    }

    async fn probe(&self, call: &Call) -> Result<(), CloudFailure> {
        match self.send(call, Mode::Dry).await {
            Err(CloudFailure::Refused(why)) if why.starts_with(WOULD_SUCCEED) => Ok(()),
            Err(failure) => Err(failure),
            // Whoever does what was only asked about cannot be asked.
            Ok(_) => {
                Err(CloudFailure::Unknown(format!("{} was done though `DryRun` was set", call.action())))
            }
        }
    }

    async fn instances(
        &self,
        ids: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, InstanceSeen>, CloudFailure> {
        instance::instances(&self.client, self.region.as_deref(), ids).await
    }

    async fn interface_tags(
        &self,
        ids: &[InterfaceId],
    ) -> Result<BTreeMap<InterfaceId, BTreeMap<String, String>>, CloudFailure> {
        interface::tags(&self.client, ids).await
    }

    async fn tables_of(&self, vpc: &str) -> Result<Tables, CloudFailure> {
        self.heard(route::tables_of(&self.for_tables().await?, vpc).await)
    }

    async fn tagged(&self, tag: &Tag) -> Result<BTreeMap<InstanceId, InstanceSeen>, CloudFailure> {
        instance::tagged(&self.client, self.region.as_deref(), tag).await
    }

    async fn vpc_networks(&self, vpc: &str) -> Result<Vec<Destination>, CloudFailure> {
        self.heard(network::vpc_networks(&self.for_tables().await?, vpc).await)
    }

    async fn subnets(&self, ids: &[SubnetId]) -> Result<BTreeMap<SubnetId, SubnetSeen>, CloudFailure> {
        self.heard(subnet::subnets(&self.for_tables().await?, ids).await)
    }

    async fn tables(&self, ids: &[RouteTableId]) -> Result<BTreeMap<RouteTableId, TableSeen>, CloudFailure> {
        self.heard(subnet::tables(&self.for_tables().await?, ids).await)
    }
}

/// The code of EC2's answer to a call that is only asked about, and would be allowed.
const WOULD_SUCCEED: &str = "DryRunOperation";

/// Whether a call is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    InEarnest,
    Dry,
}

impl Mode {
    /// The parameter `DryRun`, whose absence is as good as `false`.
    fn dry_run(self) -> Option<bool> {
        (self == Self::Dry).then_some(true)
    }
}

impl Ec2Cloud {
    async fn send(&self, call: &Call, mode: Mode) -> Result<Effect, CloudFailure> {
        if call.is_of_tables() {
            return self.heard(Self::send_by(&self.for_tables().await?, call, mode).await);
        }
        Self::send_by(&self.client, call, mode).await
    }

    async fn send_by(client: &Client, call: &Call, mode: Mode) -> Result<Effect, CloudFailure> {
        match call {
            Call::Disassociate { association, .. } => address::disassociate(client, association, mode).await,
            Call::Associate { allocation, placement } => {
                address::associate(client, allocation, placement, mode).await
            }
            Call::ReplaceRoute { route, interface } => route::replace(client, route, interface, mode).await,
            Call::CreateRoute { route, interface } => route::create(client, route, interface, mode).await,
            Call::ReplaceTableAssociation { association, table, .. } => {
                subnet::replace(client, association, table, mode).await
            }
            Call::DisableSourceDestCheck { interface } => {
                interface::disable_source_dest_check(client, interface, mode).await
            }
            Call::Stop { instance } => stop::stop(client, instance, mode).await,
        }
    }
}

/// A filter on `name` for any of `values`.
fn filter<T: Display>(name: &str, values: &[T]) -> Filter {
    Filter::builder().name(name).set_values(Some(values.iter().map(ToString::to_string).collect())).build()
}

/// The filters that ask for all of `values`, each once. None for no values: a filter without values is no filter, and
/// EC2 would answer with everything there is.
fn filters<T: Display + Ord>(name: &str, values: &[T]) -> Vec<Filter> {
    let once: Vec<&T> = values.iter().collect::<BTreeSet<_>>().into_iter().collect();
    once.chunks(VALUES_PER_FILTER).map(|chunk| filter(name, chunk)).collect()
}

/// The text of a field; EC2 and its kin write an absent value as nothing or as an empty text.
fn text(field: Option<&str>) -> Option<&str> {
    field.filter(|text| !text.is_empty())
}

/// Parses a field that must be there.
fn required<T>(action: &str, what: &str, field: Option<&str>) -> Result<T, CloudFailure>
where
    T: FromStr,
    T::Err: Display,
{
    optional(action, what, field)?.ok_or_else(|| unreadable(action, format_args!("{what} is missing")))
}

/// Parses a field that may be absent; if it is there it must be readable.
fn optional<T>(action: &str, what: &str, field: Option<&str>) -> Result<Option<T>, CloudFailure>
where
    T: FromStr,
    T::Err: Display,
{
    text(field)
        .map(|text| {
            text.parse().map_err(|error| unreadable(action, format_args!("{what} `{text}`: {error}")))
        })
        .transpose()
}

/// The id of a row if it is one of those asked for. A row without a readable id, or with another one, answers a
/// question nobody asked; leaving it out is safe, since an id that is absent from an answer proves nothing.
fn asked_for<T: FromStr + Ord>(action: &str, asked: &[T], id: Option<&str>) -> Option<T> {
    let found = id.and_then(|id| id.parse::<T>().ok()).filter(|id| asked.contains(id));
    if found.is_none() {
        tracing::warn!(
            action,
            id = id.unwrap_or("none"),
            "EC2 answered with a row that was not asked for; left out"
        );
    }
    found
}

/// Collects the pages of an answer, at most [`PAGES`].
macro_rules! pages {
    ($action:expr, $request:expr, $size:expr) => {{
        let mut stream = $request.into_paginator().page_size($size).send();
        let mut pages = Vec::new();
        while let Some(page) =
            stream.try_next().await.map_err(|error| crate::error::failure($action, error))?
        {
            if pages.len() == $crate::ec2::PAGES {
                return Err(crate::error::unreadable(
                    $action,
                    format_args!("more than {} pages to one question", $crate::ec2::PAGES),
                ));
            }
            pages.push(page);
        }
        pages
    }};
}
use pages;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_values_make_no_filter_and_many_make_several() {
        assert!(filters::<String>("allocation-id", &[]).is_empty());
        let many: Vec<String> = (0..450).map(|n| format!("{n:03}")).collect();
        let sizes: Vec<usize> = filters("allocation-id", &many).iter().map(|f| f.values().len()).collect();
        assert_eq!(sizes, [200, 200, 50]);
        let twice = ["a", "a"];
        assert_eq!(filters("allocation-id", &twice)[0].values(), ["a"]);
    }

    #[test]
    fn an_empty_text_is_an_absent_one_and_a_malformed_one_is_unknown() {
        assert_eq!(optional::<InstanceId>("X", "the instance", Some("")), Ok(None));
        assert_eq!(optional::<InstanceId>("X", "the instance", None), Ok(None));
        for bad in [Some("i-xyz"), Some("; drop"), Some("")] {
            let found = required::<InstanceId>("DescribeInstances", "the instance", bad);
            assert!(matches!(found, Err(CloudFailure::Unknown(_))), "{bad:?}");
        }
    }
}
