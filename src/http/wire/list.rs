//! Bodies that are lists of objects. Such a list is read as the only member of an object, in its own
//! line; faults name it as it was.

use std::marker::PhantomData;

use super::read::{self, Fault, Flaw, Shape, Value};

/// Reads a body that must be a list of at most `MAX` objects of this shape.
pub(super) fn list<S, W, const MAX: usize>(body: &[u8]) -> Result<Vec<W>, Fault>
where
    S: for<'a> Shape<'a, Whole = W>,
{
    if !begins(body, b'[') {
        let found = std::str::from_utf8(body)
            .map_err(|error| read::not_utf8(body, error.valid_up_to()))
            .map(|text| (serde_json::from_str::<serde::de::IgnoredAny>(text), text))?;
        return Err(match found {
            (Err(error), _) => read::bad_json(&error),
            (Ok(_), text) => {
                let found = read::type_name(text.trim());
                let detail = format!("the body must be a list, {found} found");
                Fault { code: "bad-type", detail }
            }
        });
    }
    let wrapped = [b"{\"list\":", body, b"}"].concat();
    let whole = read::object::<Wrapped<S, W, MAX>>(&wrapped);
    whole.map_err(|fault| {
        // What is wrong with the whole list needs no pointer.
        let detail = fault.detail.replacen("`/list`: ", "", 1).replacen("`/list", "`", 1);
        Fault { detail, ..fault }
    })
}

/// Whether this is the first byte of the body that is not blank.
pub(super) fn begins(body: &[u8], with: u8) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&with)
}

struct Wrapped<S, W, const MAX: usize>(Vec<W>, PhantomData<S>);

impl<S, W, const MAX: usize> Default for Wrapped<S, W, MAX> {
    fn default() -> Wrapped<S, W, MAX> {
        Wrapped(Vec::new(), PhantomData)
    }
}

impl<'a, S: Shape<'a, Whole = W>, W, const MAX: usize> Shape<'a> for Wrapped<S, W, MAX> {
    type Whole = Vec<W>;
    const MEMBERS: &'static [&'static str] = &["list"];

    fn set(&mut self, _member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        self.0 = value.list::<S>(MAX)?;
        Ok(())
    }

    fn finish(self) -> Result<Vec<W>, Flaw> {
        Ok(self.0)
    }
}
