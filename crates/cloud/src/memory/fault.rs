//! Faults as data: what goes wrong, for whom, with which action, and how often.

use baton_protocol::ec2::CloudFailure;

/// What goes wrong with a look or a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Refused for the rate; not applied.
    Throttle,
    /// Refused by IAM; not applied.
    Deny,
    /// The request is lost: not applied, and the caller cannot know.
    FailUnknownBefore,
    /// The answer is lost: applied, and the caller cannot know.
    FailUnknownAfter,
    /// The request is stuck on its way: the caller gives up now, and it is applied when the test lets it land.
    LandLate,
    /// A look is answered from the world as it was so many changes ago. Calls are not struck.
    Stale(usize),
}

impl Trouble {
    /// What the caller is told.
    pub(super) fn failure(self, action: &str) -> CloudFailure {
        match self {
            Self::Throttle => CloudFailure::Throttled,
            Self::Deny => {
                CloudFailure::Denied(format!("UnauthorizedOperation: not allowed to perform {action}"))
            }
            _ => CloudFailure::Unknown(format!("{action}: no answer came")),
        }
    }
}

/// A fault: a trouble, and whom it strikes when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    action: Option<&'static str>,
    about: Option<String>,
    caller: Option<String>,
    skip: usize,
    times: usize,
    trouble: Trouble,
}

impl Fault {
    /// Strikes the next look or call with this action, such as `AssociateAddress`, once.
    pub fn on(action: &'static str, trouble: Trouble) -> Self {
        Self { action: Some(action), about: None, caller: None, skip: 0, times: 1, trouble }
    }

    /// Strikes the next look or call of any kind, once.
    pub fn on_anything(trouble: Trouble) -> Self {
        Self { action: None, about: None, caller: None, skip: 0, times: 1, trouble }
    }

    /// Strikes only what is about this id or destination.
    pub fn about(self, id: impl ToString) -> Self {
        Self { about: Some(id.to_string()), ..self }
    }

    /// Strikes only what the handle of this name asks.
    pub fn from(self, caller: &str) -> Self {
        Self { caller: Some(caller.to_owned()), ..self }
    }

    /// Lets so many that fit pass first.
    pub fn after(self, passes: usize) -> Self {
        Self { skip: passes, ..self }
    }

    /// Strikes so many times.
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Strikes until the faults are taken away.
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    fn fits(&self, caller: &str, action: &str, subjects: &[String]) -> bool {
        let suits = match self.trouble {
            Trouble::Stale(_) => action.starts_with("Describe"),
            _ => true,
        };
        suits
            && self.action.is_none_or(|wanted| wanted == action)
            && self.caller.as_deref().is_none_or(|wanted| wanted == caller)
            && self.about.as_ref().is_none_or(|wanted| subjects.contains(wanted))
    }
}

/// The faults of a world, the first added first.
#[derive(Debug, Default)]
pub(super) struct FaultTable(Vec<Fault>);

impl FaultTable {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The trouble that strikes, if any. Every fault that fits counts this occurrence; the first that is due strikes.
    pub(super) fn strike(&mut self, caller: &str, action: &str, subjects: &[String]) -> Option<Trouble> {
        let mut struck = None;
        for fault in self.0.iter_mut().filter(|fault| fault.fits(caller, action, subjects)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if struck.is_none() && fault.times > 0 {
                fault.times = if fault.times == usize::MAX { usize::MAX } else { fault.times - 1 };
                struck = Some(fault.trouble);
            }
        }
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(table: &mut FaultTable, caller: &str, action: &str, about: &str) -> Option<Trouble> {
        table.strike(caller, action, &[about.to_owned()])
    }

    #[test]
    fn a_fault_strikes_what_it_names_and_as_often_as_it_says() {
        let mut table = FaultTable::default();
        table.add(Fault::on("ReplaceRoute", Trouble::Throttle).about("rtb-2").from("a").after(1).times(2));
        for (caller, action, about) in
            [("b", "ReplaceRoute", "rtb-2"), ("a", "CreateRoute", "rtb-2"), ("a", "ReplaceRoute", "rtb-1")]
        {
            assert_eq!(strikes(&mut table, caller, action, about), None, "{caller} {action} {about}");
        }
        let fitting: Vec<_> = (0..4).map(|_| strikes(&mut table, "a", "ReplaceRoute", "rtb-2")).collect();
        assert_eq!(fitting, [None, Some(Trouble::Throttle), Some(Trouble::Throttle), None]);
    }

    #[test]
    fn faults_for_the_same_action_strike_one_after_the_other() {
        let mut table = FaultTable::default();
        table.add(Fault::on("AssociateAddress", Trouble::Throttle));
        table.add(Fault::on_anything(Trouble::Deny));
        let struck: Vec<_> = (0..3).map(|_| strikes(&mut table, "a", "AssociateAddress", "x")).collect();
        assert_eq!(struck, [Some(Trouble::Throttle), Some(Trouble::Deny), None]);
    }

    #[test]
    fn a_lasting_fault_lasts_and_staleness_spares_calls() {
        let mut table = FaultTable::default();
        table.add(Fault::on_anything(Trouble::Stale(1)).always());
        assert_eq!(strikes(&mut table, "a", "AssociateAddress", "x"), None);
        for _ in 0..100 {
            assert_eq!(strikes(&mut table, "a", "DescribeAddresses", "x"), Some(Trouble::Stale(1)));
        }
    }
}
