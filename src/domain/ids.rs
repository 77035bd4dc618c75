//! Names and numbers of things: newtypes that are valid once they exist. No amounts, no times.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::limits::TEXT_CHARS_MAX;
use super::rules::Dictionary;

/// The place of a record in the journal: 1 for the first, without gaps. 0 stands for "before any".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(u64);

impl Sequence {
    /// Before the first record.
    pub const ZERO: Sequence = Sequence(0);

    /// The sequence with this number.
    pub const fn new(number: u64) -> Sequence {
        Sequence(number)
    }

    /// The bare number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after this; the last one has none.
    pub const fn next(self) -> Sequence {
        Sequence(self.0.saturating_add(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A thing is numbered by the record that created it, so that a name used again is another thing.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Sequence);

        impl $name {
            /// The thing created by the record at `created`.
            pub const fn new(created: Sequence) -> $name {
                $name(created)
            }

            /// The record that created it.
            pub const fn created(self) -> Sequence {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

numbered!(
    /// An instance, by its creating record.
    InstanceNumber
);
numbered!(
    /// A line item, by its creating record: the activation id may be mapped again after a removal
    /// and is then another line item (spec 6).
    LineItemNumber
);
impl LineItemNumber {
    /// The line item that a mapping is about: the one it names, or else the one that its record
    /// creates (spec 2.3).
    pub fn mapped(named: Option<LineItemNumber>, record: Sequence) -> LineItemNumber {
        named.unwrap_or(LineItemNumber::new(record))
    }
}

numbered!(
    /// A session, by its creating record: the order of events that fall due together (spec 4.2).
    SessionNumber
);
numbered!(
    /// A rate table, by its creating record: of two effective from the same instant the later
    /// created holds (spec 3.1).
    RateTableNumber
);

/// A 128-bit id that the broker makes itself and that is written as a UUID.
macro_rules! identified {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The id with these bits.
            pub const fn from_u128(bits: u128) -> $name {
                $name(bits)
            }

            /// The bare bits.
            pub const fn as_u128(self) -> u128 {
                self.0
            }

            /// `None` for anything but the one way this id is written: lower case with hyphens.
            /// Ids are compared byte for byte, so another spelling names nothing (spec 2.2).
            pub fn parse(text: &str) -> Option<$name> {
                let uuid = Uuid::try_parse(text).ok()?;
                let mut canonical = Uuid::encode_buffer();
                let canonical: &str = uuid.as_hyphenated().encode_lower(&mut canonical);
                (canonical == text).then_some($name(uuid.as_u128()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                Uuid::from_u128(self.0).as_hyphenated().fmt(formatter)
            }
        }
    };
}

identified!(
    /// The container of exactly one account's line items (spec 1).
    InstanceId
);
identified!(
    /// A session: a timeline in one instance (spec 4).
    SessionId
);
identified!(
    /// Ties an answer to the records it made (spec 1).
    CorrelationId
);
identified!(
    /// A condition of an instance (spec 5.2).
    ConditionId
);
identified!(
    /// An action of a line item (spec 5.1).
    ActionId
);
identified!(
    /// An installation of a client's program, `instance_guid` (components 2.1a).
    InstallationId
);
identified!(
    /// A user of a licence, `user_guid` (components 2.1a).
    UserId
);

/// Text of a client's choosing: at most 255 characters, none of them a control character.
/// Compared byte for byte. May be empty: who needs more asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<str>);

/// Why a string is no [`Text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Over 255 characters.
    #[error("must have at most 255 characters")]
    TooLong,
    /// A control character such as NUL, CR or LF.
    #[error("must not contain control characters")]
    BadChars,
}

impl Text {
    /// Refuses what is too long or contains a control character.
    pub fn new(text: &str) -> Result<Text, TextError> {
        // Bytes first: counting characters is only needed near the limit.
        if text.len() > TEXT_CHARS_MAX && text.chars().count() > TEXT_CHARS_MAX {
            return Err(TextError::TooLong);
        }
        let is_plain = |byte: u8| (b' '..0x7f).contains(&byte);
        // No early end: so many bytes are looked at in one step.
        let all_plain = text.bytes().fold(true, |plain, byte| plain & is_plain(byte));
        if !all_plain && text.chars().any(char::is_control) {
            return Err(TextError::BadChars);
        }
        Ok(Text(Arc::from(text)))
    }

    /// The empty text.
    pub fn empty() -> Text {
        Text(Arc::from(""))
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::str::FromStr for Text {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Text, TextError> {
        Text::new(text)
    }
}

impl std::borrow::Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A JSON object kept as it was sent: `metaData` (spec 2.7).
/// The edge checks form, depth and size before it makes one; the domain only carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document(Arc<str>);

impl Document {
    /// Takes text that the edge has checked to be one JSON object within its limits.
    pub fn from_checked(text: &str) -> Document {
        Document(Arc::from(text))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who asks for access (spec 2.7): kept for usage records, and judged by rules of access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// What kind of thing asks, such as `user`.
    pub kind: Text,
    /// Which one, such as `LisaBarry`.
    pub value: Text,
    /// What rules of access judge (spec 5.2).
    pub dictionary: Dictionary,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_in_one_way_only() {
        let written = "64d2028c-ae87-4069-a624-66089d957ef9";
        let id = InstanceId::parse(written).unwrap();
        assert_eq!(id.to_string(), written);
        for other in [
            "64D2028C-AE87-4069-A624-66089D957EF9",
            "64d2028cae874069a62466089d957ef9",
            "{64d2028c-ae87-4069-a624-66089d957ef9}",
            "urn:uuid:64d2028c-ae87-4069-a624-66089d957ef9",
            "d889a651-123a-456b-78d9-60d6de8cfes9",
            "",
        ] {
            assert_eq!(InstanceId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn text_is_counted_in_characters_and_carries_no_controls() {
        assert!(Text::new(&"é".repeat(255)).is_ok());
        assert_eq!(Text::new(&"é".repeat(256)), Err(TextError::TooLong));
        assert_eq!(Text::new("a\u{0}b"), Err(TextError::BadChars));
        assert_eq!(Text::new("a\r\nb"), Err(TextError::BadChars));
        assert!(Text::new("Straße 7 \u{202e}").is_ok());
    }
}
