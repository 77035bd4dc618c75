//! Targets that farebox was built for, each with what was measured.

use std::fmt::Write as _;

/// One of the targets that farebox was built for.
pub struct Goal {
    what: String,
    needed: Needed,
    measured: Option<f64>,
}

enum Needed {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    /// What is measured is to be no less than the limit.
    pub fn at_least(what: &str, limit: f64, measured: Option<f64>) -> Goal {
        Goal { what: what.to_owned(), needed: Needed::AtLeast(limit), measured }
    }

    /// What is measured is to be no more than the limit.
    pub fn at_most(what: &str, limit: f64, measured: Option<f64>) -> Goal {
        Goal { what: what.to_owned(), needed: Needed::AtMost(limit), measured }
    }
}

/// Every target, what was measured, and whether that meets it.
pub fn table(goals: &[Goal]) -> String {
    let mut table = "| what | target | measured | |\n|---|---|---|---|\n".to_owned();
    for Goal { what, needed, measured } in goals {
        // How far it is from being met, as a share of the limit: nothing, if it is.
        let (bound, limit, short) = match *needed {
            Needed::AtLeast(limit) => {
                ("at least", limit, measured.map(|found| 1.0 - found / limit))
            }
            Needed::AtMost(limit) => ("at most", limit, measured.map(|found| found / limit - 1.0)),
        };
        let verdict = match short {
            Some(short) if short <= 0.0 => "met".to_owned(),
            Some(short) => format!("**missed** by {:.1} %", short * 100.0),
            None => String::new(),
        };
        let measured = measured.map_or("not measured".to_owned(), |found| format!("{found:.2}"));
        let _ = writeln!(table, "| {what} | {bound} {limit} | {measured} | {verdict} |");
    }
    table
}
