//! How plain values become bytes and come back: the alphabet that [`format`](super::format) writes
//! records in.
//!
//! Whole numbers are LEB128, seven bits a byte, low ones first; texts and lists are preceded by
//! their length; an option by 0 or 1. Reading never trusts a length and never panics.

mod values;

use std::sync::Arc;

/// Why bytes are no value: says where, counted from the start of the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} of the record: {reason}")]
pub struct CodeError {
    /// How far reading got.
    pub offset: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

/// A value with one way of being written.
pub trait Coded: Sized {
    /// Appends the value.
    fn put(&self, bytes: &mut Vec<u8>);
    /// Takes the value off the front.
    fn take(reader: &mut Reader<'_>) -> Result<Self, CodeError>;

    /// Passes over the value. More than its length need not be looked at.
    fn skip(reader: &mut Reader<'_>) -> Result<(), CodeError> {
        Self::take(reader).map(drop)
    }
}

/// Passes over a value of the type that this place is for: macros know fields and not their types.
pub(crate) fn skip_for<T: Coded>(
    _place: &Option<T>,
    reader: &mut Reader<'_>,
) -> Result<(), CodeError> {
    T::skip(reader)
}

/// What is still to be read.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the front.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, offset: 0 }
    }

    /// Says what is wrong at this place.
    pub fn fail<T>(&self, reason: &'static str) -> Result<T, CodeError> {
        Err(CodeError { offset: self.offset, reason })
    }

    /// A value made of what was read, or a complaint where there is none.
    pub fn check<T>(&self, value: Option<T>, reason: &'static str) -> Result<T, CodeError> {
        value.ok_or(CodeError { offset: self.offset, reason })
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, CodeError> {
        let Some(byte) = self.bytes.get(self.offset) else { return self.fail("ends too early") };
        self.offset += 1;
        Ok(*byte)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], CodeError> {
        let end = self.offset.checked_add(length);
        let slice = end.and_then(|end| self.bytes.get(self.offset..end));
        let slice = self.check(slice, "ends too early")?;
        self.offset += length;
        Ok(slice)
    }

    fn number(&mut self) -> Result<u128, CodeError> {
        match self.short_number() {
            Some(number) => Ok(u128::from(number)),
            None => self.long_number(),
        }
    }

    /// A number of at most nine bytes, as nearly all are.
    #[inline]
    fn short_number(&mut self) -> Option<u64> {
        let rest = self.bytes.get(self.offset..)?;
        let mut number = 0u64;
        for (shift, byte) in (0..63).step_by(7).zip(rest) {
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                self.offset += shift / 7 + 1;
                return Some(number);
            }
        }
        None
    }

    /// A number of any length.
    fn long_number(&mut self) -> Result<u128, CodeError> {
        let mut number = 0u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if bits.checked_shl(shift).is_none_or(|shifted| shifted >> shift != bits) {
                return self.fail("a number is too large");
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        self.fail("a number has too many bytes")
    }

    /// How many entries or bytes follow: no more than there are bytes.
    pub fn length(&mut self) -> Result<usize, CodeError> {
        let length = usize::try_from(self.number()?).ok();
        let left = self.bytes.len() - self.offset;
        self.check(length.filter(|length| *length <= left), "a length passes the end")
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.offset == self.bytes.len()
    }

    /// Says so where anything is left.
    pub fn finish(self) -> Result<(), CodeError> {
        if self.is_at_end() { Ok(()) } else { self.fail("goes on after its end") }
    }
}

fn put_number(mut number: u128, bytes: &mut Vec<u8>) {
    let low_bits = |number| u8::try_from(number & 0x7f).expect("seven bits fit a byte");
    while number > 0x7f {
        bytes.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    bytes.push(low_bits(number));
}

fn put_bytes(slice: &[u8], bytes: &mut Vec<u8>) {
    put_number(slice.len() as u128, bytes);
    bytes.extend_from_slice(slice);
}

impl Coded for u64 {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_number(u128::from(*self), bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<u64, CodeError> {
        if let Some(number) = reader.short_number() {
            return Ok(number);
        }
        let number = reader.long_number()?;
        reader.check(u64::try_from(number).ok(), "a number is too large")
    }
}

impl Coded for usize {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_number(*self as u128, bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<usize, CodeError> {
        let number = reader.number()?;
        reader.check(usize::try_from(number).ok(), "a number is too large")
    }
}

impl Coded for bool {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*self));
    }

    fn take(reader: &mut Reader<'_>) -> Result<bool, CodeError> {
        match reader.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => reader.fail("neither 0 nor 1"),
        }
    }
}

impl Coded for u16 {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_number(u128::from(*self), bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<u16, CodeError> {
        let number = reader.number()?;
        reader.check(u16::try_from(number).ok(), "a number is too large")
    }
}

impl Coded for u8 {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.push(*self);
    }

    fn take(reader: &mut Reader<'_>) -> Result<u8, CodeError> {
        reader.byte()
    }
}

impl Coded for String {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<String, CodeError> {
        take_str(reader).map(str::to_owned)
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), CodeError> {
        skip_bytes(reader)
    }
}

fn take_str<'a>(reader: &mut Reader<'a>) -> Result<&'a str, CodeError> {
    let length = reader.length()?;
    let slice = reader.slice(length)?;
    reader.check(std::str::from_utf8(slice).ok(), "a text is not UTF-8")
}

fn skip_bytes(reader: &mut Reader<'_>) -> Result<(), CodeError> {
    let length = reader.length()?;
    reader.slice(length).map(drop)
}

impl<T: Coded> Coded for Option<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.is_some().put(bytes);
        if let Some(value) = self {
            value.put(bytes);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Option<T>, CodeError> {
        if bool::take(reader)? { T::take(reader).map(Some) } else { Ok(None) }
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), CodeError> {
        if bool::take(reader)? { T::skip(reader) } else { Ok(()) }
    }
}

impl<T: Coded> Coded for Vec<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_number(self.len() as u128, bytes);
        self.iter().for_each(|value| value.put(bytes));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Vec<T>, CodeError> {
        let length = reader.length()?; // Every element takes a byte at least.
        (0..length).map(|_| T::take(reader)).collect()
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), CodeError> {
        let length = reader.length()?;
        (0..length).try_for_each(|_| T::skip(reader))
    }
}

impl<T: Coded> Coded for Arc<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.as_ref().put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Arc<T>, CodeError> {
        T::take(reader).map(Arc::new)
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), CodeError> {
        T::skip(reader)
    }
}

impl<A: Coded, B: Coded> Coded for (A, B) {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.0.put(bytes);
        self.1.put(bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Result<(A, B), CodeError> {
        Ok((A::take(reader)?, B::take(reader)?))
    }

    fn skip(reader: &mut Reader<'_>) -> Result<(), CodeError> {
        A::skip(reader)?;
        B::skip(reader)
    }
}

/// A struct is its fields in this order.
macro_rules! coded_struct {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        $(impl $crate::journal::code::Coded for $name {
            fn put(&self, bytes: &mut Vec<u8>) {
                $($crate::journal::code::Coded::put(&self.$field, bytes);)*
            }

            fn take(
                reader: &mut $crate::journal::code::Reader<'_>,
            ) -> Result<$name, $crate::journal::code::CodeError> {
                $(let $field = $crate::journal::code::Coded::take(reader)?;)*
                Ok($name { $($field),* })
            }

            fn skip(
                reader: &mut $crate::journal::code::Reader<'_>,
            ) -> Result<(), $crate::journal::code::CodeError> {
                $(let $field = None; $crate::journal::code::skip_for(&$field, reader)?;)*
                let _types_of_fields = || Some($name { $($field: $field?),* });
                Ok(())
            }
        })*
    };
}
/// An enum is a byte per variant and the variant's fields. The bytes are kept for ever.
macro_rules! coded_enum {
    ($name:ident { $($tag:literal => $variant:ident $(($inner:ident))? $({ $($field:ident),* })?,)* }) => {
        impl $crate::journal::code::Coded for $name {
            fn put(&self, bytes: &mut Vec<u8>) {
                match self {
                    $($name::$variant $(($inner))? $({ $($field),* })? => {
                        bytes.push($tag);
                        $($crate::journal::code::Coded::put($inner, bytes);)?
                        $($($crate::journal::code::Coded::put($field, bytes);)*)?
                    })*
                }
            }

            fn take(
                reader: &mut $crate::journal::code::Reader<'_>,
            ) -> Result<$name, $crate::journal::code::CodeError> {
                match reader.byte()? {
                    $($tag => {
                        $(let $inner = $crate::journal::code::Coded::take(reader)?;)?
                        $($(let $field = $crate::journal::code::Coded::take(reader)?;)*)?
                        Ok($name::$variant $(($inner))? $({ $($field),* })?)
                    })*
                    _ => reader.fail(concat!("an unknown ", stringify!($name))),
                }
            }

            fn skip(
                reader: &mut $crate::journal::code::Reader<'_>,
            ) -> Result<(), $crate::journal::code::CodeError> {
                match reader.byte()? {
                    $($tag => {
                        $(
                            let $inner = None;
                            $crate::journal::code::skip_for(&$inner, reader)?;
                        )?
                        $($(
                            let $field = None;
                            $crate::journal::code::skip_for(&$field, reader)?;
                        )*)?
                        let _types_of_fields =
                            || Some($name::$variant $(($inner?))? $({ $($field: $field?),* })?);
                        Ok(())
                    })*
                    _ => reader.fail(concat!("an unknown ", stringify!($name))),
                }
            }
        }
    };
}
pub(crate) use {coded_enum, coded_struct};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::domain::ids::Text;
    use crate::domain::tokens::Tokens;

    fn written(value: &impl Coded) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        bytes
    }

    fn read<T: Coded>(bytes: &[u8]) -> Result<T, CodeError> {
        let mut reader = Reader::new(bytes);
        let value = T::take(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    #[test]
    fn a_whole_amount_takes_few_bytes() {
        assert_eq!(written(&Tokens::whole(30)).len(), 1);
        assert_eq!(written(&Tokens::whole(1_000_000)).len(), 3);
        assert_eq!(read(&written(&Tokens::MAX)), Ok(Tokens::MAX));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused_before_anything_is_allocated() {
        let mut bytes = Vec::new();
        put_number(u128::MAX, &mut bytes);
        assert_eq!(read::<Vec<u64>>(&bytes).unwrap_err().reason, "a length passes the end");
        assert_eq!(read::<u64>(&[0xff; 40]).unwrap_err().reason, "a number is too large");
        assert_eq!(read::<bool>(&[2]).unwrap_err().reason, "neither 0 nor 1");
        assert_eq!(read::<bool>(&[1, 1]).unwrap_err().reason, "goes on after its end");
    }

    proptest! {
        #[test]
        fn amounts_and_numbers_come_back(units in 0..=Tokens::MAX.units(), number: u64) {
            let tokens = Tokens::from_units(units).unwrap();
            prop_assert_eq!(read(&written(&tokens)), Ok(tokens));
            prop_assert_eq!(read(&written(&number)), Ok(number));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = read::<Vec<Option<Tokens>>>(&bytes);
            let _ = read::<Vec<Text>>(&bytes);
        }
    }
}
