//! How much of the signals of one response is read.
//!
//! A service may be wrong or hostile too, and parsing costs a hundred times
//! what a header costs that is passed by. What does not fit is counted as
//! malformed.

use sfv::visitor::{EntryVisitor, InnerListVisitor, ItemVisitor, ParameterVisitor};
use sfv::{BareItemFromInput, KeyRef};

use super::Malformed;

/// Bytes of all signal headers of a response. A response that went through
/// four caches says so in 400.
const BYTES: usize = 1024;

/// What a line takes of them beside its own bytes.
const BYTES_OF_A_LINE: usize = 64;

/// Members of lists and dictionaries and their parameters, all together.
const PARTS: usize = 64;

/// What is left of the room.
#[derive(Clone, Debug)]
pub struct Room {
    bytes: usize,
    parts: usize,
}

impl Default for Room {
    /// That of one response.
    fn default() -> Self {
        Self {
            bytes: BYTES,
            parts: PARTS,
        }
    }
}

impl Room {
    /// Takes the room for a line.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let needed = line.len().saturating_add(BYTES_OF_A_LINE);
        self.bytes = self.bytes.checked_sub(needed).ok_or(Malformed)?;
        Ok(())
    }

    /// Takes the room for one member or parameter.
    pub(super) fn part(&mut self) -> Result<(), Malformed> {
        self.parts = self.parts.checked_sub(1).ok_or(Malformed)?;
        Ok(())
    }
}

/// Passes by what is of no interest, and takes the room for it.
pub(super) struct PassedBy<'r>(pub(super) &'r mut Room);

impl<'de> EntryVisitor<'de> for PassedBy<'_> {
    type Error = Malformed;

    fn item(self) -> Result<impl ItemVisitor<'de>, Malformed> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Malformed> {
        Ok(self)
    }
}

impl<'de> InnerListVisitor<'de> for PassedBy<'_> {
    type Error = Malformed;

    fn item(&mut self) -> Result<impl ItemVisitor<'de>, Malformed> {
        self.0.part()?;
        Ok(PassedBy(self.0))
    }

    fn finish(self) -> Result<impl ParameterVisitor<'de>, Malformed> {
        Ok(self)
    }
}

impl<'de> ItemVisitor<'de> for PassedBy<'_> {
    type Out = ();
    type Error = Malformed;

    fn bare_item(
        self,
        _item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, Malformed> {
        Ok(self)
    }
}

impl<'de> ParameterVisitor<'de> for PassedBy<'_> {
    type Out = ();
    type Error = Malformed;

    fn parameter(
        &mut self,
        _key: &'de KeyRef,
        _value: BareItemFromInput<'de>,
    ) -> Result<(), Malformed> {
        self.0.part()
    }

    fn finish(self) -> Result<(), Malformed> {
        Ok(())
    }
}
