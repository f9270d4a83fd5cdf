//! The few words of DynamoDB's condition expressions that Baton uses, judged on an item.
//!
//! This is a third opinion beside the engine's and the twin's. It is here to tell which part of a condition was
//! the one that did not hold, which no engine says.

use serde_json::Value;

/// One part of a condition; all parts have to hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Clause(pub String);

/// The parts of a condition that `AND` joins, outside brackets.
pub fn clauses(condition: &str) -> Vec<Clause> {
    split(condition, " AND ").into_iter().map(|part| Clause(part.to_owned())).collect()
}

/// The parts of a text between these separators, where they do not stand in brackets.
fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && at >= from && text[at..].starts_with(separator) => {
                parts.push(text[from..at].trim());
                from = at + separator.len();
            }
            _ => {}
        }
    }
    parts.push(text[from..].trim());
    parts
}

/// What a condition is judged on.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The item as it was; `None` where there was none.
    pub item: Option<&'a Value>,
    /// What the `#names` stand for.
    pub names: &'a Value,
    /// What the `:names` stand for.
    pub values: &'a Value,
}

impl Judged<'_> {
    /// Whether a part of a condition holds.
    ///
    /// # Panics
    ///
    /// If it uses a word that none of Baton's conditions uses.
    pub fn holds(&self, clause: &Clause) -> bool {
        let text = &clause.0;
        let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
        split(inner, " OR ").into_iter().any(|simple| self.holds_simply(simple))
    }

    fn holds_simply(&self, text: &str) -> bool {
        if let Some(path) = argument(text, "attribute_not_exists") {
            return self.attribute(path).is_none();
        }
        if let Some(path) = argument(text, "attribute_exists") {
            return self.attribute(path).is_some();
        }
        let [path, operator, value] = text.split(' ').collect::<Vec<_>>()[..] else {
            panic!("expected a comparison, found `{text}`")
        };
        let (Some(left), right) = (self.attribute(path), &self.values[value]) else { return false };
        match operator {
            "=" => left == right,
            "<>" => left != right,
            "<" => number(left) < number(right),
            "<=" => number(left) <= number(right),
            ">=" => number(left) >= number(right),
            _ => panic!("expected an operator that Baton uses, found `{operator}`"),
        }
    }

    fn attribute(&self, path: &str) -> Option<&Value> {
        let mut names = path.split('.').map(|name| self.names[name].as_str().expect("each name is given"));
        let first = self.item?.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get("M")?.get(name))
    }
}

fn argument<'a>(text: &'a str, function: &str) -> Option<&'a str> {
    text.strip_prefix(function)?.strip_prefix('(')?.strip_suffix(')')
}

fn number(value: &Value) -> u64 {
    value["N"].as_str().and_then(|digits| digits.parse().ok()).expect("Baton orders whole numbers only")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn held(condition: &str, item: Option<Value>) -> Vec<bool> {
        let names = json!({"#run": "run", "#seq": "seq", "#paused": "paused", "#until": "until"});
        let values = json!({":mine": {"S": "b"}, ":seq": {"N": "10"}});
        let judged = Judged { item: item.as_ref(), names: &names, values: &values };
        clauses(condition).iter().map(|clause| judged.holds(clause)).collect()
    }

    #[test]
    fn each_part_is_judged_for_itself() {
        let condition = "#run = :mine AND #seq < :seq";
        assert_eq!(held(condition, Some(json!({"run": {"S": "b"}, "seq": {"N": "9"}}))), [true, true]);
        assert_eq!(held(condition, Some(json!({"run": {"S": "a"}, "seq": {"N": "9"}}))), [false, true]);
        assert_eq!(held(condition, Some(json!({"run": {"S": "b"}, "seq": {"N": "10"}}))), [true, false]);
        assert_eq!(held(condition, Some(json!({"seq": {"N": "9"}}))), [false, true]);
        assert_eq!(held(condition, None), [false, false]);
    }

    #[test]
    fn brackets_hold_an_alternative_together() {
        let condition = "#run = :mine AND (attribute_not_exists(#paused) OR #paused.#until <= :seq)";
        let with = |until: &str| json!({"run": {"S": "b"}, "paused": {"M": {"until": {"N": until}}}});
        assert_eq!(held(condition, Some(json!({"run": {"S": "b"}}))), [true, true]);
        assert_eq!(held(condition, Some(with("10"))), [true, true]);
        assert_eq!(held(condition, Some(with("11"))), [true, false]);
    }

    #[test]
    fn an_item_is_there_or_not() {
        let item = || Some(json!({"run": {"S": "b"}}));
        assert_eq!(held("attribute_not_exists(#run)", item()), [false]);
        assert_eq!(held("attribute_not_exists(#run)", None), [true]);
        assert_eq!(held("attribute_exists(#run)", item()), [true]);
        assert_eq!(held("attribute_exists(#run)", None), [false]);
    }
}
