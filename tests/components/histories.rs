//! Random histories, told to the library and to the model at once: they must say the same all the
//! way, also after a crash at any moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use farebox::broker::{Broker, LicenseChange, Storage};
use farebox::journal::{MemoryDisk, MemorySnapshots};

use crate::common::dice::{self, Dice};
use crate::common::disks::copy_of;
use crate::common::product::text;
use crate::desk::{self, Desk, options};
use crate::model::Model;
use crate::script::{COMPONENTS, Command, LICENSE, Pool, Stage, entitlements, ms};

const ENTITLEMENTS: [&str; 4] = ["E1", "E2", "E3", "E4"];

/// What happens in a history, and when.
struct History {
    dice: Dice,
    now: u64,
    sessions: usize,
    waits: usize,
    /// When somebody stops waiting: no two at once, whose order nobody specifies.
    overs: BTreeSet<u64>,
    license: Command,
}

impl History {
    fn new(seed: u64) -> History {
        let mut dice = Dice::new(seed);
        let sessions = dice.chance(50).then(|| 2 + dice.below(4));
        let license = Command::License { sessions, duration_s: 20 + dice.below(60) };
        // The trial of Beta ends within some of the histories.
        let now = ms("2030-01-30 23:59:00") + dice.below(90_000);
        History { dice, now, sessions: 0, waits: 0, overs: BTreeSet::new(), license }
    }

    /// Before anything happens: an entitlement that draws on a line item, and that line item.
    fn beginning(&self) -> Vec<Command> {
        vec![
            Command::Line { id: "L".to_owned(), quantity: 90, state: "DEPLOYED".to_owned() },
            Command::Entitle {
                id: "E4".to_owned(),
                pool: Pool::Line("L".to_owned()),
                components: vec!["Mesher".to_owned(), "Report".to_owned()],
            },
        ]
    }

    fn session(&mut self) -> String {
        let newest = self.sessions as u64;
        let age = self.dice.below(newest.clamp(1, 6));
        format!("S{}", newest.saturating_sub(age))
    }

    fn components(&mut self) -> Vec<String> {
        let many = 1 + self.dice.below(3);
        let names = COMPONENTS.iter().map(|(name, ..)| *name).chain(["Nothing"]);
        let names: Vec<&str> = names.collect();
        let one = |dice: &mut Dice| {
            // Nobody asks often for what is not there.
            let all = if dice.chance(3) { names.len() } else { names.len() - 1 };
            let place = usize::try_from(dice.below(all as u64)).expect("it fits");
            names.get(place).expect("it is there").to_string()
        };
        (0..many).map(|_| one(&mut self.dice)).collect()
    }

    fn duration(&mut self) -> Option<u64> {
        self.dice.chance(60).then(|| 1 + self.dice.below(40))
    }

    fn wait(&mut self) -> Command {
        let (name, components) = (self.session(), self.components());
        let mut seconds = 1 + self.dice.below(15);
        while !self.overs.insert(self.now + seconds * 1_000) {
            seconds += 1;
        }
        self.waits += 1;
        Command::Wait { ticket: format!("w{:03}", self.waits), name, seconds, components }
    }

    /// The next moment, and what is asked at it.
    fn next(&mut self) -> (u64, Command) {
        let step_ms = if self.dice.chance(15) { 5_000 } else { 700 };
        self.now += 1 + self.dice.below(step_ms);
        let command = match self.dice.below(100) {
            0..=15 => {
                self.sessions += 1;
                let duration_s = self.duration();
                Command::Begin { name: format!("S{}", self.sessions), duration_s }
            }
            16..=20 => {
                let of = self.dice.chance(60).then(|| self.session());
                self.sessions += 1;
                let duration_s = self.duration().unwrap_or(3);
                Command::Away { name: format!("S{}", self.sessions), duration_s, of }
            }
            21..=26 => Command::Extend { name: self.session(), duration_s: self.duration() },
            27..=31 => Command::End { name: self.session() },
            32..=34 => Command::Back { name: self.session() },
            35..=36 => Command::Revoke { name: self.session() },
            37..=59 => Command::Out { name: self.session(), components: self.components() },
            60..=69 => Command::In { name: self.session(), components: self.components() },
            70..=84 => self.wait(),
            85..=87 => self.entitle(),
            88..=90 => {
                let state = if self.dice.chance(75) { "DEPLOYED" } else { "INACTIVE" };
                let quantity = 1 + self.dice.below(150);
                Command::Line { id: "L".to_owned(), quantity, state: state.to_owned() }
            }
            91..=93 => Command::Access { count: 1 + self.dice.below(30) },
            94..=95 => Command::List { name: self.session() },
            96 => Command::Waiters,
            97 if self.waits > 0 => {
                let ticket = 1 + self.dice.below(self.waits as u64);
                Command::Leave { ticket: format!("w{ticket:03}") }
            }
            _ => Command::Balance { id: "L".to_owned() },
        };
        (self.now, command)
    }

    fn entitle(&mut self) -> Command {
        let place = usize::try_from(self.dice.below(3)).expect("it fits");
        let [one, two, three] = entitlements();
        let found = [one, two, three].into_iter().nth(place).expect("it is there");
        let Command::Entitle { id, components, .. } = found else {
            unreachable!("these are entitlements")
        };
        let mut limit = |most: u64| self.dice.chance(90).then(|| self.dice.below(most));
        let pool = Pool::Own { tokens: limit(180), seats: limit(4) };
        Command::Entitle { id, pool, components }
    }
}

/// Everything that can be seen of every session that there ever was.
fn picture(stage: &mut impl Stage, sessions: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for number in 1..=sessions {
        for entitlement in ENTITLEMENTS {
            let (name, entitlement) = (format!("S{number}"), entitlement.to_owned());
            seen.push(stage.run(&Command::See { name, entitlement }));
        }
    }
    seen.push(stage.run(&Command::Balance { id: "L".to_owned() }));
    seen
}

/// Tells a history of so many commands; `after` sees the product and the model after each.
fn tell(
    seed: u64,
    commands: usize,
    storage: Storage,
    mut after: impl FnMut(&mut Desk, &mut Model, &History),
) -> usize {
    let mut history = History::new(seed);
    let mut desk = Desk::open_on(storage, &history.license);
    let mut model = Model::new(&history.license);
    for command in history.beginning() {
        assert_eq!(desk.run(&command), model.run(&command), "seed {seed}: {command:?}");
    }
    let mut waiting: BTreeSet<String> = BTreeSet::new();
    let mut granted = 0;
    for step in 0..commands {
        let (at, command) = history.next();
        let place = format!("seed {seed}, step {step}: {command:?}");
        if let Command::Leave { ticket } = &command
            && !waiting.remove(ticket)
        {
            continue; // It has its answer, or has left.
        }
        desk.at(at);
        model.at(at);
        let (told, expected) = (desk.run(&command), model.run(&command));
        assert_eq!(told, expected, "{place}");
        granted += usize::from(told == "ok" || told == "granted");
        if let Command::Wait { ticket, .. } = command
            && told == "waiting"
        {
            waiting.insert(ticket);
        }
        for ticket in waiting.clone() {
            let command = Command::Told { ticket: ticket.clone() };
            let (told, expected) = (desk.run(&command), model.run(&command));
            assert_eq!(told, expected, "{place}, and {ticket}");
            if told != "waiting" {
                waiting.remove(&ticket);
            }
        }
        after(&mut desk, &mut model, &history);
    }
    let (seen, expected) =
        (picture(&mut desk, history.sessions), picture(&mut model, history.sessions));
    assert_eq!(seen, expected, "seed {seed}");
    desk.runtime.block_on(desk.broker.close()).expect("it stops");
    granted
}

fn seeds(usual: u64) -> impl Iterator<Item = u64> {
    let first = dice::seed(1);
    let many = if dice::is_long() { usual * 50 } else { usual };
    (0..many).map(move |number| first.wrapping_add(number))
}

#[test]
fn random_histories_are_told_alike_by_the_library_and_the_model() {
    let (mut commands, mut granted) = (0, 0);
    for seed in seeds(20) {
        granted += tell(seed, 150, Storage::Memory, |_, _, _| {});
        commands += 150;
    }
    println!("{commands} commands were told alike, {granted} of them granted");
    assert!(granted * 4 > commands, "histories in which nothing happens prove nothing");
}

/// After a restart holds are exactly those of the sessions that run: nothing leaks, nothing is
/// lost.
#[test]
fn a_crash_at_any_moment_leaves_exactly_what_sessions_hold() {
    let mut crashes = 0;
    for seed in seeds(4) {
        let disk = MemoryDisk::new();
        let storage = Storage::Custom(Arc::new(disk.clone()), Arc::new(MemorySnapshots::new()));
        tell(seed, 60, storage, |desk, model, history| {
            let left = disk.after_kill();
            let storage = Storage::Custom(Arc::new(left), Arc::new(MemorySnapshots::new()));
            let again = desk.runtime.block_on(Broker::open(options(storage, &desk.clock, 2)));
            let own = std::mem::replace(&mut desk.broker, again.expect("it opens").broker);
            let seen = picture(desk, history.sessions);
            assert_eq!(seen, picture(model, history.sessions), "seed {seed}");
            let again = std::mem::replace(&mut desk.broker, own);
            desk.runtime.block_on(again.close()).expect("it stops");
            crashes += 1;
        });
    }
    println!("{crashes} crashes");
}

/// Snapshots have all of it: whoever starts from them goes on as if nothing had been.
#[test]
fn stops_and_starts_in_between_change_nothing() {
    let mut starts = 0;
    for seed in seeds(4) {
        let mut left = (MemoryDisk::new(), Arc::new(MemorySnapshots::new()));
        let storage = |(disk, snapshots): &(MemoryDisk, Arc<MemorySnapshots>)| {
            Storage::Custom(Arc::new(disk.clone()), Arc::clone(snapshots) as _)
        };
        let first = storage(&left);
        let mut step = 0;
        tell(seed, 100, first, |desk, model, _| {
            step += 1;
            if step % 9 != 0 || model.is_waited_in() {
                return; // Whoever waits when it stops is turned away.
            }
            desk.runtime.block_on(desk.broker.close()).expect("it stops");
            left = (left.0.after_kill(), Arc::new(copy_of(left.1.as_ref(), |_| {})));
            let options = options(storage(&left), &desk.clock, 100 + step);
            let opened = desk.runtime.block_on(Broker::open(options)).expect("it opens");
            assert!(opened.replayed <= 1, "{} records were replayed", opened.replayed);
            desk.broker = opened.broker;
            starts += 1;
        });
    }
    println!("{starts} starts from snapshots");
    assert!(starts > 10, "only {starts} starts");
}

/// `verify` works out what is used and held from the records alone, and finds it as they say.
#[test]
fn what_histories_leave_in_a_directory_is_verified() {
    for seed in seeds(2) {
        let folder = tempfile::tempdir().expect("a directory");
        let storage = Storage::Directory(folder.path().to_owned());
        tell(seed, 80, storage, |_, _, _| {});
        let report = farebox::verify::verify(folder.path()).expect("it is in order");
        assert!(report.sessions > 5 && report.usage_rows > 10, "{report}");
    }
}

/// Once `verify` missed the balance of a pool that had come and gone between two snapshots.
#[test]
fn a_pool_that_came_and_went_unused_is_verified() {
    let folder = tempfile::tempdir().expect("a directory");
    let desk = Desk::open_on(Storage::Directory(folder.path().to_owned()), &LICENSE);
    let (license, id) = (text(desk::LICENSE), text("E3"));
    let change = LicenseChange::DeleteEntitlement { license, id };
    let deleted = desk.runtime.block_on(desk.broker.change_license(desk.scope, change));
    deleted.expect("nothing of it is held");
    desk.runtime.block_on(desk.broker.close()).expect("it stops");
    drop(desk);
    let report = farebox::verify::verify(folder.path()).expect("it is in order");
    assert!(report.watermark.is_some(), "there are snapshots to compare with: {report}");
}

/// A licence that was taken out shares the seat of its session only as long as that one runs: also
/// for a broker that was started since.
#[test]
fn a_seat_that_was_shared_is_free_once_both_have_gone_before_and_after_a_start() {
    let seat = Command::License { sessions: Some(1), duration_s: 60 };
    let full = "LICENSE_FULL 1 sessions of the license are running, the limit";
    for ends_before_the_start in [true, false] {
        let (disk, snapshots) = (MemoryDisk::new(), Arc::new(MemorySnapshots::new()));
        let storage = || Storage::Custom(Arc::new(disk.clone()), Arc::clone(&snapshots) as _);
        let mut desk = Desk::open_on(storage(), &seat);
        let begin = |name: &str| Command::Begin { name: name.to_owned(), duration_s: None };
        let end = Command::End { name: "A".to_owned() };
        let (name, of) = ("L".to_owned(), Some("A".to_owned()));
        assert_eq!(desk.run(&begin("A")), "ok");
        desk.run(&Command::Away { name: name.clone(), duration_s: 60, of });
        if ends_before_the_start {
            assert_eq!(desk.run(&end), "ok");
        }
        desk.runtime.block_on(desk.broker.close()).expect("it stops");
        let opened = Broker::open(options(storage(), &desk.clock, 2));
        desk.broker = desk.runtime.block_on(opened).expect("it opens").broker;
        assert_eq!(desk.run(&begin("B")), full, "one of them has the seat");
        assert_eq!(desk.run(&Command::Back { name }), "ok");
        if !ends_before_the_start {
            assert_eq!(desk.run(&begin("B")), full, "the session has the seat");
            assert_eq!(desk.run(&end), "ok");
        }
        assert_eq!(desk.run(&begin("B")), "ok");
    }
}
