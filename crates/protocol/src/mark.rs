//! What an epoch records of an address on its way, for its other invocations to go by.
//!
//! After a move that was never completed, the association that is in place is ended and made anew, since a late call of
//! that move may still name it. Two invocations of one epoch must not differ in which association that is: a call of the
//! one could end, late, what the other has found and counted. So the first mark of an epoch stands (ADR 0017): the table
//! refuses a second one, and only what was made may follow it.

use serde::{Deserialize, Serialize};

use crate::ids::{AssociationId, IdError};

/// The mark of one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Mark {
    /// The address is in place by this association, which this epoch ends first. It ends no other there.
    Ends(AssociationId),
    /// The address is free, and this epoch ends nothing where it belongs.
    Free,
    /// This epoch has made this association: it counts.
    Made(AssociationId),
}

impl Mark {
    /// Whether it takes the place of whatever mark there is. All others stand only where there is none.
    pub fn replaces(&self) -> bool {
        matches!(self, Self::Made(_))
    }
}

impl From<Mark> for String {
    fn from(mark: Mark) -> Self {
        match mark {
            Mark::Ends(id) => format!("ends {id}"),
            Mark::Free => "free".to_owned(),
            Mark::Made(id) => format!("made {id}"),
        }
    }
}

impl TryFrom<String> for Mark {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        if text == "free" {
            return Ok(Self::Free);
        }
        let of = |word| text.strip_prefix(word).map(AssociationId::new);
        match (of("ends "), of("made ")) {
            (Some(id), _) => id.map(Self::Ends),
            (_, Some(id)) => id.map(Self::Made),
            (None, None) => Err(IdError::new("`free`, or `ends` or `made` and an association", &text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::association;

    #[test]
    fn a_mark_is_a_text_and_no_other_text_is_a_mark() {
        let marks = [
            (Mark::Free, "free"),
            (Mark::Ends(association(1)), "ends eipassoc-00000001"),
            (Mark::Made(association(2)), "made eipassoc-00000002"),
        ];
        for (mark, text) in marks {
            assert_eq!(String::from(mark.clone()), text);
            assert_eq!(Mark::try_from(text.to_owned()), Ok(mark));
        }
        for text in
            ["", "eipassoc-00000001", "made", "made eni-00000001", "ends", "freed", "endseipassoc-00000001"]
        {
            assert!(Mark::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_was_made_takes_the_place_of_a_mark() {
        assert!(Mark::Made(association(1)).replaces());
        assert!(!Mark::Free.replaces() && !Mark::Ends(association(1)).replaces());
    }
}
