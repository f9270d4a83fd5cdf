//! How often each action was throttled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::SurveyFailure;

/// Counts throttled requests, by the action that IAM names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Tally {
    /// Counts an answer, if it says that the request was throttled.
    pub(crate) fn count<T>(&self, answer: &Result<T, SurveyFailure>) {
        if let Err(SurveyFailure::Throttled(action)) = answer {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(action).or_default() += 1;
        }
    }

    /// What was counted since this was last asked.
    pub(crate) fn take(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
