//! How the plain values of the domain become bytes: texts, ids, times, amounts.

use super::{CodeError, Coded, Reader, put_bytes, put_number, skip_bytes, take_str};
use crate::domain::idempotency::{Fingerprint, IdempotencyKey};
use crate::domain::ids::{
    ActionId, ConditionId, CorrelationId, Document, InstallationId, InstanceId, InstanceNumber,
    LineItemNumber, RateTableNumber, Sequence, SessionId, SessionNumber, Text, UserId,
};
use crate::domain::rules::{Counters, Dictionary};
use crate::domain::session_time::SessionTime;
use crate::domain::time::{Period, Timestamp};
use crate::domain::tokens::{Count, Rate, Tokens, UNITS_PER_TOKEN};

impl Coded for Text {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_bytes(self.as_str().as_bytes(), bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Text, CodeError> {
        let text = Text::new(take_str(reader)?).ok();
        reader.check(text, "a text is too long or has control characters")
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), CodeError> {
        skip_bytes(reader)
    }
}

impl Coded for Document {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_bytes(self.as_str().as_bytes(), bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Document, CodeError> {
        take_str(reader).map(Document::from_checked)
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), CodeError> {
        skip_bytes(reader)
    }
}

impl Coded for Sequence {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.get().put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Sequence, CodeError> {
        u64::take(reader).map(Sequence::new)
    }
}

impl Coded for Timestamp {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.as_ms().put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Timestamp, CodeError> {
        u64::take(reader).map(Timestamp::from_ms)
    }
}

impl Coded for Period {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.as_ms().get().put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Period, CodeError> {
        let period = Period::from_ms(u64::take(reader)?);
        reader.check(period, "a period of nothing")
    }
}

impl Coded for SessionTime {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.as_ms().put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<SessionTime, CodeError> {
        Ok(SessionTime::from_ms(u64::take(reader)?))
    }
}

impl Coded for Count {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.units().put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Count, CodeError> {
        let count = Count::from_units(u64::take(reader)?);
        reader.check(count, "not a count")
    }
}

impl Coded for Rate {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.units().put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Rate, CodeError> {
        let rate = Rate::from_units(u64::take(reader)?);
        reader.check(rate, "not a rate")
    }
}

/// Amounts are mostly whole: the low bit says whether units of 10^-18 follow, or whole tokens.
impl Coded for Tokens {
    fn put(&self, bytes: &mut Vec<u8>) {
        let (whole, units) = (self.units() / UNITS_PER_TOKEN, self.units().unsigned_abs());
        if whole * UNITS_PER_TOKEN == self.units() {
            put_number(whole.unsigned_abs() << 1, bytes);
        } else {
            put_number(units << 1 | 1, bytes);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Tokens, CodeError> {
        let number = reader.number()?;
        let amount = i128::try_from(number >> 1).ok();
        let units = match number & 1 {
            0 => amount.and_then(|whole| whole.checked_mul(UNITS_PER_TOKEN)),
            _ => amount,
        };
        reader.check(units.and_then(Tokens::from_units), "not an amount")
    }
}

impl Coded for Dictionary {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_number(self.pairs().len() as u128, bytes);
        self.pairs().iter().for_each(|pair| pair.put(bytes));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Dictionary, CodeError> {
        Vec::take(reader).map(Dictionary::new)
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), CodeError> {
        Vec::<(Text, Text)>::skip(reader)
    }
}

impl Coded for Counters {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_number(self.all().len() as u128, bytes);
        self.all().iter().for_each(|counter| counter.put(bytes));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Counters, CodeError> {
        Vec::take(reader).map(Counters::new)
    }
}

/// Ids are 16 bytes, numbers of things are those of their records.
macro_rules! coded_ids {
    ($($id:ident),* ; $($number:ident),*) => {
        $(impl Coded for $id {
            fn put(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.as_u128().to_be_bytes());
            }

            fn take(reader: &mut Reader<'_>) -> Result<$id, CodeError> {
                let slice = reader.slice(16)?;
                let id = slice.try_into().ok().map(u128::from_be_bytes).map($id::from_u128);
                reader.check(id, "an id has 16 bytes")
            }
        })*
        $(impl Coded for $number {
            fn put(&self, bytes: &mut Vec<u8>) {
                self.created().put(bytes);
            }

            fn take(reader: &mut Reader<'_>) -> Result<$number, CodeError> {
                Sequence::take(reader).map($number::new)
            }
        })*
    };
}

coded_ids!(InstanceId, SessionId, CorrelationId, ConditionId, ActionId, InstallationId, UserId,
    IdempotencyKey, Fingerprint ;
    InstanceNumber, LineItemNumber, SessionNumber, RateTableNumber);
