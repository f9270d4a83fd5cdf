//! The question before an action. Without somebody to ask, the action is refused unless `--yes` was given.

use crate::console::Console;
use crate::exit::Exit;
use crate::trouble::Trouble;

/// Asks; only a clear yes lets the action go on.
pub fn confirm(console: &mut Console<'_>, question: &str, yes: bool) -> Result<(), Trouble> {
    if yes {
        return Ok(());
    }
    if !console.look.can_ask {
        return Err(Trouble::new(
            Exit::Usage,
            "this needs a confirmation, and there is no terminal to ask on",
        )
        .help("add --yes to go ahead without a question"));
    }
    write!(console.err, "{question} [y/N] ")?;
    console.err.flush()?;
    match console.answer()?.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Trouble::refused("not confirmed; nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Look;

    fn ask(answer: &str, can_ask: bool, yes: bool) -> (Result<(), Exit>, String) {
        let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), answer.as_bytes());
        let look = Look { can_ask, ..Look::default() };
        let mut console = Console { out: &mut out, err: &mut err, input: &mut input, look };
        let outcome = confirm(&mut console, "Move it?", yes).map_err(|trouble| trouble.exit);
        assert!(out.is_empty());
        (outcome, String::from_utf8(err).expect("text"))
    }

    #[test]
    fn only_a_clear_yes_goes_on() {
        for answer in ["y\n", "YES\n", " yes \n"] {
            assert_eq!(ask(answer, true, false), (Ok(()), "Move it? [y/N] ".to_owned()));
        }
        for answer in ["", "\n", "n\n", "yep\n"] {
            assert_eq!(ask(answer, true, false).0, Err(Exit::Refused), "{answer:?}");
        }
    }

    #[test]
    fn without_a_terminal_only_the_flag_goes_on() {
        assert_eq!(ask("y\n", false, false), (Err(Exit::Usage), String::new()));
        assert_eq!(ask("", false, true), (Ok(()), String::new()));
    }
}
