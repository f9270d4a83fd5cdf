//! What follows the first fault of a run, in simulated time.

use baton_protocol::grant::Grant;

use crate::clock::Real;
use crate::fault::Kind;
use crate::plan::Plan;
use crate::world::Sim;

/// From the beginning of the first fault, each once.
#[derive(Debug, Clone, Default)]
pub struct Measure {
    /// The kind of the fault, if it is one that is measured.
    pub kind: Option<Kind>,
    /// The timing's name.
    pub profile: &'static str,
    began: Option<Real>,
    next: Option<usize>,
    /// Until the lease was granted to another.
    pub granted: Option<Real>,
    /// Until that one served.
    pub serving: Option<Real>,
    /// Until everything was there.
    pub associated: Option<Real>,
}

/// What comes later belongs to another fault.
const BELONGS_WITHIN: Real = 18 * crate::clock::SECOND;

impl Measure {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { kind: plan.headline.filter(|_| !plan.has_policy()), profile: plan.profile, ..Self::default() }
    }

    fn since(&self, now: Real) -> Option<Real> {
        self.began.map(|began| now - began).filter(|since| *since < BELONGS_WITHIN)
    }
}

impl Sim<'_> {
    pub(crate) fn measure_fault(&mut self, _struck: Option<usize>) {
        // Measured only if all was well when it began.
        let (there, total) = self.at_holder(&self.places());
        if there == total && self.lease.moved == self.lease.epoch {
            self.measure.began = Some(self.now);
        }
    }

    pub(crate) fn measure_granted(&mut self, grant: &Grant) {
        if self.measure.granted.is_none()
            && let Some(since) = self.measure.since(self.now)
            && grant.holder.as_ref() != Some(&grant.to)
        {
            self.measure.granted = Some(since);
            self.measure.next = self.by_arn.get(&grant.to).copied();
        }
    }

    pub(crate) fn measure_serving(&mut self, machine: usize) {
        if self.measure.serving.is_none() && self.measure.next == Some(machine) {
            self.measure.serving = self.measure.since(self.now);
        }
    }

    pub(crate) fn measure_associated(&mut self) {
        let there = self.lease.holder.as_ref().and_then(|holder| self.by_arn.get(holder)).copied();
        if self.measure.associated.is_none() && self.measure.next.is_some() && self.measure.next == there {
            self.measure.associated = self.measure.since(self.now);
        }
    }
}
