//! A subnet on its way to the route table that is prepared for the holder (ADR 0031).
//!
//! One call does it: the association that was observed is replaced by one with the holder's table, and the call fails if that
//! association is not current any more. So a late call of an earlier epoch can only take effect on an association that is
//! older than the grant. One that this epoch has made is not. One that the last epoch has verified, and that is in place for
//! this one too, no call names: none of an epoch before the last, by this very rule, and none of the last, which replaces
//! nothing that is in its own place. Anything else that is in place may still be named by a call under way. It is not made
//! anew, unlike that of an address: EC2 may leave an association alone that is with the table already, and by way of another
//! table the traffic would be led astray. It is left, and counts when another invocation has recorded the move, or when no
//! such call can land any more.

use std::collections::BTreeSet;

use crate::ec2::Call;
use crate::ids::{Epoch, RouteTableId, SubnetId, TableAssociationId};
use crate::lease::{Lease, Member};
use crate::plan::{self, Need};
use crate::resource::{SubnetTables, TableAssociation};

use super::Completed;

/// What is known of a subnet, and where it belongs.
#[derive(Debug, Clone)]
pub(in crate::mover) struct Swap {
    pub(super) subnet: SubnetId,
    target: RouteTableId,
    prepared: BTreeSet<RouteTableId>,
    /// Its association, or that it has none of its own; none: nothing is known.
    known: Option<Option<TableAssociation>>,
    /// The association that the last verified move left, which is known to be older than this epoch.
    verified: Option<TableAssociationId>,
    /// Whether not even that counts where it is in place: the previous move was never completed, and a call of it may name it.
    unfinished: bool,
    /// Whether this epoch's move was never recorded.
    doubt: bool,
    /// The association that this move has made: no call of an earlier epoch can name it.
    sound: Option<TableAssociationId>,
    /// Whether what is in place counts, whoever has made it: no call of an earlier epoch can land any more.
    trusted: bool,
    /// Associations that are known to have ended, whatever a late answer shows.
    gone: BTreeSet<TableAssociationId>,
}

/// Why a subnet cannot be swapped to a member.
pub(super) fn unprepared(member: &Member) -> String {
    format!("no route table is prepared for {}; update the cluster's subnets", member.node)
}

impl Swap {
    /// `None` if no table is prepared for this member.
    pub(super) fn new(subnet: &SubnetTables, member: &Member, lease: &Lease, eager: bool) -> Option<Self> {
        let observed = lease.observed.tables.get(&subnet.subnet).cloned();
        Some(Self {
            subnet: subnet.subnet.clone(),
            target: subnet.tables.get(&member.node)?.clone(),
            prepared: subnet.tables.values().cloned().collect(),
            verified: observed.as_ref().map(|there| there.id.clone()),
            // The first call needs no look: if the association has ended, EC2 refuses and we look.
            known: observed.filter(|_| eager).map(Some),
            unfinished: lease.moved.0 + 1 < lease.epoch.0,
            // Before the first epoch there is none whose calls could be late.
            doubt: lease.moved < lease.epoch && lease.epoch > Epoch(1),
            sound: None,
            trusted: false,
            gone: BTreeSet::new(),
        })
    }

    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// The association that is in place.
    pub(super) fn in_place(&self) -> Option<&TableAssociation> {
        self.known.as_ref()?.as_ref().filter(|there| there.table == self.target)
    }

    /// Whether it is associated with a table that is none of the prepared.
    pub(super) fn is_led_away(&self) -> bool {
        let there = self.known.as_ref().and_then(Option::as_ref);
        there.is_some_and(|there| !self.prepared.contains(&there.table))
    }

    /// Whether what is in place does not count yet.
    pub(super) fn is_strange(&self) -> bool {
        let Some(there) = self.in_place() else { return false };
        if self.trusted || self.sound.as_ref() == Some(&there.id) || mutant!(SwapCountsAtOnce) {
            return false;
        }
        self.unfinished || self.doubt && self.verified.as_ref() != Some(&there.id)
    }

    /// Whether it may be replaced on a sight of the lease from before it was shown.
    pub(super) fn is_older(&self, association: &TableAssociationId) -> bool {
        self.verified.as_ref() == Some(association) || mutant!(SwapUnseen)
    }

    pub(super) fn need(&self) -> Option<Need> {
        let known = self.known.as_ref()?;
        Some(plan::subnet(&self.subnet, &self.target, &self.prepared, known.as_ref()))
    }

    pub(super) fn found(&self) -> Option<String> {
        self.known.as_ref().map(|known| match known {
            Some(there) => format!("associated with {}", there.table),
            None => "without a route table of its own".to_owned(),
        })
    }

    /// Whether a look that shows this is to be believed: an association that has ended is shown by a late answer only.
    pub(super) fn can_be(&self, seen: Option<&TableAssociation>) -> bool {
        seen.is_none_or(|seen| !self.gone.contains(&seen.id))
    }

    /// Whether this is what the subnet is believed to have, in place.
    pub(super) fn agrees(&self, seen: Option<&TableAssociation>) -> bool {
        seen.is_some() && self.in_place() == seen
    }

    /// Takes in what a look has shown; whether that is another association than was known.
    pub(super) fn see(&mut self, seen: Option<&TableAssociation>) -> bool {
        let before = self.known.replace(seen.cloned());
        before != self.known
    }

    /// The association was replaced by this one; whether that is so. EC2 leaves one alone that is with the table already.
    pub(super) fn replaced(&mut self, call: &Call, made: TableAssociationId) -> bool {
        let Call::ReplaceTableAssociation { association, table, .. } = call else { return false };
        if *association == made {
            self.forget();
            return false;
        }
        self.gone.insert(association.clone());
        self.sound = Some(made.clone());
        self.known = Some(Some(TableAssociation { id: made, table: table.clone() }));
        true
    }

    /// The call has named an association that had ended.
    pub(super) fn ended(&mut self, call: &Call) {
        if let Call::ReplaceTableAssociation { association, .. } = call {
            self.gone.insert(association.clone());
        }
    }

    /// Only a look tells.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    pub(super) fn note_completed(&mut self, completed: Completed) {
        self.unfinished &= completed == Completed::No;
        self.doubt &= completed != Completed::This;
    }

    pub(super) fn trust(&mut self) {
        self.trusted = true;
    }
}
