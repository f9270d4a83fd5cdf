//! What came of walks, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::bounds::Bounds;

/// A property and whether it holds.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// The property, as a sentence.
    pub name: &'static str,
    /// `always` or `sometimes`.
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
}

/// A broken rule, and a short path that breaks it.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// The rule.
    pub property: &'static str,
    /// The steps, in order.
    pub trace: Vec<String>,
}

/// What one walk found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The configuration.
    pub name: &'static str,
    /// The nodes of the cluster.
    pub nodes: usize,
    /// The last epoch that is granted.
    pub epochs: u64,
    /// All its bounds.
    pub bounds: Bounds,
    /// Steps taken.
    pub states: usize,
    /// Different states reached.
    pub unique_states: usize,
    /// The longest path, in states.
    pub depth: usize,
    /// Every property.
    pub properties: Vec<Held>,
    /// Whether no state was left unvisited.
    pub exhausted: bool,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// How long it took.
    pub seconds: f64,
    /// The largest memory of this process so far.
    pub peak_memory_mb: u64,
}

/// What several walks found.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Steps taken, in all.
    pub states: usize,
    /// Different states reached, in all.
    pub unique_states: usize,
    /// The longest path of any.
    pub depth: usize,
    /// Every property: one that must hold always does in each walk, one that must be met is met in one of them.
    pub properties: Vec<Held>,
    /// Whether all were walked to their end.
    pub exhausted: bool,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// What bounds all of them.
    pub assumptions: &'static [&'static str],
    /// Each walk.
    pub configurations: Vec<Report>,
}

impl Summary {
    /// Takes the walks together.
    pub fn of(configurations: Vec<Report>, assumptions: &'static [&'static str]) -> Self {
        let mut properties: Vec<Held> =
            configurations.first().map(|walk| walk.properties.clone()).unwrap_or_default();
        for property in &mut properties {
            let same =
                |walk: &Report| walk.properties.iter().any(|held| held.name == property.name && held.holds);
            let always = property.kind == "always";
            property.holds =
                if always { configurations.iter().all(same) } else { configurations.iter().any(same) };
        }
        Self {
            states: configurations.iter().map(|walk| walk.states).sum(),
            unique_states: configurations.iter().map(|walk| walk.unique_states).sum(),
            depth: configurations.iter().map(|walk| walk.depth).max().unwrap_or_default(),
            properties,
            exhausted: configurations.iter().all(|walk| walk.exhausted),
            violations: configurations.iter().flat_map(|walk| walk.violations.clone()).collect(),
            assumptions,
            configurations,
        }
    }

    /// Whether everything was visited, nothing was broken, and everything was met.
    pub fn is_good(&self) -> bool {
        self.exhausted && self.violations.is_empty() && self.properties.iter().all(|property| property.holds)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.exhausted { "exhausted" } else { "NOT exhausted" };
        writeln!(
            f,
            "{}: {end}, {} different states, {} steps, depth {}, {} s, {} MB",
            self.name, self.unique_states, self.states, self.depth, self.seconds, self.peak_memory_mb
        )?;
        for violation in &self.violations {
            writeln!(f, "  broken: {}", violation.property)?;
            for step in &violation.trace {
                writeln!(f, "    {step}")?;
            }
        }
        for missed in
            self.properties.iter().filter(|property| property.kind == "sometimes" && !property.holds)
        {
            writeln!(f, "  not met: {}", missed.name)?;
        }
        Ok(())
    }
}
