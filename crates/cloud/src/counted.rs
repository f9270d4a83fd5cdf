//! EC2, and how often it has throttled what was asked of it.
//!
//! Nothing is decided by this. A look that was throttled leaves no row in the history, so whoever runs the control plane would
//! learn of it only by what comes late.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use baton_protocol::access::TableAccess;
use baton_protocol::ec2::{Call, CloudFailure, Effect, Look, Sight};
use baton_protocol::ids::{InstanceId, InterfaceId, RouteTableId, SubnetId};
use baton_protocol::resource::Destination;
use baton_protocol::roster::Tag;
use baton_protocol::tables::Tables;

use crate::permission::{ASSUME_ACTION, call_action, look_action};
use crate::{Cloud, InstanceSeen, SubnetSeen, TableSeen};

/// A cloud whose throttled requests are counted. Whatever goes [`through`](Cloud::through) a role counts here as well.
#[derive(Debug, Clone)]
pub struct Counted<C> {
    inner: C,
    throttled: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl<C> Counted<C> {
    /// With nothing counted yet.
    pub fn new(inner: C) -> Self {
        Self { inner, throttled: Arc::default() }
    }

    /// How many requests were throttled since this was last asked, by the action that IAM names; empty: none.
    pub fn take_throttled(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.throttled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn count<T>(
        &self,
        action: &'static str,
        asked: impl Future<Output = Result<T, CloudFailure>> + Send,
    ) -> Result<T, CloudFailure> {
        let answer = asked.await;
        if matches!(answer, Err(CloudFailure::Throttled)) {
            *self.throttled.lock().unwrap_or_else(PoisonError::into_inner).entry(action).or_default() += 1;
        }
        answer
    }
}

impl<C: Cloud> Cloud for Counted<C> {
    fn through(&self, access: Option<&TableAccess>) -> Self {
        Self { inner: self.inner.through(access), throttled: Arc::clone(&self.throttled) }
    }
    async fn prepare(&self) -> Result<(), CloudFailure> {
        self.count(ASSUME_ACTION, self.inner.prepare()).await
    }
    async fn look(&self, look: &Look) -> Result<Sight, CloudFailure> {
        self.count(look_action(look), self.inner.look(look)).await
    }
    async fn call(&self, call: &Call) -> Result<Effect, CloudFailure> {
        self.count(call_action(call), self.inner.call(call)).await
    }
    async fn probe(&self, call: &Call) -> Result<(), CloudFailure> {
        self.count(call_action(call), self.inner.probe(call)).await
    }
    async fn instances(
        &self,
        ids: &[InstanceId],
    ) -> Result<BTreeMap<InstanceId, InstanceSeen>, CloudFailure> {
        self.count("ec2:DescribeInstances", self.inner.instances(ids)).await
    }
    async fn interface_tags(
        &self,
        ids: &[InterfaceId],
    ) -> Result<BTreeMap<InterfaceId, BTreeMap<String, String>>, CloudFailure> {
        self.count("ec2:DescribeNetworkInterfaces", self.inner.interface_tags(ids)).await
    }
    async fn tables_of(&self, vpc: &str) -> Result<Tables, CloudFailure> {
        self.count("ec2:DescribeRouteTables", self.inner.tables_of(vpc)).await
    }
    async fn tagged(&self, tag: &Tag) -> Result<BTreeMap<InstanceId, InstanceSeen>, CloudFailure> {
        self.count("ec2:DescribeInstances", self.inner.tagged(tag)).await
    }
    async fn vpc_networks(&self, vpc: &str) -> Result<Vec<Destination>, CloudFailure> {
        self.count("ec2:DescribeVpcs", self.inner.vpc_networks(vpc)).await
    }
    async fn subnets(&self, ids: &[SubnetId]) -> Result<BTreeMap<SubnetId, SubnetSeen>, CloudFailure> {
        self.count("ec2:DescribeSubnets", self.inner.subnets(ids)).await
    }
    async fn tables(&self, ids: &[RouteTableId]) -> Result<BTreeMap<RouteTableId, TableSeen>, CloudFailure> {
        self.count("ec2:DescribeRouteTables", self.inner.tables(ids)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryCloud;
    use crate::memory::{Fault, Trouble};

    #[tokio::test]
    async fn what_was_throttled_is_counted_once_by_its_action_and_other_failures_are_not() {
        let (cloud, id) = (MemoryCloud::new(), "i-0fedcba9876543210".parse::<InstanceId>().expect("valid"));
        let counted = Counted::new(cloud.clone());
        let table = "rtb-0fedcba9876543210".parse::<RouteTableId>().expect("valid");
        assert_eq!(counted.take_throttled(), BTreeMap::new());
        cloud.fail(Fault::on("DescribeInstances", Trouble::Throttle).times(3));
        cloud.fail(Fault::on("DescribeRouteTables", Trouble::FailUnknownBefore).times(1));
        let look = Look::Instance(id.clone());
        assert_eq!(counted.look(&look).await, Err(CloudFailure::Throttled));
        assert_eq!(counted.through(None).instances(&[id]).await, Err(CloudFailure::Throttled));
        let tag = Tag::new("side", "private").expect("valid");
        assert_eq!(counted.tagged(&tag).await, Err(CloudFailure::Throttled));
        assert!(matches!(counted.tables(&[table]).await, Err(CloudFailure::Unknown(_))));
        assert_eq!(counted.take_throttled(), BTreeMap::from([("ec2:DescribeInstances", 3)]));
        assert_eq!(counted.take_throttled(), BTreeMap::new(), "what was taken is not counted again");
    }
}
