//! What a broken or hostile host hands over in place of the truth. A lie
//! changes one answer and nothing else: the call still says that all is well.

use std::fmt;
use std::rc::Rc;

/// What becomes of the bytes of an answer.
type Change = Rc<dyn Fn(&mut Vec<u8>)>;

/// How an answer differs from the truth. The places where the module wants its
/// answer are always used as it named them.
#[derive(Clone)]
pub enum Lie {
    /// The call says that it handed something over, and wrote nothing.
    Nothing,
    /// This address and size, without asking the module for memory.
    Place {
        /// The address.
        address: u32,
        /// The size in bytes.
        size: u32,
    },
    /// This address with the true size, without asking for memory.
    Address(u32),
    /// The place that was handed over before this one, once more.
    Again,
    /// The true address with this size.
    Size(u32),
    /// The true address with a size that is larger by this.
    Larger(u32),
    /// The true bytes, this far into an allocation that is larger by as much.
    Offset(u32),
    /// Asks the module for this many bytes, writes as many as fit, and names
    /// the true size.
    Allocation(u32),
    /// What the function makes of the true bytes, which may be more or fewer.
    Content(Change),
    /// In place of each number that the call returns: its low bits.
    Number(u64),
}

impl Lie {
    /// A lie about the bytes.
    pub fn content(change: impl Fn(&mut Vec<u8>) + 'static) -> Self {
        Self::Content(Rc::new(change))
    }

    /// The bytes to ask the module for, where there are `size` to hand over;
    /// `None` to ask for nothing.
    pub(super) fn allocation(&self, size: u32) -> Option<u32> {
        match self {
            Self::Nothing | Self::Place { .. } | Self::Address(_) | Self::Again => None,
            Self::Allocation(asked) => Some(*asked),
            Self::Offset(offset) => Some(size.saturating_add(*offset)),
            _ => (size > 0).then_some(size),
        }
    }

    /// The address and size to name, where the bytes stand at `address`.
    pub(super) fn told(&self, address: u32, size: u32) -> (u32, u32) {
        match self {
            Self::Place { address, size } => (*address, *size),
            Self::Address(address) => (*address, size),
            Self::Size(size) => (address, *size),
            Self::Larger(by) => (address, size.saturating_add(*by)),
            _ => (address, size),
        }
    }
}

impl fmt::Debug for Lie {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(formatter, "Nothing"),
            Self::Place { address, size } => {
                write!(formatter, "Place {{ address: {address:#x}, size: {size} }}")
            }
            Self::Address(address) => write!(formatter, "Address({address:#x})"),
            Self::Again => write!(formatter, "Again"),
            Self::Size(size) => write!(formatter, "Size({size})"),
            Self::Larger(by) => write!(formatter, "Larger({by})"),
            Self::Offset(offset) => write!(formatter, "Offset({offset})"),
            Self::Allocation(asked) => write!(formatter, "Allocation({asked})"),
            Self::Content(_) => write!(formatter, "Content"),
            Self::Number(number) => write!(formatter, "Number({number:#x})"),
        }
    }
}
