//! Component licensing once more, written from the specification and nothing else: one thread, no
//! clock, sums worked out anew each time. It shares no code with the product.

mod telling;

use std::collections::{BTreeMap, BTreeSet};

use crate::script::{COMPONENTS, Command, Pool, Stage, entitlements, ms, term};

/// Thousandths of a token.
type Milli = u64;

const HOUR_MS: u64 = 3_600_000;

#[derive(Clone, Debug)]
struct Entitlement {
    id: String,
    pool: Pool,
    components: Vec<String>,
}

/// What a session has of a component: tokens of a pool, a seat, or, on trial, nothing.
#[derive(Clone, Debug)]
struct Hold {
    component: String,
    pool: Option<String>,
    tokens: Milli,
    is_seat: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Lapsed,
    Revoked,
}

#[derive(Clone, Debug)]
struct Session {
    until: u64,
    end: Option<End>,
    holds: Vec<Hold>,
    spent: Vec<(String, Milli)>,
    /// Set where a licence is taken out; with the session that it shares its seat with.
    away: Option<Option<String>>,
}

#[derive(Clone, Debug)]
struct Line {
    quantity: u64,
    usable: bool,
    used: Milli,
}

#[derive(Clone, Debug)]
struct Wait {
    ticket: String,
    session: String,
    components: Vec<String>,
    /// What it wanted when it last tried.
    wants: Vec<Want>,
    until: u64,
}

/// Everything there is.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    now: u64,
    sessions_max: Option<u64>,
    duration_s: u64,
    entitlements: Vec<Entitlement>,
    sessions: BTreeMap<String, Session>,
    /// Of pools that are no line items.
    spent: BTreeMap<String, Milli>,
    lines: BTreeMap<String, Line>,
    /// Sessions of access requests: what they were charged, and when.
    charged: BTreeMap<String, (Milli, u64)>,
    waiting: Vec<Wait>,
    told: BTreeMap<String, String>,
    is_stopped: bool,
}

/// What one component wants of a pool.
#[derive(Clone, Debug)]
struct Want {
    component: String,
    entitlement: String,
    pool: String,
    tokens: Option<Milli>,
}

impl Model {
    pub(crate) fn new(license: &Command) -> Model {
        let Command::License { sessions, duration_s } = license else {
            panic!("not a licence: {license:?}")
        };
        let mut model = Model {
            now: term().0,
            sessions_max: *sessions,
            duration_s: *duration_s,
            entitlements: Vec::new(),
            sessions: BTreeMap::new(),
            spent: BTreeMap::new(),
            lines: BTreeMap::new(),
            charged: BTreeMap::new(),
            waiting: Vec::new(),
            told: BTreeMap::new(),
            is_stopped: false,
        };
        entitlements().iter().for_each(|entitlement| drop(model.run(entitlement)));
        model
    }

    /// Whether somebody waits in line.
    pub(crate) fn is_waited_in(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn live(&self) -> impl Iterator<Item = (&String, &Session)> {
        self.sessions.iter().filter(|(_, session)| session.end.is_none())
    }

    fn session(&self, name: &str) -> Result<&Session, String> {
        let unknown = "UNKNOWN_SESSION there is no such session: begin one";
        let session = self.sessions.get(name).ok_or(unknown)?;
        match session.end {
            None => Ok(session),
            Some(End::Closed) => {
                Err("SESSION_CLOSED the session has ended: begin a new one".into())
            }
            Some(End::Lapsed) => {
                Err("SESSION_LAPSED the session has lapsed: begin a new one, and \
                                      extend it in time"
                    .into())
            }
            Some(End::Revoked) => Err("SESSION_REVOKED the session was revoked".into()),
        }
    }

    fn working(&self, name: &str) -> Result<&Session, String> {
        let session = self.session(name)?;
        if session.away.is_some() {
            return Err("UNKNOWN_SESSION there is no such session: begin one".to_owned());
        }
        Ok(session)
    }

    fn pool_of(entitlement: &Entitlement) -> String {
        match &entitlement.pool {
            Pool::Own { .. } => format!("own {}", entitlement.id),
            Pool::Line(line) => format!("line {line}"),
        }
    }

    fn held(&self, pool: &str) -> Milli {
        let holds = self.live().flat_map(|(_, session)| &session.holds);
        holds.filter(|hold| hold.pool.as_deref() == Some(pool)).map(|hold| hold.tokens).sum()
    }

    fn used(&self, pool: &str) -> Milli {
        let line = pool.strip_prefix("line ").and_then(|line| self.lines.get(line));
        line.map_or_else(|| self.spent.get(pool).copied().unwrap_or(0), |line| line.used)
    }

    fn seats(&self, pool: &str) -> u64 {
        self.live().filter(|(_, session)| has_seat(session, pool)).count() as u64
    }

    /// Of the tokens of an entitlement what is left; nothing where its line item is gone or at rest.
    fn left(&self, entitlement: &Entitlement) -> Milli {
        let pool = Model::pool_of(entitlement);
        self.size(entitlement).saturating_sub(self.used(&pool) + self.held(&pool))
    }

    fn size(&self, entitlement: &Entitlement) -> Milli {
        match &entitlement.pool {
            Pool::Own { tokens, .. } => tokens.map_or(Milli::MAX, |tokens| tokens * 1_000),
            Pool::Line(line) => {
                let line = self.lines.get(line).filter(|line| line.usable);
                line.map_or(0, |line| line.quantity * 1_000)
            }
        }
    }

    fn seats_of_license(&self) -> u64 {
        let shares = |session: &Session| {
            let partner = session.away.clone().flatten();
            partner.is_some_and(|name| self.live().any(|(other, _)| *other == name))
        };
        self.live().filter(|(_, session)| !shares(session)).count() as u64
    }

    fn price(&self, component: &str) -> Option<(&'static str, Milli, bool)> {
        let (_, model, price, trial) = COMPONENTS.iter().find(|all| all.0 == component)?;
        let on_trial = trial.is_some_and(|until| self.now < ms(until));
        Some((model, price * 1_000, on_trial))
    }

    /// What a checkout draws on, of all pools that could give it.
    fn wants(&self, session: &Session, components: &[String]) -> Vec<Want> {
        let mut wants = Vec::new();
        let named: BTreeSet<&String> = components.iter().collect();
        let mut named: Vec<&String> = named.into_iter().collect();
        named.sort_by_key(|name| components.iter().position(|other| other == *name));
        for component in named {
            let Some((model, price, on_trial)) = self.price(component) else { continue };
            let has = model != "consumable token"
                && session.holds.iter().any(|hold| hold.component == *component);
            if model == "none" || on_trial || has {
                continue;
            }
            for entitlement in self.entitlements.iter().filter(|e| e.components.contains(component))
            {
                if let Pool::Line(line) = &entitlement.pool
                    && !self.lines.contains_key(line)
                {
                    continue;
                }
                let may_give = match (&entitlement.pool, model) {
                    (Pool::Own { seats, .. }, "session") => *seats != Some(0),
                    (Pool::Line(_), "session") => false,
                    _ => self.size(entitlement) >= price,
                };
                if !may_give {
                    continue;
                }
                wants.push(Want {
                    component: component.clone(),
                    entitlement: match &entitlement.pool {
                        Pool::Own { .. } => entitlement.id.clone(),
                        Pool::Line(line) => line.clone(),
                    },
                    pool: Model::pool_of(entitlement),
                    tokens: (model != "session").then_some(price),
                });
            }
        }
        wants
    }

    /// The pools that those wait for who are ahead.
    fn ahead(&self, before: usize) -> BTreeSet<String> {
        let ahead = self.waiting.iter().take(before);
        ahead.flat_map(|wait| &wait.wants).map(|want| want.pool.clone()).collect()
    }

    /// A checkout, all or nothing. The `Err` says whether waiting may help.
    fn check_out(
        &mut self,
        name: &str,
        components: &[String],
        ahead: &BTreeSet<String>,
    ) -> Result<(), (bool, String)> {
        let refused = |why: String| (false, why);
        self.working(name).map_err(refused)?;
        if !(term().0..=term().1).contains(&self.now) {
            return Err((false, "TERM_CLOSED the license has no active term now".to_owned()));
        }
        if components.is_empty() {
            let why = "INVALID_REQUEST components must name 1 to 100 components";
            return Err((false, why.to_owned()));
        }
        let mut scratch = self.clone();
        let mut names: Vec<&String> = Vec::new();
        for component in components {
            if !names.contains(&component) {
                names.push(component);
            }
        }
        for component in &names {
            if self.price(component).is_none() {
                let why = format!("UNKNOWN_COMPONENT the product has no component {component}");
                return Err((false, why));
            }
        }
        for component in names {
            scratch.take(name, component, ahead)?;
        }
        *self = scratch;
        Ok(())
    }

    fn take(
        &mut self,
        name: &str,
        component: &str,
        ahead: &BTreeSet<String>,
    ) -> Result<(), (bool, String)> {
        let session = self.sessions.get(name).expect("it is there").clone();
        let (model, price, on_trial) = self.price(component).expect("it is there");
        let has = session.holds.iter().any(|hold| hold.component == component);
        if model == "none" || (has && model != "consumable token") {
            return Ok(());
        }
        let hold =
            |pool, tokens, is_seat| Hold { component: component.to_owned(), pool, tokens, is_seat };
        if on_trial {
            if model != "consumable token" {
                self.push(name, hold(None, 0, false));
            }
            return Ok(());
        }
        let all = self.entitlements.clone();
        let all: Vec<&Entitlement> =
            all.iter().filter(|e| e.components.iter().any(|c| c == component)).collect();
        if all.is_empty() {
            let why =
                format!("NO_ENTITLEMENT the license has no entitlement for component {component}");
            return Err((false, why));
        }
        let free = |pool: &String| !ahead.contains(pool);
        if model == "session" {
            let pools: Vec<(String, &Entitlement)> =
                all.iter().map(|e| (Model::pool_of(e), *e)).collect();
            let own = pools.iter().find(|(pool, _)| has_seat(&session, pool));
            let open = pools.iter().find(|(pool, entitlement)| match &entitlement.pool {
                Pool::Own { seats: None, .. } => free(pool),
                Pool::Own { seats: Some(seats), .. } => free(pool) && self.seats(pool) < *seats,
                Pool::Line(_) => false,
            });
            let Some((pool, _)) = own.or(open) else {
                let why = format!(
                    "SEATS_SHORT insufficient seats for component {component}: 1 required, 0 \
                     available"
                );
                let ever = |(_, entitlement): &(String, &Entitlement)| matches!(&entitlement.pool, Pool::Own { seats, .. } if *seats != Some(0));
                return Err((pools.iter().any(ever), why));
            };
            self.push(name, hold(Some(pool.clone()), 0, true));
            return Ok(());
        }
        let exists = |e: &&&Entitlement| match &e.pool {
            Pool::Own { .. } => true,
            Pool::Line(line) => self.lines.contains_key(line),
        };
        let left = |e: &Entitlement| if free(&Model::pool_of(e)) { self.left(e) } else { 0 };
        let Some(found) = all.iter().filter(exists).find(|e| left(e) >= price) else {
            let most = all.iter().filter(exists).map(|e| left(e)).max().unwrap_or(0);
            let ever = all.iter().filter(exists).any(|e| self.size(e) >= price);
            let (price, most) = (shown(price), shown(most));
            let why = format!(
                "TOKENS_SHORT insufficient tokens for component {component}: {price} required, \
                 {most} available"
            );
            return Err((ever, why));
        };
        let pool = Model::pool_of(found);
        if model == "token" {
            self.push(name, hold(Some(pool), price, false));
            return Ok(());
        }
        match pool.strip_prefix("line ").and_then(|line| self.lines.get_mut(line)) {
            Some(line) => line.used += price,
            None => *self.spent.entry(pool.clone()).or_default() += price,
        }
        self.sessions.get_mut(name).expect("it is there").spent.push((pool, price));
        Ok(())
    }

    fn push(&mut self, name: &str, hold: Hold) {
        self.sessions.get_mut(name).expect("it is there").holds.push(hold);
    }

    fn begin(
        &mut self,
        name: &str,
        duration_s: Option<u64>,
        away: Option<Option<String>>,
    ) -> Result<u64, String> {
        let (start, end) = term();
        let mut away = away;
        if let Some(Some(of)) = &away {
            self.working(of)?;
            let is_shared = |session: &Session| session.away.as_ref() == Some(&Some(of.clone()));
            if self.live().any(|(_, session)| is_shared(session)) {
                away = Some(None);
            }
        }
        if !(start..=end).contains(&self.now) {
            return Err("TERM_CLOSED the license has no active term now".to_owned());
        }
        let shares = matches!(away, Some(Some(_)));
        if let Some(limit) = self.sessions_max.filter(|limit| self.seats_of_license() >= *limit)
            && !shares
        {
            return Err(format!(
                "LICENSE_FULL {limit} sessions of the license are running, the limit"
            ));
        }
        if away.is_some() && self.sessions_max.is_none() {
            return Err("LICENSE_NOT_CONCURRENT the license has no limit of concurrent sessions: \
                        there is nothing to take out"
                .to_owned());
        }
        let longest = if away.is_some() { u64::MAX } else { self.duration_s };
        let lasts_ms = duration_s.unwrap_or(longest).min(longest).saturating_mul(1_000);
        let until = (self.now.saturating_add(lasts_ms)).min(end + 1);
        let session = Session { until, end: None, holds: Vec::new(), spent: Vec::new(), away };
        self.sessions.insert(name.to_owned(), session);
        Ok(until)
    }

    fn finish(&mut self, name: &str, end: End) {
        let session = self.sessions.get_mut(name).expect("it is there");
        session.end = Some(end);
        session.holds.clear();
    }

    /// Everything that falls due up to now, in order; then whoever can be served.
    fn settle(&mut self, now: u64) {
        loop {
            let lapse = self.live().map(|(name, session)| (session.until, 0, name.clone())).min();
            let over = self.waiting.iter().map(|wait| (wait.until, 1, wait.ticket.clone())).min();
            let Some((at, kind, name)) = lapse.into_iter().chain(over).min() else { break };
            if at > now {
                break;
            }
            self.now = at;
            if kind == 0 {
                self.finish(&name, End::Lapsed);
            } else {
                self.try_again(&name, true);
            }
        }
        self.now = now;
        self.serve();
    }

    fn try_again(&mut self, ticket: &str, is_over: bool) {
        let place = self.waiting.iter().position(|wait| wait.ticket == ticket);
        let place = place.expect("it waits");
        let ahead = self.ahead(place);
        let wait = self.waiting.get(place).expect("it waits").clone();
        let told = match self.check_out(&wait.session, &wait.components, &ahead) {
            Ok(()) => "ok".to_owned(),
            Err((true, _)) if !is_over => {
                let session = self.sessions.get(&wait.session).expect("it is there");
                let wants = self.wants(session, &wait.components);
                self.waiting.get_mut(place).expect("it waits").wants = wants;
                return;
            }
            Err((_, why)) => why,
        };
        self.waiting.remove(place);
        self.told.insert(ticket.to_owned(), told);
    }

    fn serve(&mut self) {
        let tickets: Vec<String> = self.waiting.iter().map(|wait| wait.ticket.clone()).collect();
        for ticket in tickets {
            let place = self.waiting.iter().position(|wait| wait.ticket == ticket);
            let place = place.expect("nobody else takes it out");
            let wait = self.waiting.get(place).expect("it waits");
            let session = self.sessions.get(&wait.session).expect("it is there");
            let ahead = self.ahead(place);
            let blocked =
                session.end.is_none() && wait.wants.iter().any(|want| ahead.contains(&want.pool));
            if !blocked {
                self.try_again(&ticket, false);
            }
        }
    }
}

fn has_seat(session: &Session, pool: &str) -> bool {
    session.holds.iter().any(|hold| hold.is_seat && hold.pool.as_deref() == Some(pool))
}

fn shown(milli: Milli) -> String {
    let (whole, rest) = (milli / 1_000, milli % 1_000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:03}").trim_end_matches('0').to_owned()
}

fn said<T>(outcome: Result<T, String>) -> String {
    outcome.map_or_else(|why| why, |_| "ok".to_owned())
}

fn word(yes: bool) -> String {
    if yes { "granted".to_owned() } else { "denied".to_owned() }
}
