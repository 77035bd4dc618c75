//! Bad inputs about sessions in the course of time, row by row of tables H and I of promises.md:
//! each is proved here, or where the table says. `examples` are `cases/worked_examples.txt`, `rows`
//! are `cases/session_rows.txt`, `in time` is `http_api/sessions_in_time.rs`.
//!
//! | Row | Proved by |
//! |---|---|
//! | H1 | `races` h1; the status of the late one: in time, `what_is_over_says_so_…` |
//! | H2 | `races` h2; later, and the status: in time, `what_is_over_says_so_…` |
//! | H3 | rows H3; over HTTP: in time, `what_is_over_says_so_…`, closed while IDLE |
//! | H4 | in time: `every_answer_about_…`, `what_is_over_says_so_…`, `…_as_if_it_had_never_been` |
//! | | only `lastHeartBeat` moves: in time, `the_list_shows_…` |
//! | H5 | rows H5; examples X8 |
//! | H6 | `races` h6; in a given order: `heartbeats`, `a_heartbeat_received_by_…` |
//! | H7 | `heartbeats` h7; that it is a 429: `src/http/problem.rs` |
//! | H8 | `races` h8; to the millisecond: rows H8; a close and a halt at the tick: examples |
//! | H9 | `charges` h9; the first two PUTs in figures: examples, the same set every second |
//! | H10 | rows H10; examples X10 |
//! | H11 | rows H11; examples X11; over HTTP: in time, denied while ACTIVE |
//! | H12 | rows H12; examples X21 |
//! | H13 | `stories` h13: every change with every end; examples X14, a deleted line item |
//! | H14 | examples, quantity lowered below used; under a session: rows H14 |
//! | H17 | rows H17; automatic charges and one-off requests: examples X15 |
//! | H27 | `races` h27; twice, on IDLE, afresh: rows H27, examples X12 |
//! | H28 | `ends` h28; to the millisecond: rows H28, examples X12 |
//! | I6 | `times` i6; what is not a whole number: `src/http/wire` |
//! | I7 | examples X23; `end` before `start`: `times`, `i6_an_instant_outside_…` |
//! | I8 | `http_api/configuration.rs`: `a_bad_setting_is_refused_…` |
//! | I9 | examples X20: what is charged keeps its length, also what falls due late |
//!
//! Beyond the rows: `ends`, how what is over is forgotten, and what falls due at the same time;
//! `races`, that an answer never overtakes what falls due because of it; `awake`, that few owners are
//! awake however much falls due.

mod common;

#[path = "session_rows/awake.rs"]
mod awake;
#[path = "session_rows/charges.rs"]
mod charges;
#[path = "session_rows/ends.rs"]
mod ends;
#[path = "session_rows/heartbeats.rs"]
mod heartbeats;
#[path = "session_rows/house.rs"]
mod house;
#[path = "session_rows/races.rs"]
mod races;
#[path = "session_rows/stories.rs"]
mod stories;
#[path = "session_rows/times.rs"]
mod times;
