//! The model as a stage for the stories: what it says to each command.

use std::collections::BTreeMap;

use super::{End, Entitlement, HOUR_MS, Line, Milli, Model, Wait, has_seat, said, shown, word};
use crate::script::{COMPONENTS, Command, Pool, Stage, moment, term};

impl Model {
    fn check_in(&mut self, name: &str, components: &[String]) -> Result<(), String> {
        let session = self.working(name)?;
        if components.is_empty() {
            return Err("INVALID_REQUEST components must name 1 to 100 components".to_owned());
        }
        for component in components {
            let has = session.holds.iter().any(|hold| hold.component == *component);
            let passes = matches!(self.price(component), Some(("none" | "consumable token", ..)));
            if !has && !passes {
                return Err(format!(
                    "NOT_CHECKED_OUT component {component} is not checked out by this session"
                ));
            }
        }
        let session = self.sessions.get_mut(name).expect("it is there");
        session.holds.retain(|hold| !components.contains(&hold.component));
        Ok(())
    }

    fn see(&self, name: &str, id: &str) -> Result<String, String> {
        let session = self.working(name)?;
        let entitlement = self.entitlements.iter().find(|all| all.id == id).expect("it is there");
        let pool = Model::pool_of(entitlement);
        let exists =
            !matches!(&entitlement.pool, Pool::Line(line) if !self.lines.contains_key(line));
        let all = if exists { self.used(&pool) + self.held(&pool) } else { 0 };
        let held = session.holds.iter().filter(|hold| hold.pool.as_deref() == Some(&pool));
        let spent = session.spent.iter().filter(|(of, _)| *of == pool).map(|(_, tokens)| tokens);
        let own = held.map(|hold| hold.tokens).sum::<Milli>() + spent.sum::<Milli>();
        let here = if has_seat(session, &pool) { "yes" } else { "no" };
        Ok(format!("{} {} {} {here}", shown(all), shown(own), self.seats(&pool)))
    }

    /// The only line item that access requests draw on in these stories.
    fn charge(&mut self, count: u64) -> bool {
        let held: BTreeMap<String, Milli> =
            self.lines.keys().map(|id| (id.clone(), self.held(&format!("line {id}")))).collect();
        let Some((id, line)) = self.lines.iter_mut().next() else { return false };
        let taken = line.used + held.get(id).copied().unwrap_or(0);
        let fits = line.usable && taken + count * 1_000 <= line.quantity * 1_000;
        if fits {
            line.used += count * 1_000;
        }
        fits
    }
}

impl Stage for Model {
    fn at(&mut self, ms: u64) {
        self.settle(ms);
    }

    fn run(&mut self, command: &Command) -> String {
        let told = self.decide(command);
        self.settle(self.now);
        let (Command::Wait { ticket, .. } | Command::Told { ticket }) = command else {
            return told;
        };
        self.told.get(ticket).map_or("waiting".to_owned(), String::clone)
    }
}

impl Model {
    fn decide(&mut self, command: &Command) -> String {
        let everybody = self.ahead(usize::MAX);
        match command {
            Command::License { .. } => unreachable!("a story begins with it"),
            Command::Begin { name, duration_s } => said(self.begin(name, *duration_s, None)),
            Command::Away { name, duration_s, of } => {
                let begun = self.begin(name, Some(*duration_s), Some(of.clone()));
                begun.map_or_else(
                    |why| why,
                    |until| format!("until {}", moment(until.min(term().1))),
                )
            }
            Command::Extend { name, duration_s } => {
                let longest = self.duration_s;
                let (now, end) = (self.now, term().1);
                let extended = self.working(name).map(drop);
                if extended.is_ok() {
                    let lasts_s = duration_s.unwrap_or(longest).min(longest);
                    let session = self.sessions.get_mut(name).expect("it is there");
                    session.until = (now + lasts_s * 1_000).min(end + 1);
                }
                said(extended)
            }
            Command::End { name } => {
                let ended = self.working(name).map(drop);
                if ended.is_ok() {
                    self.finish(name, End::Closed);
                }
                said(ended)
            }
            Command::Back { name } => {
                let unknown = "UNKNOWN_SESSION there is no such session: begin one".to_owned();
                let given = self
                    .session(name)
                    .and_then(|session| session.away.is_some().then_some(()).ok_or(unknown));
                if given.is_ok() {
                    self.finish(name, End::Closed);
                }
                said(given)
            }
            Command::Revoke { name } => {
                let revoked = self.session(name).map(drop);
                if revoked.is_ok() {
                    self.finish(name, End::Revoked);
                }
                said(revoked)
            }
            Command::Out { name, components } => {
                said(self.check_out(name, components, &everybody).map_err(|(_, why)| why))
            }
            Command::In { name, components } => said(self.check_in(name, components)),
            Command::Wait { ticket, name, seconds, components } => {
                let out = self.check_out(name, components, &everybody);
                match out {
                    Err((true, _)) => {
                        let of_session = self.waiting.iter().filter(|wait| wait.session == *name);
                        if of_session.count() >= 4 {
                            self.told.insert(ticket.clone(), "line-full".to_owned());
                            return String::new();
                        }
                        let session = self.sessions.get(name).expect("it is there");
                        let wants = self.wants(session, components);
                        self.waiting.push(Wait {
                            wants,
                            ticket: ticket.clone(),
                            session: name.clone(),
                            components: components.clone(),
                            until: self.now + seconds * 1_000,
                        });
                    }
                    Ok(()) => drop(self.told.insert(ticket.clone(), "ok".to_owned())),
                    Err((false, why)) => drop(self.told.insert(ticket.clone(), why)),
                }
                String::new()
            }
            Command::Told { .. } => String::new(),
            Command::Leave { ticket } => {
                self.waiting.retain(|wait| wait.ticket != *ticket);
                "ok".to_owned()
            }
            Command::Waiters => {
                let mut all = Vec::new();
                for wait in &self.waiting {
                    for want in &wait.wants {
                        let amount = want.tokens.map_or("seat".to_owned(), shown);
                        let (component, pool) = (&want.component, &want.entitlement);
                        all.push(format!("{} {component} {pool} {amount}", wait.session));
                    }
                }
                if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
            }
            Command::Stop => {
                for wait in std::mem::take(&mut self.waiting) {
                    self.told.insert(wait.ticket, "stopping".to_owned());
                }
                self.is_stopped = true;
                "ok".to_owned()
            }
            Command::See { name, entitlement } => {
                self.see(name, entitlement).unwrap_or_else(|why| why)
            }
            Command::Size { name, entitlement } => {
                let found = self.entitlements.iter().find(|all| all.id == *entitlement);
                let limit =
                    |limit: Option<u64>| limit.map_or("null".to_owned(), |all| all.to_string());
                match (self.working(name), &found.expect("it is there").pool) {
                    (Err(why), _) => why,
                    (Ok(_), Pool::Own { tokens, seats }) => {
                        format!("{} {}", limit(*tokens), limit(*seats))
                    }
                    (Ok(_), Pool::Line(line)) => {
                        format!("{} 0", self.lines.get(line).map_or(0, |line| line.quantity))
                    }
                }
            }
            Command::List { name } => {
                if let Err(why) = self.working(name) {
                    return why;
                }
                let entitled = |name: &str| {
                    self.entitlements.iter().any(|all| all.components.iter().any(|c| c == name))
                };
                let listed = COMPONENTS.iter().filter_map(|(name, model, price, _)| {
                    let (_, _, on_trial) = self.price(name)?;
                    let shown = on_trial || *model == "none" || entitled(name);
                    let now = if on_trial { 0 } else { *price };
                    let trial = if on_trial { " trial" } else { "" };
                    shown.then(|| format!("{name} {now}/{price}{trial}"))
                });
                listed.collect::<Vec<_>>().join(", ")
            }
            Command::Entitle { id, pool, components } => {
                if let Pool::Line(line) = pool
                    && !self.lines.contains_key(line)
                {
                    return "unknown-line-item the instance has no such line item".to_owned();
                }
                let (pool, components) = (pool.clone(), components.clone());
                match self.entitlements.iter_mut().find(|all| all.id == *id) {
                    Some(found) => (found.pool, found.components) = (pool, components),
                    None => {
                        self.entitlements.push(Entitlement { id: id.clone(), pool, components });
                    }
                }
                "ok".to_owned()
            }
            Command::Line { id, quantity, state } => {
                let line = self.lines.entry(id.clone());
                let line = line.or_insert(Line { quantity: 0, usable: true, used: 0 });
                (line.quantity, line.usable) = (*quantity, state == "DEPLOYED");
                "ok".to_owned()
            }
            Command::Access { count } => word(self.charge(*count)),
            Command::Session { name, count } => {
                let granted = self.charge(*count);
                if granted {
                    self.charged.insert(name.clone(), (count * 1_000, self.now));
                }
                word(granted)
            }
            Command::Close { name } => {
                if let Some((tokens, at)) = self.charged.remove(name) {
                    let left = HOUR_MS.saturating_sub(self.now - at);
                    let line = self.lines.values_mut().next().expect("it was charged");
                    line.used -= tokens * left / HOUR_MS;
                }
                "ok".to_owned()
            }
            Command::Balance { id } => {
                let used = self.lines.get(id).expect("it is there").used;
                format!("{} {}", shown(used), shown(self.held(&format!("line {id}"))))
            }
        }
    }
}
