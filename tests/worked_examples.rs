//! The worked examples of the specification (section 11) and what they leave open, and quotes with
//! balances (2.7), told once and played three times: to the library, to the independent model, which must agree, and over HTTP in
//! both versions of the API.
//!
//! Not here: what only the edge can say (400 for a query, a member of the wrong type).

mod common;

use common::http_stage::{OverHttp, Version};
use common::model::Model;
use common::script::{Stage, Story, run, stories, time};
use common::stage::Library;

/// At least so many stories: a file that is read as empty proves nothing.
const STORIES_MIN: usize = 103;

fn all() -> Vec<Story> {
    let files = [include_str!("cases/worked_examples.txt"), include_str!("cases/quotes.txt")];
    let stories: Vec<Story> = files.into_iter().flat_map(stories).collect();
    assert!(stories.len() >= STORIES_MIN, "only {} stories were read", stories.len());
    stories
}

#[test]
fn the_library_tells_every_worked_example_as_specified() {
    let stories = all();
    for story in &stories {
        story.play("the library", &mut Library::open(time("-2000")));
    }
    println!("{} worked examples were played through the library", stories.len());
}

#[test]
fn the_model_agrees_with_every_worked_example() {
    for story in all() {
        story.play("the model", &mut Model::default());
    }
}

#[test]
fn over_http_every_worked_example_is_told_as_specified() {
    for version in [Version::V1_0, Version::V1_1] {
        let stories = all();
        // Formulas are a matter of v1.1.
        for story in stories.iter().filter(|s| version == Version::V1_1 || !s.has_formulas()) {
            let mut stage = OverHttp::open(time("-2000"), version);
            story.play(&format!("HTTP {version:?}"), &mut stage);
        }
        println!("{} worked examples were played over HTTP {version:?}", stories.len());
    }
}

#[test]
fn every_example_of_this_release_is_told() {
    let stories = all();
    for example in [
        "X1", "X2", "X3", "X4", "X5", "X6", "X7", "X8", "X9", "X10", "X11", "X12", "X13", "X14",
        "X15", "X16", "X17", "X18", "X19", "X20", "X21", "X22", "X23", "X24", "X25", "X26", "X27",
    ] {
        let told = |story: &Story| story.name.split(' ').next() == Some(example);
        assert!(stories.iter().any(told), "{example} is missing");
    }
}

/// 80 charges of 10^18 fill an unlimited line item; the next millionth is one too many.
fn check_the_end_of_used(stage: &mut impl Stage) {
    stage.create_instance(time("-1"), "I", "Acme");
    let at = time("0");
    assert_eq!(run(stage, at, "table U 1 0 Big=1000000000 Small=0.000001"), "ok");
    assert_eq!(run(stage, at, "line L quantity=1 overdraft=unlimited series=U"), "ok");
    for _ in 0..80 {
        let answer = run(stage, at, "access 1000000000xBig");
        assert_eq!(answer, "101[L:1000000000000000000]");
    }
    assert_eq!(run(stage, at, "access 1xSmall"), "306");
    assert_eq!(run(stage, at, "used L"), "80000000000000000000");
}

#[test]
fn used_ends_at_eight_times_ten_to_the_nineteenth() {
    check_the_end_of_used(&mut Library::open(time("-1")));
    check_the_end_of_used(&mut Model::default());
    check_the_end_of_used(&mut OverHttp::open(time("-1"), Version::V1_0));
}
