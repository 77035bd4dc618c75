//! What a load consists of: the world it meets, what is asked in it how often, and how the asking
//! arrives. A profile is a TOML file; those of `loadtest/profiles` are built in.

use std::num::NonZero;
use std::path::Path;

use serde::Deserialize;

use crate::Anything;

/// The profiles that have a name.
const BUILT_IN: [(&str, &str); 12] = [
    ("canonical", include_str!("../profiles/canonical.toml")),
    ("hot", include_str!("../profiles/hot.toml")),
    ("spill", include_str!("../profiles/spill.toml")),
    ("split5", include_str!("../profiles/split5.toml")),
    ("keyed", include_str!("../profiles/keyed.toml")),
    ("sessions", include_str!("../profiles/sessions.toml")),
    ("puts", include_str!("../profiles/puts.toml")),
    ("storm", include_str!("../profiles/storm.toml")),
    ("components", include_str!("../profiles/components.toml")),
    ("refusals", include_str!("../profiles/refusals.toml")),
    ("overload", include_str!("../profiles/overload.toml")),
    ("mixed", include_str!("../profiles/mixed.toml")),
];

/// One kind of load.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is called: the name of its file.
    #[serde(skip)]
    pub name: String,
    /// What it shows, in one line.
    pub about: String,
    /// What is there before anything is measured.
    pub world: World,
    /// How often what is asked.
    pub mix: Mix,
    /// Sessions that are kept alive, over all connections; every one of them is in use before
    /// anything is measured.
    #[serde(default)]
    pub sessions: usize,
    /// Which instance a request is for.
    #[serde(default)]
    pub skew: Skew,
    /// Requests a second that come whether or not those before them were answered; without it
    /// every connection asks again as soon as it has its answer.
    pub per_second: Option<NonZero<u32>>,
    /// Connections unless the command line says otherwise.
    #[serde(default = "connections")]
    pub connections: NonZero<usize>,
}

/// What is there before anything is measured; every target makes its own picture of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// How many instances, all alike.
    pub instances: usize,
    /// The line items of each, in charging order: what each has left, in whole tokens. Those that
    /// have nothing left come first, and a target shows them as used up.
    pub line_items: Vec<u64>,
    /// Items in each rate table; the requested ones among them.
    #[serde(default)]
    pub rated_items: usize,
    /// What one request asks for.
    #[serde(default = "requested")]
    pub requested: Vec<Requested>,
    /// Whether every request has an idempotency key of its own.
    #[serde(default)]
    pub keyed: bool,
    /// Whether time stands still, until the end of an interval is reached at one blow and every
    /// session is due.
    #[serde(default)]
    pub storm: bool,
}

/// One item of a request. It costs `count * rate` tokens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requested {
    /// Its name.
    pub item: String,
    /// Its version.
    pub version: String,
    /// How many of it.
    pub count: u64,
    /// Whole tokens for one.
    pub rate: u64,
    /// The one line item that prices it, counted from 0; any, if it is left out.
    pub line_item: Option<usize>,
}

/// Weights: how often what is asked. A session that is not there is created when it is its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mix {
    /// One-off requests.
    pub one_off: u32,
    /// A session is told its complete set.
    pub put: u32,
    /// A heartbeat of a session.
    pub heartbeat: u32,
    /// A session is closed; its place is taken by a new one.
    pub close: u32,
    /// Components are checked out, or in again.
    pub components: u32,
}

/// Which instance a request is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skew {
    /// Any, as likely as every other.
    #[default]
    Even,
    /// The first twice as often as the second, three times as often as the third.
    Zipf,
}

fn connections() -> NonZero<usize> {
    NonZero::new(64).expect("not zero")
}

/// The tutorial's request.
fn requested() -> Vec<Requested> {
    [("PhotoPrint", "1.0", 10, 3), ("CADPrint", "2.0", 2, 7)]
        .map(|(item, version, count, rate)| {
            let (item, version) = (item.to_owned(), version.to_owned());
            Requested { item, version, count, rate, line_item: None }
        })
        .to_vec()
}

impl Profile {
    /// The profile of that name, or of the TOML file at that path.
    ///
    /// # Errors
    /// If there is none, it cannot be read, or nothing can be made of it.
    pub fn load(name: &str) -> Result<Profile, Anything> {
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let text = match built_in {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(name).map_err(|error| {
                let known = Self::names().collect::<Vec<_>>().join(", ");
                format!("`{name}` is neither a profile ({known}) nor a file: {error}")
            })?,
        };
        let wrong = |error: &dyn std::fmt::Display| format!("profile `{name}`: {error}");
        let mut profile: Profile = toml::from_str(&text).map_err(|error| wrong(&error))?;
        let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str());
        profile.name = stem.unwrap_or(name).to_owned();
        profile.check().map_err(|error| wrong(&error))?;
        Ok(profile)
    }

    /// The names of those that are built in.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Whether one-off requests are all that is asked.
    pub fn has_only_one_offs(&self) -> bool {
        let Mix { one_off: _, put, heartbeat, close, components } = self.mix;
        put + heartbeat + close + components == 0
    }

    fn check(&self) -> Result<(), String> {
        let World { instances, line_items, requested, storm, .. } = &self.world;
        let Mix { one_off, put, heartbeat, close, components } = self.mix;
        if *instances == 0 || line_items.is_empty() || requested.is_empty() {
            return Err("a world has instances, line items and what is requested".to_owned());
        }
        if line_items.iter().skip_while(|left| **left == 0).any(|left| *left == 0) {
            return Err("`line_items` that have nothing left come first".to_owned());
        }
        let mut bound = requested.iter().filter_map(|item| item.line_item);
        if bound.any(|at| at >= line_items.len()) {
            return Err("`line_item` is counted from 0, and there are not so many".to_owned());
        }
        if one_off + put + heartbeat + close + components == 0 {
            return Err("`mix` has no weight".to_owned());
        }
        if (self.sessions == 0) != (put + heartbeat + close == 0) {
            return Err("`sessions` are kept where the mix has them, and only there".to_owned());
        }
        if *storm && (one_off + put + close + components > 0) {
            return Err("a storm is met with heartbeats alone".to_owned());
        }
        Ok(())
    }
}

impl World {
    /// What one request costs, in millionths of a token.
    pub fn cost(&self) -> i128 {
        self.requested.iter().map(|item| i128::from(item.count * item.rate) * 1_000_000).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What users read.
    const README: &str = include_str!("../README.md");

    /// The fields of a table, as serde lists them where it meets one that is none.
    fn fields<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let refused = toml::from_str::<T>("nonsense = 1").err().expect("no such field");
        let refused = refused.to_string();
        let (_, listed) = refused.split_once("expected one of ").expect("a list");
        listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_field_of_a_profile_is_in_the_table_that_users_read() {
        let tables = [
            ("", fields::<Profile>()),
            ("world.", fields::<World>()),
            ("world.requested.", fields::<Requested>()),
            ("mix.", fields::<Mix>()),
        ];
        let (_, table) = README.split_once("| Field | Default |").expect("the table");
        let (table, _) = table.split_once("\n\n").expect("its end");
        let mut rows = 0;
        for (within, fields) in tables {
            assert!(fields.len() >= 5, "{within}: {fields:?}");
            for field in fields {
                let row = match field.as_str() {
                    "world" | "mix" => format!("\n| **`[{field}]`** | "),
                    _ => format!("\n| `{within}{field}` | "),
                };
                assert_eq!(table.matches(&row).count(), 1, "{row}");
                rows += 1;
            }
        }
        assert_eq!(table.matches("\n| ").count(), rows, "no row is of a field that is gone");
    }
}
