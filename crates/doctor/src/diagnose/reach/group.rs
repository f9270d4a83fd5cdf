//! What the security groups of the nodes let out.

use std::collections::BTreeSet;

use baton_protocol::lease::Member;

use super::{EVERYWHERE, HTTPS, Way, gateways, interfaces};
use crate::change::Change;
use crate::check;
use crate::diagnose::named;
use crate::diagnose::notes::Finding;
use crate::finding::Severity;
use crate::row::Row;
use crate::survey::{GroupDetail, Rule};

/// How HTTPS is let out.
enum Out {
    Open,
    /// To these only, of which nobody here knows whether DynamoDB is among them.
    Narrow(String),
    /// To these prefix lists only, and which of them is DynamoDB's could not be read.
    Unnamed(String),
    Shut,
}

impl<'a> Way<'a, '_> {
    pub(super) fn groups(&mut self) {
        let survey = self.site.survey;
        let Some(groups) = self.notes.need(&survey.groups, "the security groups", &[Row::R12]) else {
            return;
        };
        // The groups of an interface let out together what each of them does.
        let mut judged = BTreeSet::new();
        for member in self.site.members {
            let Some(detail) = self.own_interface(member, &[Row::R12]) else { continue };
            let ids: BTreeSet<&'a String> = detail.groups.iter().collect();
            if !judged.insert(ids.clone()) {
                continue;
            }
            let found: Vec<&GroupDetail> = ids.iter().filter_map(|id| groups.get(*id)).collect();
            let out = self.out(&found);
            if matches!(out, Out::Open) {
                continue;
            }
            let missing: Vec<&str> =
                ids.iter().filter(|id| !groups.contains_key(**id)).map(|id| id.as_str()).collect();
            if let (Some(first), true) = (detail.groups.first(), missing.is_empty()) {
                self.tell_group(member, first, out);
                continue;
            }
            let what = if ids.is_empty() { "any".to_owned() } else { missing.join(", ") };
            let why = format!("EC2 does not show {what} of {}", named(member));
            self.notes.unread("the security groups", &why, &[Row::R12]);
        }
    }

    fn tell_group(&mut self, member: &Member, first: &str, out: Out) {
        let check = &check::PORT_443_GROUP;
        let whose = format!("the security groups of {} let", named(member));
        let (what, severity) = match out {
            Out::Open => return,
            Out::Narrow(peers) => (format!("{whose} HTTPS out to {peers} only"), Severity::Warning),
            Out::Unnamed(peers) => {
                let what = format!(
                    "{whose} HTTPS out to {peers} only, and the prefix list of DynamoDB could not be read"
                );
                (what, Severity::Unknown)
            }
            Out::Shut => (format!("{whose} no HTTPS out"), check.severity),
        };
        let changes = self.peer(member).map(|peer| Change::AuthorizeEgress {
            group: first.to_owned(),
            rule: Rule { protocol: "tcp".to_owned(), from: HTTPS, to: HTTPS, peer },
        });
        let changes = changes.into_iter().collect();
        self.notes.tell(Finding::of(check, first, what).weighing(severity).mended(changes));
    }

    fn out(&self, groups: &[&GroupDetail]) -> Out {
        let fits = |rule: &&Rule| match rule.protocol.as_str() {
            "-1" => true,
            "tcp" | "6" => rule.from == -1 || (rule.from..=rule.to).contains(&HTTPS),
            _ => false,
        };
        let rules = groups.iter().flat_map(|group| &group.egress).filter(fits);
        let peers: BTreeSet<&str> = rules.map(|rule| rule.peer.as_str()).collect();
        let (endpoints, list) = (self.endpoint_groups(), self.list());
        // A prefix list is how a gateway endpoint is named in a group, and its own group is how one with an interface is.
        let reaches = |peer: &str| peer == EVERYWHERE || list == Some(peer) || endpoints.contains(peer);
        if peers.iter().any(|peer| reaches(peer)) {
            return Out::Open;
        }
        if peers.is_empty() {
            return Out::Shut;
        }
        let is_unnamed = list.is_none() && peers.iter().any(|peer| peer.starts_with("pl-"));
        let peers = peers.into_iter().collect::<Vec<_>>().join(", ");
        if is_unnamed { Out::Unnamed(peers) } else { Out::Narrow(peers) }
    }

    /// The security groups of the endpoints with an interface that DynamoDB is reached by.
    fn endpoint_groups(&self) -> BTreeSet<&'a str> {
        let endpoints = self.site.survey.endpoints.known().map_or(&[][..], Vec::as_slice);
        interfaces(endpoints).flat_map(|endpoint| &endpoint.groups).map(String::as_str).collect()
    }

    /// To whom HTTPS ought to be let out, as narrow as the way to the table is. None where that has a name that is not known.
    fn peer(&self, member: &Member) -> Option<String> {
        let survey = self.site.survey;
        let endpoints = survey.endpoints.known().map_or(&[][..], Vec::as_slice);
        let subnet = self.site.subnet_of(member);
        let table =
            subnet.zip(survey.tables.known()).and_then(|(subnet, tables)| self.table_of(subnet, tables));
        let owner = subnet.and_then(|subnet| self.site.owner_of(subnet));
        let is_led = table.is_some_and(|table| {
            gateways(endpoints).any(|endpoint| endpoint.tables.contains(&table.id))
                || self.unshown(table, owner).is_some()
        });
        if is_led {
            return self.list().map(str::to_owned);
        }
        let group = self.endpoint_groups().first().map(|group| (*group).to_owned());
        Some(group.unwrap_or_else(|| EVERYWHERE.to_owned()))
    }
}
