//! Rust source, read closely enough to tell which functions call which.
//!
//! This is no parser: it blanks what is not code, cuts off tests, and finds functions and calls by their
//! names. Where a name is ambiguous it errs on the side of a call too many, which a test shows as a
//! permission too few.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::workspace;

/// All code that ships from a directory of the workspace, without comments, texts and tests.
pub fn shipped(directory: &str) -> String {
    let mut code = String::new();
    collect(&workspace(directory), &mut code);
    assert!(!code.is_empty(), "{directory} holds no source");
    code
}

fn collect(directory: &Path, code: &mut String) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the directory can be read").path()).collect();
    paths.sort();
    for path in paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // Twins in memory and what tests are made of.
        if matches!(stem.as_str(), "tests" | "testing" | "memory") || stem.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            code.push_str(without_tests(&blank(&text)));
            code.push('\n');
        }
    }
}

/// The code up to its test module.
fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]\nmod tests {").map_or(code, |end| &code[..end])
}

/// The code with comments, texts and characters made blank, so that what is left is only code.
pub fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if next == '"' {
            quoted(rest)
        } else if let Some(length) = raw_text(rest).filter(|_| !ends_in_word(&code)) {
            length
        } else if next == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of the text that begins here.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of the raw text that begins here, if one does.
fn raw_text(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest.len() - body.len() + body.find(&end).map_or(body.len(), |at| at + end.len()))
}

/// The length of the character that begins here; nothing for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => rest[3..].find('\'').map_or(0, |at| at + 4),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

fn ends_in_word(code: &str) -> bool {
    code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The bodies of all functions by name; those of one name together.
pub fn functions(code: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (at, _) in code.match_indices("fn ") {
        if ends_in_word(&code[..at]) {
            continue;
        }
        let name = word(&code[at + 3..]);
        if let Some(open) = body_of_function(&code[at..]).filter(|_| !name.is_empty()) {
            found.entry(name.to_owned()).or_default().push_str(block(&code[at + open..]));
        }
    }
    found
}

/// Where the body begins of the function whose signature this is; a declaration has none.
fn body_of_function(signature: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in signature.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            // The length of an array is parted from its type by one as well.
            ';' if depth == 0 => return None,
            '{' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// The block that begins with the first brace.
fn block(code: &str) -> &str {
    let mut depth = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &code[..=at];
        }
    }
    code
}

fn word(code: &str) -> &str {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
    &code[..end]
}

/// The functions that a body calls as `name(…)`, `self.name(…)` or `Self::name(…)`. A call on another value
/// or on another type is not one of them: `item.get(…)` is not the `get` beside it, and neither is a closure
/// of that name.
pub fn calls(body: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (open, _) in body.match_indices('(') {
        let before = &body[..open];
        let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        let receiver = before[..start].trim_end();
        let of_another = (receiver.ends_with('.') && !receiver.ends_with("self."))
            || (receiver.ends_with("::") && !receiver.ends_with("Self::"));
        let name = &before[start..];
        let is_local = receiver.is_empty() || !receiver.ends_with(['.', ':']);
        if start < open && !of_another && !(is_local && body.contains(&format!("let {name} = |"))) {
            found.insert(name.to_owned());
        }
    }
    found
}

/// The methods called on anything that is named so: `store.lease(…)`, `self.store.lease(…)`,
/// `store().lease(…)`.
pub fn called_on(code: &str, receiver: &str) -> BTreeSet<String> {
    let dense: String = code.split_whitespace().collect::<Vec<_>>().join(" ").replace(" .", ".");
    let mut found = BTreeSet::new();
    for (at, _) in dense.match_indices(receiver) {
        if ends_in_word(&dense[..at]) {
            continue;
        }
        let after = &dense[at + receiver.len()..];
        let Some(after) = after.strip_prefix("()").unwrap_or(after).strip_prefix('.') else { continue };
        let method = word(after);
        if after[method.len()..].starts_with('(') {
            found.insert(method.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_code_is_blank_and_lines_stay() {
        let text = "a /* b( */ c // d(\n\"e\\\"f{\" 'g' '\\'' &'h r#\"i\"j\"# k r\"l\" bar\"m\"";
        let code = blank(text);
        assert_eq!(code.lines().count(), 2);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "c", "&'h", "k", "bar"]);
    }

    #[test]
    fn a_function_ends_with_its_own_brace() {
        let found = functions("trait T { fn a(&self); fn b(x: [u8; 3]) { if x { c() } } } fn d() { e() }");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["b", "d"]);
        assert_eq!(found["b"], "{ if x { c() } }");
    }

    #[test]
    fn a_call_on_another_value_is_not_a_call_of_ours() {
        let found = calls(
            "{ let f = |x| x; self.get(x); item.put(y); Key::lease(z); Self::query(); transact(f(item.delete)) }",
        );
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["get", "query", "transact"]);
    }

    #[test]
    fn a_method_is_found_on_its_receiver_however_it_is_broken_into_lines() {
        let code =
            "self.store\n    .lease(a); store.ask(b); restore.append(c); cloud.look(d); store().retire(e)";
        assert_eq!(called_on(code, "store").into_iter().collect::<Vec<_>>(), ["ask", "lease", "retire"]);
    }
}
