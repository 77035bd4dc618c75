//! The stories of component licensing: how they are read, and what a stage is asked.

/// One line of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// The licence, before anything else: how many sessions at once, and how long they last.
    License {
        sessions: Option<u64>,
        duration_s: u64,
    },
    Begin {
        name: String,
        duration_s: Option<u64>,
    },
    Extend {
        name: String,
        duration_s: Option<u64>,
    },
    End {
        name: String,
    },
    Out {
        name: String,
        components: Vec<String>,
    },
    In {
        name: String,
        components: Vec<String>,
    },
    /// A checkout that may wait in line, under a name of its own.
    Wait {
        ticket: String,
        name: String,
        seconds: u64,
        components: Vec<String>,
    },
    /// What became of it.
    Told {
        ticket: String,
    },
    /// Its caller goes away.
    Leave {
        ticket: String,
    },
    /// Who waits, for what.
    Waiters,
    /// The broker stops.
    Stop,
    /// Takes the licence out.
    Away {
        name: String,
        duration_s: u64,
        of: Option<String>,
    },
    Back {
        name: String,
    },
    Revoke {
        name: String,
    },
    See {
        name: String,
        entitlement: String,
    },
    Size {
        name: String,
        entitlement: String,
    },
    List {
        name: String,
    },
    Entitle {
        id: String,
        pool: Pool,
        components: Vec<String>,
    },
    /// A line item of so many tokens, elastic, at 1 a count.
    Line {
        id: String,
        quantity: u64,
        state: String,
    },
    /// A one-off request.
    Access {
        count: u64,
    },
    /// A session of access requests.
    Session {
        name: String,
        count: u64,
    },
    Close {
        name: String,
    },
    /// What is used and held of a line item.
    Balance {
        id: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    Own { tokens: Option<u64>, seats: Option<u64> },
    Line(String),
}

/// The licence where a story does not say otherwise.
pub(crate) const LICENSE: Command = Command::License { sessions: None, duration_s: 7_776_000 };

/// Name, model, price and end of the trial of each component.
pub(crate) const COMPONENTS: [(&str, &str, u64, Option<&str>); 7] = [
    ("Mesher", "token", 30, None),
    ("Solver", "token", 50, None),
    ("Beta", "token", 40, Some("2030-01-31 00:00:00")),
    ("Report", "consumable token", 5, None),
    ("Viewer", "session", 0, None),
    ("Editor", "session", 0, None),
    ("Help", "none", 0, None),
];

/// The entitlements where a story does not say otherwise.
pub(crate) fn entitlements() -> [Command; 3] {
    let own = |id: &str, tokens, seats, components: &[&str]| Command::Entitle {
        id: id.to_owned(),
        pool: Pool::Own { tokens: Some(tokens), seats: Some(seats) },
        components: components.iter().map(|name| (*name).to_owned()).collect(),
    };
    [
        own("E1", 100, 0, &["Mesher", "Solver", "Beta"]),
        own("E2", 12, 0, &["Report"]),
        own("E3", 0, 2, &["Viewer", "Editor"]),
    ]
}

/// The term of the licence: its first and its last millisecond.
pub(crate) fn term() -> (u64, u64) {
    (ms("2030-01-01 00:00:00"), ms("2030-12-31 23:59:59.999"))
}

/// Whoever tells the stories.
pub(crate) trait Stage {
    /// Time is this from now on.
    fn at(&mut self, ms: u64);
    /// What comes of a command, in words.
    fn run(&mut self, command: &Command) -> String;
}

/// A story: moments, commands and answers.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) name: String,
    lines: Vec<(u64, Command, String)>,
}

impl Story {
    /// The licence of the story.
    pub(crate) fn license(&self) -> Command {
        let said = self.lines.first().map(|(_, command, _)| command.clone());
        said.filter(|command| matches!(command, Command::License { .. })).unwrap_or(LICENSE)
    }

    /// Tells it, line by line, to a stage that is set.
    pub(crate) fn play(&self, who: &str, stage: &mut impl Stage) {
        for (at, command, expected) in &self.lines {
            if matches!(command, Command::License { .. }) {
                continue;
            }
            stage.at(*at);
            let told = stage.run(command);
            assert_eq!(told, *expected, "{who}, {}: {command:?}", self.name);
        }
    }
}

/// Milliseconds of a UTC moment like `2030-01-31 10:00:00.5`.
pub(crate) fn ms(moment: &str) -> u64 {
    let (day, time) = moment.split_once(' ').expect("a day and a time");
    let parts: Vec<u64> = day.split('-').map(|part| part.parse().expect("a number")).collect();
    let [year, month, day] = parts.as_slice() else { panic!("not a day: {moment}") };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let parts: Vec<u64> = time.split(':').map(|part| part.parse().expect("a number")).collect();
    let [hour, minute, second] = parts.as_slice() else { panic!("not a time: {moment}") };
    // Days since 1970, by the civil calendar: March is the first month of a year.
    let (year, month) = if *month > 2 { (*year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let seconds = ((days - 719_468) * 24 + hour) * 3_600 + minute * 60 + second;
    let fraction: u64 = format!("{fraction:0<3}").parse().expect("a number");
    seconds * 1_000 + fraction
}

/// The moment of these milliseconds, in whole seconds.
pub(crate) fn moment(at: u64) -> String {
    let seconds = at / 1_000;
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (400 * era + year, if month < 10 { month + 3 } else { month - 9 });
    let year = if month <= 2 { year + 1 } else { year };
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// The stories of a file.
pub(crate) fn stories(file: &str) -> Vec<Story> {
    let mut stories: Vec<Story> = Vec::new();
    let mut at = term().0;
    for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            at = term().0;
            stories.push(Story { name: name.to_owned(), lines: Vec::new() });
            continue;
        }
        let (asked, expected) = line.split_once(" => ").unwrap_or((line, "ok"));
        let command = match asked.strip_prefix(". ") {
            Some(command) => command,
            None => {
                let mut words = asked.splitn(3, ' ');
                let (day, time) = (words.next(), words.next());
                at = ms(&format!("{} {}", day.expect("a day"), time.expect("a time")));
                words.next().expect("a command")
            }
        };
        let story = stories.last_mut().expect("a story begins with its name");
        story.lines.push((at, read(command), expected.to_owned()));
    }
    stories
}

fn read(line: &str) -> Command {
    let words: Vec<&str> = line.split(' ').collect();
    let [verb, rest @ ..] = words.as_slice() else { panic!("nothing is asked") };
    let set = |name: &str| {
        rest.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let number = |name: &str| set(name).map(|value| value.parse().expect("a number"));
    let limit = |name: &str| {
        set(name).filter(|value| value != "null").map(|value| value.parse().expect("a number"))
    };
    let plain: Vec<String> =
        rest.iter().filter(|word| !word.contains('=')).map(|word| (*word).to_owned()).collect();
    let name = plain.first().cloned().unwrap_or_default();
    let others = plain.get(1..).unwrap_or_default().to_vec();
    let other = || others.first().cloned().unwrap_or_default();
    let count = |word: String| word.parse().expect("a number");
    match *verb {
        "license" => Command::License {
            sessions: number("sessions"),
            duration_s: number("duration").unwrap_or(7_776_000),
        },
        "begin" => Command::Begin { name, duration_s: number("for") },
        "extend" => Command::Extend { name, duration_s: number("for") },
        "end" => Command::End { name },
        "out" => Command::Out { name, components: others },
        "in" => Command::In { name, components: others },
        "wait" => {
            let seconds = number("for").expect("a duration");
            let components = others.get(1..).unwrap_or_default().to_vec();
            Command::Wait { ticket: name, name: other(), seconds, components }
        }
        "told" => Command::Told { ticket: name },
        "leave" => Command::Leave { ticket: name },
        "waiters" => Command::Waiters,
        "stop" => Command::Stop,
        "away" => {
            let duration_s = number("for").expect("a duration");
            Command::Away { name, duration_s, of: set("of") }
        }
        "back" => Command::Back { name },
        "revoke" => Command::Revoke { name },
        "see" => Command::See { name, entitlement: other() },
        "size" => Command::Size { name, entitlement: other() },
        "list" => Command::List { name },
        "entitle" => {
            let own = || Pool::Own { tokens: limit("tokens"), seats: limit("seats") };
            Command::Entitle {
                id: name,
                pool: set("line").map_or_else(own, Pool::Line),
                components: others,
            }
        }
        "line" => {
            let state = others.get(1).cloned().unwrap_or("DEPLOYED".to_owned());
            Command::Line { id: name, quantity: count(other()), state }
        }
        "access" => Command::Access { count: count(name) },
        "session" => Command::Session { name, count: count(other()) },
        "close" => Command::Close { name },
        "balance" => Command::Balance { id: name },
        other => panic!("nobody knows how to {other}"),
    }
}
