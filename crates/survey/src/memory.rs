//! The twin in memory: an account that is as it was made, and changes as it is asked to.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Mutex, PoisonError};

use baton_doctor::policy::Policy;
use baton_doctor::survey::{AclEntry, AddressDetail, EndpointDetail, SubnetDetail, Survey};
use baton_doctor::{Change, Seen};
use baton_protocol::ids::AllocationId;

use crate::network::{ACLS, ENDPOINTS, GROUPS, INSTANCES, INTERFACES, LISTS, Network, SUBNETS, TABLES, VPCS};
use crate::tally::Tally;
use crate::{Account, Question, SurveyFailure};

/// An account in memory.
#[derive(Debug)]
pub struct MemoryAccount {
    state: Mutex<Survey>,
    denied: Mutex<Vec<&'static str>>,
    made: Mutex<Vec<Change>>,
    failures: Mutex<Vec<SurveyFailure>>,
    silent: Mutex<Option<&'static str>>,
    asked: Mutex<Vec<&'static str>>,
    throttled: Tally,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryAccount {
    /// An account that looks like this.
    pub fn new(survey: Survey) -> Self {
        Self {
            state: Mutex::new(survey),
            denied: Mutex::default(),
            made: Mutex::default(),
            failures: Mutex::default(),
            silent: Mutex::default(),
            asked: Mutex::default(),
            throttled: Tally::default(),
        }
    }

    /// From now on, these actions are denied.
    pub fn deny(&self, actions: &[&'static str]) {
        *lock(&self.denied) = actions.to_vec();
    }

    /// Changes the account from outside.
    pub fn edit(&self, how: impl FnOnce(&mut Survey)) {
        how(&mut lock(&self.state));
    }

    /// The next looks at the network fail so in the part of this action, one each, the last of these first.
    pub fn fail(&self, failures: Vec<SurveyFailure>) {
        *lock(&self.failures) = failures;
    }

    /// From now on, looks at the network bring no answer to this action, however long it is waited for.
    pub fn silence(&self, action: &'static str) {
        *lock(&self.silent) = Some(action);
    }

    /// What looks at the network have asked, in order.
    pub fn asked(&self) -> Vec<&'static str> {
        lock(&self.asked).clone()
    }

    /// The answer to one question of a look, of which one other may fail.
    async fn answer<T>(
        &self,
        action: &'static str,
        seen: &Seen<T>,
        failure: Option<&SurveyFailure>,
    ) -> Result<T, SurveyFailure>
    where
        T: Clone,
    {
        lock(&self.asked).push(action);
        if *lock(&self.silent) == Some(action) {
            return pending().await;
        }
        match (seen, failure.filter(|failure| failure.action() == action)) {
            (_, Some(failure)) => Err(failure.clone()),
            (Seen::Known(found), None) => Ok(found.clone()),
            (Seen::Unknown(why), None) => Err(SurveyFailure::Denied { action, said: why.clone() }),
            (Seen::Unasked, None) => {
                Err(SurveyFailure::Denied { action, said: "it is not to be seen here".to_owned() })
            }
        }
    }

    /// What was changed, in order.
    pub fn made(&self) -> Vec<Change> {
        lock(&self.made).clone()
    }

    fn refusal(&self, change: &Change) -> Result<(), SurveyFailure> {
        let action = change.action();
        if lock(&self.denied).contains(&action) {
            return Err(SurveyFailure::Denied { action, said: "UnauthorizedOperation: not you".to_owned() });
        }
        Ok(())
    }
}

impl Account for MemoryAccount {
    async fn survey(&self, _question: &Question) -> Survey {
        lock(&self.state).clone()
    }

    async fn network(&self, _question: &Question, found: &mut Network) {
        let (state, failure) = (lock(&self.state).clone(), lock(&self.failures).pop());
        let (failure, throttled) = (failure.as_ref(), &self.throttled);
        let instances = match state.instances.clone() {
            Seen::Known(instances) => Seen::Known((instances, None)),
            Seen::Unknown(why) => Seen::Unknown(why),
            Seen::Unasked => Seen::Unasked,
        };
        tokio::join!(
            found.instances.ask(INSTANCES, throttled, self.answer(INSTANCES, &instances, failure)),
            found.interfaces.ask(INTERFACES, throttled, self.answer(INTERFACES, &state.interfaces, failure)),
            found.table_list.ask(LISTS, throttled, self.answer(LISTS, &state.table_list, failure)),
            found.groups.ask(GROUPS, throttled, self.answer(GROUPS, &state.groups, failure)),
            found.vpc.ask(VPCS, throttled, self.answer(VPCS, &state.vpc, failure)),
            found.subnets.ask(SUBNETS, throttled, self.answer(SUBNETS, &state.subnets, failure)),
            found.tables.ask(TABLES, throttled, self.answer(TABLES, &state.tables, failure)),
            found.acls.ask(ACLS, throttled, self.answer(ACLS, &state.acls, failure)),
            found.endpoints.ask(ENDPOINTS, throttled, self.answer(ENDPOINTS, &state.endpoints, failure)),
        );
    }

    fn take_throttled(&self) -> BTreeMap<&'static str, u64> {
        self.throttled.take()
    }

    async fn may(&self, change: &Change) -> Option<Result<(), SurveyFailure>> {
        change.action().starts_with("ec2:").then(|| self.refusal(change))
    }

    async fn make(&self, change: &Change) -> Result<(), SurveyFailure> {
        self.refusal(change)?;
        lock(&self.made).push(change.clone());
        apply(&mut lock(&self.state), change);
        Ok(())
    }
}

fn on<T>(seen: &mut Seen<T>, how: impl FnOnce(&mut T)) {
    if let Seen::Known(found) = seen {
        how(found);
    }
}

fn apply(survey: &mut Survey, change: &Change) {
    match change {
        Change::Start(_)
        | Change::EnableMetadata(_)
        | Change::RequireToken(_)
        | Change::DisableAutoRecovery(_)
        | Change::AssociateProfile { .. } => of_instance(survey, change),
        Change::DisableSourceDestCheck(id) => on(&mut survey.interfaces, |all| {
            if let Some(detail) = all.get_mut(id) {
                detail.source_dest_check = false;
            }
        }),
        Change::AttachInterface { interface, instance, index } => on(&mut survey.interfaces, |all| {
            if let Some(detail) = all.get_mut(interface) {
                (detail.instance, detail.device_index) = (Some(instance.clone()), Some(*index));
            }
        }),
        Change::DisableAlarm(name) => on(&mut survey.alarms, |all| all.retain(|alarm| alarm.name != *name)),
        Change::AuthorizeEgress { group, rule } => on(&mut survey.groups, |all| {
            all.entry(group.clone()).or_default().egress.insert(rule.clone());
        }),
        Change::AuthorizeIngress { group, rule } => on(&mut survey.groups, |all| {
            all.entry(group.clone()).or_default().ingress.insert(rule.clone());
        }),
        Change::Tag { resource, .. } => tag(survey, resource),
        Change::AllocateAddress(_) => on(&mut survey.addresses, |all| {
            let number = all.len() + 0x100;
            if let Ok(id) = AllocationId::new(format!("eipalloc-{number:017x}")) {
                all.insert(id, AddressDetail { tagged: true });
            }
        }),
        Change::AssociateTable { .. }
        | Change::CreateSubnet { .. }
        | Change::CreateEndpoint { .. }
        | Change::ExtendEndpoint { .. }
        | Change::AllowInAcl { .. } => of_network(survey, change),
        // Whoever is woken changes nothing of what is kept here.
        Change::Wake(_) => {}
    }
}

fn of_instance(survey: &mut Survey, change: &Change) {
    if let Change::AssociateProfile { instance, profile } = change {
        on(&mut survey.profiles, |all| drop(all.insert(instance.clone(), profile.clone())));
        return;
    }
    let (Change::Start(id)
    | Change::EnableMetadata(id)
    | Change::RequireToken(id)
    | Change::DisableAutoRecovery(id)) = change
    else {
        return;
    };
    on(&mut survey.instances, |all| {
        let Some(detail) = all.get_mut(id) else { return };
        match change {
            Change::Start(_) => detail.state = "running".to_owned(),
            Change::EnableMetadata(_) => detail.metadata = true,
            Change::RequireToken(_) => detail.token_required = true,
            _ => detail.auto_recovery = false,
        }
    });
}

fn of_network(survey: &mut Survey, change: &Change) {
    match change {
        Change::AssociateTable { subnet, table } => on(&mut survey.tables, |all| {
            if let Some(found) = all.iter_mut().find(|found| found.id == *table) {
                found.subnets.insert(subnet.clone());
            }
        }),
        Change::CreateSubnet { zone, network, .. } => {
            let there = survey.subnets.known().map_or(0, Vec::len);
            let id = format!("subnet-{:017x}", there + 0x100);
            on(&mut survey.acls, |all| {
                all.iter_mut().filter(|acl| acl.default).for_each(|acl| acl.subnets.extend([id.clone()]));
            });
            let owner = survey.vpc.known().map_or_else(String::new, |vpc| vpc.owner.clone());
            let made = SubnetDetail { id, zone: zone.clone(), network: network.clone(), owner };
            on(&mut survey.subnets, |all| all.push(made));
        }
        Change::CreateEndpoint { service, tables, .. } => {
            lead(survey, tables);
            on(&mut survey.endpoints, |all| {
                all.push(EndpointDetail {
                    id: format!("vpce-{:017x}", all.len() + 0x100),
                    service: service.clone(),
                    gateway: true,
                    state: "available".to_owned(),
                    tables: tables.iter().cloned().collect(),
                    groups: Vec::new(),
                    private_dns: false,
                    policy: Seen::Known(Policy::everything()),
                });
            });
        }
        Change::ExtendEndpoint { endpoint, tables } => {
            lead(survey, tables);
            on(&mut survey.endpoints, |all| {
                if let Some(found) = all.iter_mut().find(|found| found.id == *endpoint) {
                    found.tables.extend(tables.iter().cloned());
                }
            });
        }
        Change::AllowInAcl { acl, number, egress, ports } => on(&mut survey.acls, |all| {
            if let Some(found) = all.iter_mut().find(|found| found.id == *acl) {
                found.entries.insert(AclEntry {
                    number: *number,
                    egress: *egress,
                    allow: true,
                    protocol: "6".to_owned(),
                    ports: Some(*ports),
                    network: "0.0.0.0/0".to_owned(),
                });
            }
        }),
        _ => {}
    }
}

/// An endpoint is a route in its tables, for the prefix list of its service.
fn lead(survey: &mut Survey, tables: &[String]) {
    let Some(Some(list)) = survey.table_list.known().cloned() else { return };
    on(&mut survey.tables, |all| {
        for table in all.iter_mut().filter(|table| tables.contains(&table.id)) {
            table.lists.insert(list.clone());
        }
    });
}

fn tag(survey: &mut Survey, resource: &str) {
    on(&mut survey.addresses, |all| {
        all.iter_mut().filter(|(id, _)| id.as_str() == resource).for_each(|(_, detail)| detail.tagged = true);
    });
    on(&mut survey.instances, |all| {
        all.iter_mut().filter(|(id, _)| id.as_str() == resource).for_each(|(_, detail)| detail.tagged = true);
    });
    on(&mut survey.interfaces, |all| {
        all.iter_mut().filter(|(id, _)| id.as_str() == resource).for_each(|(_, detail)| detail.tagged = true);
    });
    on(&mut survey.tables, |all| {
        all.iter_mut().filter(|table| table.id == resource).for_each(|table| table.tagged = true);
    });
}
