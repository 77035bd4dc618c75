//! The real program: kill -9, signals, exit statuses and messages, `verify`, `token`, `demo`.

#[path = "binary/commands.rs"]
mod commands;
#[path = "binary/damage.rs"]
mod damage;
#[path = "common/dice.rs"]
#[allow(dead_code, unreachable_pub, reason = "this test uses a part of it")]
mod dice;
#[path = "binary/directory.rs"]
mod directory;
#[path = "binary/files.rs"]
mod files;
#[path = "binary/kill.rs"]
mod kill;
#[path = "common/process.rs"]
mod process;
#[path = "binary/signals.rs"]
mod signals;
#[path = "binary/world.rs"]
mod world;
