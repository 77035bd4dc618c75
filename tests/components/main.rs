//! Component licensing: the worked examples told once and played to the library and to an
//! independent model, random histories of both, crashes, and crowds.

#[path = "../common/mod.rs"]
mod common;
mod crowds;
mod desk;
mod histories;
mod model;
mod script;

use desk::Desk;
use model::Model;
use script::{Story, stories};

/// At least so many stories: a file that is read as empty proves nothing.
const STORIES_MIN: usize = 25;

fn all() -> Vec<Story> {
    let stories = stories(include_str!("../cases/components.txt"));
    assert!(stories.len() >= STORIES_MIN, "only {} stories were read", stories.len());
    stories
}

#[test]
fn the_library_tells_every_worked_example_as_specified() {
    for story in all() {
        story.play("the library", &mut Desk::open(&story.license()));
    }
}

#[test]
fn the_model_agrees_with_every_worked_example() {
    for story in all() {
        story.play("the model", &mut Model::new(&story.license()));
    }
}

#[test]
fn moments_are_read_as_they_are_written() {
    assert_eq!(script::ms("1970-01-01 00:00:00"), 0);
    assert_eq!(script::ms("2030-02-28 23:59:59.5"), 1_898_553_599_500);
    for moment in ["2030-01-31 10:18:00", "2032-02-29 00:00:01", "2030-12-31 23:59:59"] {
        assert_eq!(script::moment(script::ms(moment)), moment);
    }
}
