//! What the producer configures (spec 2.9, 8): names, values, and since when each holds.

use std::collections::BTreeMap;

use super::event::{Event, Record};
use super::ids::{Sequence, Text};
use super::limits::{CHARGE_PERIOD_DEFAULT_MS, CHARGE_PERIOD_MAX_MS, CHARGE_PERIOD_MIN_MS};
use super::refusal::Refusal;
use super::time::{Period, Timestamp};

const MINUTE_MS: u64 = 60_000;

/// The name of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingName {
    /// `timezone.tolerant`
    TimezoneTolerant,
    /// `session.charge.period`
    ChargePeriod,
}

impl SettingName {
    /// All of them, in the order in which they are listed.
    pub const ALL: [SettingName; 2] = [SettingName::TimezoneTolerant, SettingName::ChargePeriod];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            SettingName::TimezoneTolerant => "timezone.tolerant",
            SettingName::ChargePeriod => "session.charge.period",
        }
    }
}

/// A value of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Whether line items may be used 12 hours before their start and after their end.
    TimezoneTolerant(bool),
    /// How long a charge of a session pays for; whole minutes, 10 minutes to 24 hours.
    ChargePeriod(Period),
}

impl Setting {
    /// Reads a setting as a producer writes it.
    ///
    /// # Errors
    /// [`Refusal::UnknownSetting`], [`Refusal::BadSetting`], [`Refusal::BadInterval`].
    pub fn parse(name: &str, value: &str) -> Result<Setting, Refusal> {
        let known = SettingName::ALL.into_iter().find(|known| known.as_str() == name);
        match (known.ok_or(Refusal::UnknownSetting)?, value) {
            (SettingName::TimezoneTolerant, "true") => Ok(Setting::TimezoneTolerant(true)),
            (SettingName::TimezoneTolerant, "false") => Ok(Setting::TimezoneTolerant(false)),
            (SettingName::TimezoneTolerant, _) => Err(Refusal::BadSetting),
            (SettingName::ChargePeriod, value) => {
                parse_interval(value).map(Setting::ChargePeriod).ok_or(Refusal::BadInterval)
            }
        }
    }

    /// Which setting it is of.
    pub const fn name(self) -> SettingName {
        match self {
            Setting::TimezoneTolerant(_) => SettingName::TimezoneTolerant,
            Setting::ChargePeriod(_) => SettingName::ChargePeriod,
        }
    }

    /// The value as it is written.
    pub fn value(self) -> String {
        match self {
            Setting::TimezoneTolerant(tolerant) => tolerant.to_string(),
            Setting::ChargePeriod(period) => {
                let minutes = period.as_ms().get() / MINUTE_MS;
                match (minutes / 60, minutes % 60) {
                    (hours, 0) => format!("PT{hours}H"),
                    (0, minutes) => format!("PT{minutes}M"),
                    (hours, minutes) => format!("PT{hours}H{minutes}M"),
                }
            }
        }
    }
}

/// `PTnH`, `PTnM` or `PTnHnM`, from 10 minutes to 24 hours.
fn parse_interval(text: &str) -> Option<Period> {
    let rest = text.strip_prefix("PT")?;
    let (hours, rest) = match rest.split_once('H') {
        Some((hours, rest)) => (whole(hours)?, rest),
        None => (0, rest),
    };
    let minutes = match rest.strip_suffix('M') {
        Some(minutes) => whole(minutes)?,
        None if rest.is_empty() => 0,
        None => return None,
    };
    let ms = hours.checked_mul(60)?.checked_add(minutes)?.checked_mul(MINUTE_MS)?;
    let allowed = CHARGE_PERIOD_MIN_MS..=CHARGE_PERIOD_MAX_MS;
    if allowed.contains(&ms) { Period::from_ms(ms) } else { None }
}

fn whole(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// When and by whom a setting was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// When.
    pub at: Timestamp,
    /// The key id of the token; empty for the process itself.
    pub by: Text,
}

/// All settings at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// See [`Setting::TimezoneTolerant`].
    pub timezone_tolerant: bool,
    /// See [`Setting::ChargePeriod`].
    pub charge_period: Period,
    /// The changes of those that are not at their defaults (spec 8).
    changed: BTreeMap<SettingName, Changed>,
}

impl Default for Configuration {
    fn default() -> Configuration {
        let charge_period = Period::from_ms(CHARGE_PERIOD_DEFAULT_MS);
        Configuration {
            timezone_tolerant: false,
            charge_period: charge_period.expect("the default period is not nothing"),
            changed: BTreeMap::new(),
        }
    }
}

impl Configuration {
    /// The settings in the order of their names, each with its last change if it is not at its
    /// default.
    pub fn settings(&self) -> impl Iterator<Item = (Setting, Option<&Changed>)> {
        SettingName::ALL.into_iter().map(|name| (self.get(name), self.changed.get(&name)))
    }

    fn get(&self, name: SettingName) -> Setting {
        match name {
            SettingName::TimezoneTolerant => Setting::TimezoneTolerant(self.timezone_tolerant),
            SettingName::ChargePeriod => Setting::ChargePeriod(self.charge_period),
        }
    }

    fn set(&mut self, setting: Setting, changed: Changed) {
        match setting {
            Setting::TimezoneTolerant(tolerant) => self.timezone_tolerant = tolerant,
            Setting::ChargePeriod(period) => self.charge_period = period,
        }
        if setting == Configuration::default().get(setting.name()) {
            self.changed.remove(&setting.name());
        } else {
            self.changed.insert(setting.name(), changed);
        }
    }
}

/// What one call changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationChange {
    /// When, and by whom.
    pub changed: Changed,
    /// The new values, in the order sent.
    pub settings: Vec<Setting>,
}

impl ConfigurationChange {
    /// What a record changed, if it is one of settings.
    pub fn of(record: &Record) -> Option<ConfigurationChange> {
        let Event::Configured { by, settings } = &record.event else { return None };
        let changed = Changed { at: record.at, by: by.clone() };
        Some(ConfigurationChange { changed, settings: settings.clone() })
    }
}

/// The settings through time: what falls due late is decided by those of its own instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationHistory {
    /// By the record of the change, each with what held from then on.
    versions: imbl::OrdMap<Sequence, (ConfigurationChange, Configuration)>,
    first: Configuration,
}

impl ConfigurationHistory {
    /// What held at an instant.
    pub fn at(&self, now: Timestamp) -> &Configuration {
        let mut versions = self.versions.values().rev();
        let version = versions.find(|(change, _)| change.changed.at <= now);
        version.map_or(&self.first, |(_, configuration)| configuration)
    }

    /// What was changed last of all.
    pub fn latest(&self) -> &Configuration {
        self.versions.get_max().map_or(&self.first, |(_, (_, configuration))| configuration)
    }

    /// Adds what a record changed; one that is known already changes nothing.
    pub fn insert(&mut self, record: Sequence, change: ConfigurationChange) {
        if self.versions.get_max().is_none_or(|(last, _)| *last < record) {
            let mut now = self.latest().clone();
            for setting in &change.settings {
                now.set(*setting, change.changed.clone());
            }
            self.versions.insert(record, (change, now));
            return;
        }
        // Entries of a snapshot come in any order.
        self.versions.insert(record, (change, Configuration::default()));
        let mut now = Configuration::default();
        let versions = self.versions.iter().map(|(record, (change, _))| {
            for setting in &change.settings {
                now.set(*setting, change.changed.clone());
            }
            (*record, (change.clone(), now.clone()))
        });
        self.versions = versions.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_whole_minutes_from_ten_to_a_day() {
        for (text, minutes) in [
            ("PT1H", Some(60)),
            ("PT30M", Some(30)),
            ("PT1H30M", Some(90)),
            ("PT90M", Some(90)),
            ("PT10M", Some(10)),
            ("PT24H", Some(1440)),
            ("PT1440M", Some(1440)),
            ("PT0H10M", Some(10)),
            ("PT0H", None),
            ("PT9M", None),
            ("PT9M59S", None),
            ("PT24H1M", None),
            ("PT90S", None),
            ("PT0S", None),
            ("PT10S", None),
            ("P1D", None),
            ("PT", None),
            ("PTH", None),
            ("PT1H30", None),
            ("PT1M1H", None),
            ("PT-60M", None),
            ("PT+60M", None),
            ("pt1h", None),
            (" PT1H", None),
            ("PT99999999999999999999H", None),
            ("", None),
        ] {
            let expected = minutes.and_then(|minutes| Period::from_ms(minutes * MINUTE_MS));
            let told = Setting::parse("session.charge.period", text);
            assert_eq!(told.ok(), expected.map(Setting::ChargePeriod), "{text}");
        }
    }

    #[test]
    fn a_value_is_written_in_its_shortest_form() {
        for (text, written) in
            [("PT90M", "PT1H30M"), ("PT1440M", "PT24H"), ("PT0H10M", "PT10M"), ("PT60M", "PT1H")]
        {
            let setting = Setting::parse("session.charge.period", text).unwrap();
            assert_eq!(setting.value(), written);
        }
        assert_eq!(Setting::parse("timezone.tolerant", "TRUE"), Err(Refusal::BadSetting));
        assert_eq!(Setting::parse("timezone", "true"), Err(Refusal::UnknownSetting));
    }

    #[test]
    fn what_holds_is_what_was_changed_last_before_and_the_default_clears() {
        let mut history = ConfigurationHistory::default();
        let change = |at, setting| ConfigurationChange {
            changed: Changed { at: Timestamp::from_ms(at), by: Text::empty() },
            settings: vec![setting],
        };
        let minutes =
            |minutes| Setting::ChargePeriod(Period::from_ms(minutes * MINUTE_MS).unwrap());
        history.insert(Sequence::new(9), change(200, minutes(60)));
        history.insert(Sequence::new(4), change(100, minutes(10)));
        let period =
            |at| history.at(Timestamp::from_ms(at)).charge_period.as_ms().get() / MINUTE_MS;
        assert_eq!([period(99), period(100), period(199), period(200)], [60, 10, 10, 60]);
        let changed =
            |at: u64| history.at(Timestamp::from_ms(at)).settings().nth(1).unwrap().1.is_some();
        assert_eq!([changed(99), changed(100), changed(200)], [false, true, false]);
    }
}
