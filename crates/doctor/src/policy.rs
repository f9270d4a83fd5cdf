//! What the policy of a VPC endpoint lets through, as far as reading it tells.
//!
//! A policy is judged like one of IAM: what no statement allows is denied, and a denial goes before an allowance. Where that
//! depends on what is not looked at (conditions, principals other than everybody, variables), the ruling is unknown and never
//! that something is allowed.

/// What a node's agent asks of the table; its policy in `infra/cluster.yaml` allows exactly these.
pub const TABLE_ACTIONS: [&str; 3] = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"];

/// A policy. Who reads it bounds it: EC2 takes 20,480 characters at most (AWS PrivateLink, Endpoint policies).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its statements.
    pub statements: Vec<Statement>,
}

/// A statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Whether it allows; else it denies.
    pub allows: bool,
    /// Whether it is about everybody, whoever asks.
    pub of_everybody: bool,
    /// Whether it holds only under conditions.
    pub conditional: bool,
    /// Which actions it is about.
    pub actions: Names,
    /// Which resources it is about.
    pub resources: Names,
}

/// What a part of a statement names, by patterns with `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// What fits one of these.
    Any(Vec<String>),
    /// What fits none of these.
    None(Vec<String>),
}

/// What a policy says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ruling {
    /// It lets it through, whoever asks.
    Allowed,
    /// That depends on what is not looked at.
    Unknown,
    /// It lets it through for nobody.
    Denied,
}

impl Policy {
    /// What EC2 gives an endpoint that was made without a policy: everything is let through.
    pub fn everything() -> Self {
        let all = || Names::Any(vec!["*".to_owned()]);
        let (actions, resources) = (all(), all());
        let statement =
            Statement { allows: true, of_everybody: true, conditional: false, actions, resources };
        Self { statements: vec![statement] }
    }

    /// What it says of an action on a resource.
    pub fn ruling(&self, action: &str, resource: &str) -> Ruling {
        // Of the statements that are about it, those that hold whoever asks, and those that may.
        let (mut allowed, mut may_allow, mut may_deny) = (false, false, false);
        for statement in &self.statements {
            let fit = statement.fit(action, resource);
            match (statement.allows, fit) {
                (_, Fit::No) => {}
                (false, Fit::Yes) => return Ruling::Denied,
                (false, Fit::Perhaps) => may_deny = true,
                (true, Fit::Yes) => allowed = true,
                (true, Fit::Perhaps) => may_allow = true,
            }
        }
        match (allowed, may_allow, may_deny) {
            (true, _, false) => Ruling::Allowed,
            (false, false, _) => Ruling::Denied,
            _ => Ruling::Unknown,
        }
    }
}

/// Whether something is about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Yes,
    Perhaps,
    No,
}

impl Statement {
    fn fit(&self, action: &str, resource: &str) -> Fit {
        // Actions are compared without regard to case, and resources with it (IAM, JSON policy elements).
        let actions = self.actions.fit(|pattern| fits(&pattern.to_lowercase(), &action.to_lowercase()));
        let resources = self.resources.fit(|pattern| fits(pattern, resource));
        let certain = self.of_everybody && !self.conditional;
        // The weakest part decides.
        actions.max(resources).max(if certain { Fit::Yes } else { Fit::Perhaps })
    }
}

impl Names {
    fn fit(&self, fits: impl Fn(&str) -> bool) -> Fit {
        let (patterns, wanted) = match self {
            Self::Any(patterns) => (patterns, true),
            Self::None(patterns) => (patterns, false),
        };
        let (unclear, clear): (Vec<&String>, Vec<&String>) =
            patterns.iter().partition(|pattern| pattern.contains("${"));
        if clear.iter().any(|pattern| fits(pattern)) {
            return if wanted { Fit::Yes } else { Fit::No };
        }
        if !unclear.is_empty() {
            return Fit::Perhaps;
        }
        if wanted { Fit::No } else { Fit::Yes }
    }
}

/// Whether a text fits a pattern, in which `*` stands for any characters and `?` for one. The time is at most the product of
/// both lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut here) = (0, 0);
    // The last star, and from where in the text it was tried.
    let mut star = None;
    while here < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(&c) if c == '?' || c == text[here] => {
                at += 1;
                here += 1;
            }
            _ => {
                let Some((from, tried)) = star else { return false };
                star = Some((from, tried + 1));
                (at, here) = (from + 1, tried + 1);
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "arn:aws:dynamodb:eu-west-1:123456789012:table/baton";

    fn any(patterns: &[&str]) -> Names {
        Names::Any(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
    }

    fn none(patterns: &[&str]) -> Names {
        Names::None(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
    }

    fn statement(allows: bool, actions: Names, resources: Names) -> Statement {
        Statement { allows, of_everybody: true, conditional: false, actions, resources }
    }

    fn ruling(statements: &[Statement]) -> Ruling {
        Policy { statements: statements.to_vec() }.ruling("dynamodb:UpdateItem", TABLE)
    }

    #[test]
    fn what_nothing_allows_is_denied_and_a_denial_goes_before_an_allowance() {
        let all = statement(true, any(&["*"]), any(&["*"]));
        let narrow = statement(true, any(&["dynamodb:update*"]), any(&["arn:aws:dynamodb:*:table/bat?n"]));
        for allowed in [&all, &narrow] {
            assert_eq!(ruling(std::slice::from_ref(allowed)), Ruling::Allowed, "{allowed:?}");
        }
        for other in [
            statement(true, any(&["dynamodb:GetItem"]), any(&["*"])),
            statement(
                true,
                any(&["dynamodb:*"]),
                any(&["arn:aws:dynamodb:eu-west-1:123456789012:table/batons"]),
            ),
            statement(true, none(&["dynamodb:*"]), any(&["*"])),
            statement(true, any(&["*"]), none(&["*:table/baton"])),
        ] {
            assert_eq!(ruling(std::slice::from_ref(&other)), Ruling::Denied, "{other:?}");
        }
        assert_eq!(ruling(&[]), Ruling::Denied);
        let denial = statement(false, any(&["dynamodb:UpdateItem"]), any(&["*"]));
        assert_eq!(ruling(&[all.clone(), denial]), Ruling::Denied);
        let elsewhere = statement(false, none(&["dynamodb:*"]), any(&["*"]));
        assert_eq!(ruling(&[all, elsewhere]), Ruling::Allowed);
    }

    #[test]
    fn what_depends_on_more_is_unknown_and_never_allowed() {
        let all = statement(true, any(&["*"]), any(&["*"]));
        let conditional = Statement { conditional: true, ..all.clone() };
        let somebody = Statement { of_everybody: false, ..all.clone() };
        let variable = statement(true, any(&["*"]), any(&["arn:aws:dynamodb:*:table/${aws:PrincipalTag/t}"]));
        for unclear in [&conditional, &somebody, &variable] {
            assert_eq!(ruling(std::slice::from_ref(unclear)), Ruling::Unknown, "{unclear:?}");
            // A denial that may hold makes an allowance unknown, and one that holds decides.
            let denies = Statement { allows: false, ..unclear.clone() };
            assert_eq!(ruling(&[all.clone(), denies]), Ruling::Unknown, "{unclear:?}");
            let denial = statement(false, any(&["*"]), any(&["*"]));
            assert_eq!(ruling(&[unclear.clone(), denial]), Ruling::Denied, "{unclear:?}");
        }
        // What may only be denied, and is allowed by nothing, is denied either way.
        assert_eq!(ruling(&[Statement { allows: false, ..conditional }]), Ruling::Denied);
    }

    #[test]
    fn stars_stand_for_anything_and_question_marks_for_one() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("?b", "ab", true),
            ("?b", "b", false),
            ("**a", "ba", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
        assert!(!fits(&"*a".repeat(2_000), &"b".repeat(10_000)));
    }
}
