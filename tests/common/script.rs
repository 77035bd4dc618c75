//! A small language for stories, told to anything that is a [`Stage`].
//!
//! A line is `<time> <command> => <answer>` (`ok` where none is written); time is in minutes, or
//! `minutes:milliseconds`. Instance `I` and table P (spec section 11) are there from the start.
//! Items are `<count>x<name>[/<version>][{<variable>=<value>,...}]`, prices `<name>=<rate>` or
//! `<name>:=<formula>`, which has no spaces then; what a line item gives is `<line item>:<tokens>`,
//! with `@<action>` where an allocation counts it. A story begins with a line `== <name>`.

use super::model::{
    Action, Amount, Answer, Available, Clause, Item, ItemAnswer, LineAnswer, LineItemState, OnDeny,
    Overdraft, Price, RateTable, RatedItem, Refused, Rule, SessionAnswer, SessionState, Setting,
    Standing, Terms, Who, decimal, text,
};

/// Minute 0 of every story.
const ZERO_MS: i64 = 1_700_000_000_000;

/// Where a story is played: the model, or the product. Every command comes at its own time, which
/// never runs backwards.
pub trait Stage {
    fn publish_rate_table(&mut self, at: u64, table: RateTable) -> Answer;
    fn delete_rate_table(&mut self, at: u64, series: &str, version: &str) -> Answer;
    /// Whether it is its account's default.
    fn create_instance(&mut self, at: u64, id: &str, account: &str) -> bool;
    fn instances(&mut self, at: u64) -> Vec<String>;
    fn default_instance(&mut self, at: u64, account: &str) -> Vec<String>;
    fn put_line_item(&mut self, at: u64, instance: &str, id: &str, terms: Terms) -> Answer;
    fn delete_line_item(&mut self, at: u64, instance: &str, id: &str) -> Answer;
    fn access(&mut self, at: u64, instance: &str, items: &[Item]) -> Answer<Vec<ItemAnswer>>;
    fn create_session(&mut self, at: u64, id: &str, instance: &str) -> Answer;
    fn put_session(
        &mut self,
        at: u64,
        id: &str,
        items: &[Item],
        on_deny: OnDeny,
    ) -> Answer<SessionAnswer>;
    /// What `access` would answer, and nothing happens.
    fn quote(&mut self, at: u64, instance: &str, items: &[Item]) -> Answer<Vec<ItemAnswer>>;
    /// What `put_session` would answer, with the state that the session keeps.
    fn quote_session(
        &mut self,
        at: u64,
        id: &str,
        items: &[Item],
        on_deny: OnDeny,
    ) -> Answer<SessionAnswer>;
    /// How the line items stand that the last of these four touched, if it was answered.
    fn standings(&mut self) -> Vec<Standing>;
    fn heartbeat(&mut self, at: u64, id: &str) -> Answer;
    fn close_session(&mut self, at: u64, id: &str) -> Answer<SessionAnswer>;
    /// Its state, and the end of the paid period or 0.
    fn session(&mut self, at: u64, id: &str) -> Answer<(SessionState, u64)>;
    fn used(&mut self, at: u64, instance: &str, id: &str) -> Answer<Amount>;
    fn available(&mut self, at: u64, instance: &str, id: &str) -> Answer<Available>;
    fn line_items(&mut self, at: u64, instance: &str) -> Vec<String>;
    fn configure(&mut self, at: u64, setting: Setting) -> Answer;
    /// Who asks for access from now on.
    fn ask_as(&mut self, who: Who);
    fn set_condition(&mut self, at: u64, instance: &str, name: &str, rule: Rule) -> Answer;
    fn delete_condition(&mut self, at: u64, instance: &str, name: &str) -> Answer;
    /// All of them: those that were there by their names, and new ones.
    fn set_actions(
        &mut self,
        at: u64,
        instance: &str,
        activation: &str,
        actions: Vec<Action>,
    ) -> Answer;
    fn counters(
        &mut self,
        at: u64,
        instance: &str,
        activation: &str,
    ) -> Answer<Vec<(String, Amount)>>;
}

/// One story of a file.
#[derive(Clone, Debug)]
pub struct Story {
    pub name: String,
    /// Line number in the file, command with its time, expected answer.
    steps: Vec<(usize, String, String)>,
}

/// The stories of a file. Blank lines and lines that begin with `#` are for people.
pub fn stories(file: &str) -> Vec<Story> {
    let mut stories = Vec::<Story>::new();
    for (number, line) in (1..).zip(file.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            stories.push(Story { name: name.to_owned(), steps: Vec::new() });
            continue;
        }
        let story = stories.last_mut().unwrap_or_else(|| panic!("line {number}: no story yet"));
        let (given, expected) = line.split_once("=>").unwrap_or((line, "ok"));
        story.steps.push((number, given.trim().to_owned(), expected.trim().to_owned()));
    }
    stories
}

impl Story {
    /// Whether v1.0 of the API has no words for it.
    pub fn has_formulas(&self) -> bool {
        self.steps.iter().any(|(_, given, _)| given.contains(":=") || given.contains('{'))
    }

    /// Plays it; `who` is named where the answer is not the expected one.
    pub fn play(&self, who: &str, stage: &mut impl Stage) {
        assert!(!self.steps.is_empty(), "`{}` tells nothing", self.name);
        stage.create_instance(time("-2000"), "I", "Acme");
        let prices = "table P 1 -1900 PhotoPrint=3 SignPrint=4 CADPrint=7";
        assert_eq!(run(stage, time("-1900"), prices), "ok");
        for (number, given, expected) in &self.steps {
            let (at, command) = given.split_once(' ').expect("a time and a command");
            let told = run(stage, time(at), command.trim());
            assert_eq!(told, *expected, "{who}, `{}`, line {number}: {given}", self.name);
        }
    }
}

pub fn time(word: &str) -> u64 {
    let (minutes, ms) = word.split_once(':').unwrap_or((word, "0"));
    let number = |word: &str| word.parse::<i64>().unwrap_or_else(|_| panic!("bad time `{word}`"));
    u64::try_from(ZERO_MS + number(minutes) * 60_000 + number(ms)).expect("after 1970")
}

pub fn item(word: &str) -> Item {
    let (word, variables) = word.split_once('{').unwrap_or((word, ""));
    let pairs = variables.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
    let variable = |pair: &str| {
        let (name, value) = pair.split_once('=').expect("a name and a value");
        (name.to_owned(), decimal(value))
    };
    let variables = pairs.map(variable).collect();
    let (count, name) = word.split_once('x').unwrap_or_else(|| panic!("bad item `{word}`"));
    let usual = match name {
        "PhotoPrint" | "SignPrint" | "PhotoAlbum" => "1.0",
        "CADPrint" => "2.0",
        _ => "",
    };
    let (name, version) = name.split_once('/').unwrap_or((name, usual));
    Item { variables, ..Item::new(name, version, count) }
}

fn items(words: &[&str]) -> Vec<Item> {
    words.iter().map(|word| item(word)).collect()
}

pub fn rated(word: &str) -> RatedItem {
    let (name, price) = match word.split_once(":=") {
        Some((name, formula)) => (name, Price::Formula(formula.to_owned())),
        None => match word.split_once('=') {
            Some((name, rate)) => (name, Price::Rate(decimal(rate))),
            None => panic!("bad price `{word}`"),
        },
    };
    let Item { name, version, .. } = item(&format!("1x{name}"));
    RatedItem { name, version, price }
}

/// `<key> IN|NOT <value>,…`, several joined by `AND` or by `OR`.
fn rule(words: &[&str]) -> Rule {
    let clauses = words.chunks(4).map(|words| {
        let [key, operator, values, ..] = words else { panic!("bad condition {words:?}") };
        let values = values.split(',').map(str::to_owned).collect();
        Clause { key: (*key).to_owned(), is_in: *operator == "IN", values }
    });
    Rule { any: words.get(3) == Some(&"OR"), clauses: clauses.collect() }
}

/// `<name>=<allocation|allow|deny>[:<condition>]`.
fn action(word: &str) -> Action {
    let (name, rest) = word.split_once('=').unwrap_or_else(|| panic!("bad action `{word}`"));
    let (effect, condition) = rest.split_once(':').map_or((rest, None), |(e, c)| (e, Some(c)));
    let allocation = if matches!(effect, "allow" | "deny") { None } else { Some(decimal(effect)) };
    let (id, condition) = (name.to_owned(), condition.map(str::to_owned));
    Action { id, condition, allow: effect != "deny", allocation }
}

/// A line item's usual terms, with changes such as `quantity=10` or `INACTIVE`.
pub fn terms(words: &[&str]) -> Terms {
    let mut terms = Terms {
        state: LineItemState::Deployed,
        quantity: 1000,
        start: time("-1000"),
        end: time("9000000"),
        elastic: true,
        series: "P".to_owned(),
        overdraft: Overdraft::None,
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("INACTIVE", _) => terms.state = LineItemState::Inactive,
            ("OBSOLETE", _) => terms.state = LineItemState::Obsolete,
            ("quantity", value) => terms.quantity = value.parse().expect("a quantity"),
            ("start", value) => terms.start = time(value),
            ("end", value) => terms.end = time(value),
            ("inelastic", _) => terms.elastic = false,
            ("series", value) => terms.series = value.to_owned(),
            ("overdraft", "unlimited") => terms.overdraft = Overdraft::Unlimited,
            ("overdraft", value) => {
                terms.overdraft = Overdraft::Number(value.parse().expect("a limit"));
            }
            _ => panic!("unknown term `{word}`"),
        }
    }
    terms
}

/// Such as `101[ACT01:7,ACT02:49] 306`.
pub fn shown_items(answers: &[ItemAnswer]) -> String {
    let shown = |answer: &ItemAnswer| {
        let line = |line: &LineAnswer| {
            let action = line.action.as_ref().map(|action| format!("@{action}"));
            format!("{}:{}{}", line.activation, text(&line.tokens), action.unwrap_or_default())
        };
        let lines: Vec<String> = answer.lines.iter().map(line).collect();
        let sum: Amount = answer.lines.iter().map(|line| line.tokens.clone()).sum();
        assert_eq!(sum, answer.total, "tokensCharged make totalTokensCharged");
        match lines.is_empty() {
            true => format!("{}", answer.status as u16),
            false => format!("{}[{}]", answer.status as u16, lines.join(",")),
        }
    };
    answers.iter().map(shown).collect::<Vec<_>>().join(" ")
}

fn shown_session(answer: &SessionAnswer) -> String {
    let mut words: Vec<String> = vec![shown_items(&answer.items)];
    let refund =
        |(activation, tokens): &(String, Amount)| format!("-{activation}:{}", text(tokens));
    words.extend(answer.refund.iter().map(refund));
    words.push(shown_state(&(answer.state, answer.charged_until)));
    words.join(" ").trim().to_owned()
}

fn shown_state((state, charged_until): &(SessionState, u64)) -> String {
    match state {
        SessionState::Active => format!("{state:?} {}", minutes(*charged_until)),
        SessionState::Idle | SessionState::Terminated | SessionState::Failed => {
            format!("{state:?}")
        }
    }
}

fn minutes(ms: u64) -> String {
    let ms = i64::try_from(ms).expect("a time") - ZERO_MS;
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    if rest == 0 { format!("@{minutes}") } else { format!("@{minutes}:{rest}") }
}

fn outcome<T>(answer: Result<T, Refused>, shown: impl Fn(&T) -> String) -> String {
    match answer {
        Ok(answer) => shown(&answer),
        Err(refused) => format!("{refused:?}"),
    }
}

fn shown_available(available: &Available) -> String {
    match available {
        Available::Tokens(tokens) => text(tokens),
        Available::Unbounded => "unbounded".to_owned(),
    }
}

fn on_deny(word: &str) -> OnDeny {
    match word {
        "back" => OnDeny::RollBack,
        "end" => OnDeny::Terminate,
        word => panic!("`back` or `end`, not `{word}`"),
    }
}

/// Such as `timezone.tolerant=true`; intervals in whole minutes, `PT10M`.
fn parsed(word: &str) -> Setting {
    match word.split_once('=') {
        Some(("timezone.tolerant", value)) => Setting::TimezoneTolerant(value == "true"),
        Some(("session.charge.period", value)) => {
            let minutes = value.trim_start_matches("PT").trim_end_matches('M');
            Setting::ChargePeriod(60_000 * minutes.parse::<u64>().expect("minutes"))
        }
        _ => panic!("bad setting `{word}`"),
    }
}

/// Runs one command and shows its answer.
pub fn run(stage: &mut impl Stage, at: u64, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let ok = |(): &()| "ok".to_owned();
    let series = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
    match words.as_slice() {
        ["table", name, version, from, prices @ ..] => {
            let items = prices.iter().map(|word| rated(word)).collect();
            let (series, version) = (series(name), (*version).to_owned());
            let table = RateTable { series, version, effective_from: time(from), items };
            outcome(stage.publish_rate_table(at, table), ok)
        }
        ["delete-table", name, version] => {
            outcome(stage.delete_rate_table(at, &series(name), version), ok)
        }
        ["instance", id, account] => format!("default={}", stage.create_instance(at, id, account)),
        ["instances"] => stage.instances(at).join(" "),
        ["default-of", account] => stage.default_instance(at, account).join(" "),
        ["line", activation, rest @ ..] => {
            outcome(stage.put_line_item(at, "I", activation, terms(rest)), ok)
        }
        ["line-of", instance, activation] => {
            outcome(stage.put_line_item(at, instance, activation, terms(&[])), ok)
        }
        ["delete-line", activation] => outcome(stage.delete_line_item(at, "I", activation), ok),
        ["access", wanted @ ..] => {
            outcome(stage.access(at, "I", &items(wanted)), |answers| shown_items(answers))
        }
        ["open", id] => outcome(stage.create_session(at, id, "I"), ok),
        ["quote", "put", id, word, wanted @ ..] => {
            let told = stage.quote_session(at, id, &items(wanted), on_deny(word));
            outcome(told, shown_session)
        }
        ["quote", wanted @ ..] => {
            outcome(stage.quote(at, "I", &items(wanted)), |answers| shown_items(answers))
        }
        ["put", id, word, wanted @ ..] => {
            outcome(stage.put_session(at, id, &items(wanted), on_deny(word)), shown_session)
        }
        ["standings"] => {
            let shown = |Standing { activation, used, available }: &Standing| {
                format!("{activation}:{}/{}", text(used), shown_available(available))
            };
            stage.standings().iter().map(shown).collect::<Vec<_>>().join(" ")
        }
        ["beat", id] => outcome(stage.heartbeat(at, id), ok),
        ["close", id] => outcome(stage.close_session(at, id), shown_session),
        ["session", id] => outcome(stage.session(at, id), shown_state),
        ["used", ids @ ..] => {
            let used: Vec<_> =
                ids.iter().map(|id| outcome(stage.used(at, "I", id), text)).collect();
            used.join(" ")
        }
        ["available", id] => outcome(stage.available(at, "I", id), shown_available),
        ["set", setting] => outcome(stage.configure(at, parsed(setting)), ok),
        ["as", pairs @ ..] => {
            let mut who = Who::new();
            for pair in pairs {
                let (key, value) = pair.split_once('=').expect("a key and a value");
                who.entry(key.to_owned()).or_default().insert(value.to_owned());
            }
            stage.ask_as(who);
            "ok".to_owned()
        }
        ["condition", name, clauses @ ..] => {
            outcome(stage.set_condition(at, "I", name, rule(clauses)), ok)
        }
        ["uncondition", name] => outcome(stage.delete_condition(at, "I", name), ok),
        ["actions", activation, words @ ..] => {
            let actions = words.iter().map(|word| action(word)).collect();
            outcome(stage.set_actions(at, "I", activation, actions), ok)
        }
        ["counters", activation] => outcome(stage.counters(at, "I", activation), |counters| {
            let shown = counters.iter().map(|(name, used)| format!("{name}:{}", text(used)));
            shown.collect::<Vec<_>>().join(" ")
        }),
        ["lines"] => stage.line_items(at, "I").join(" "),
        _ => panic!("unknown command `{command}`"),
    }
}
