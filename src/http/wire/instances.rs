//! Instances (spec 2.2).

use std::sync::Arc;

use super::read::{self, Fault, Flaw, Shape, Value, required_name};
use super::{Bracket, Json};
use crate::domain::catalogue::InstanceEntry;
use crate::domain::ids::{Sequence, Text};

/// What an instance is created from.
#[derive(Debug)]
pub(crate) struct NewInstance {
    /// Its short name.
    pub(crate) short_name: Text,
    /// Its account.
    pub(crate) account_id: Text,
}

/// Reads the body of a creation.
pub(crate) fn read(body: &[u8]) -> Result<NewInstance, Fault> {
    read::object::<Creation>(body)
}

#[derive(Default)]
struct Creation {
    short_name: Option<Text>,
    account_id: Option<Text>,
}

impl<'a> Shape<'a> for Creation {
    type Whole = NewInstance;
    const MEMBERS: &'static [&'static str] = &["shortName", "accountId"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "shortName" => self.short_name = Some(value.text()?),
            _ => self.account_id = Some(value.text()?),
        }
        Ok(())
    }

    fn finish(self) -> Result<NewInstance, Flaw> {
        let short_name = required_name(self.short_name, "shortName")?;
        let account_id = required_name(self.account_id, "accountId")?;
        Ok(NewInstance { short_name, account_id })
    }
}

/// Writes one instance.
pub(crate) fn write(entry: &InstanceEntry) -> Vec<u8> {
    let mut json = Json::with_capacity(256);
    write_entry(&mut json, entry);
    json.into_bytes()
}

/// Writes a page; the cursor is 0 at the end.
pub(crate) fn write_page(entries: &[Arc<InstanceEntry>], next: Option<Sequence>) -> Vec<u8> {
    let mut json = Json::with_capacity(64 + 224 * entries.len());
    json.open(Bracket::Object);
    json.open_member("content", Bracket::Array);
    entries.iter().for_each(|entry| write_entry(&mut json, entry));
    json.close(Bracket::Array);
    json.plain("next", next.unwrap_or(Sequence::ZERO));
    json.close(Bracket::Object);
    json.into_bytes()
}

fn write_entry(json: &mut Json, entry: &InstanceEntry) {
    json.open(Bracket::Object);
    json.id("id", entry.id);
    json.text("shortName", entry.short_name.as_str());
    json.text("accountId", entry.account_id.as_str());
    json.plain("defaultInstance", entry.default);
    json.plain("created", entry.created);
    // Nothing of an instance can change yet.
    json.plain("modified", entry.created);
    json.close(Bracket::Object);
}
