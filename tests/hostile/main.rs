//! Hostile input over a real socket: tables A, B, E, F8, G and H of the promises, as data. The files of
//! `cases/hostile` say what is sent and what must come of it; a row that no case tells stands in
//! `cases/hostile/elsewhere.toml` with the test that does.

#[allow(dead_code, reason = "this test uses a part of it")]
#[path = "../common/http_client.rs"]
mod http_client;
#[allow(dead_code, reason = "this test uses a part of it")]
#[path = "../common/process.rs"]
mod process;
mod program;
mod rows;
mod runner;
#[allow(dead_code, reason = "this test uses a part of it")]
#[path = "../common/server.rs"]
mod server;
mod stories;
mod text;
mod world;
