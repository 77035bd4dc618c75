//! Stories of single sessions, played to the library and to the independent model, which must tell
//! them alike: those of `cases/session_rows.txt`, and H13 for every change and every end.

use crate::common::model::Model;
use crate::common::script::{stories, time};
use crate::common::stage::Library;

fn play(file: &str, stories_min: usize) {
    let stories = stories(file);
    assert!(stories.len() >= stories_min, "only {} stories were read", stories.len());
    for story in stories {
        story.play("the library", &mut Library::open(time("-2000")));
        story.play("the model", &mut Model::default());
    }
}

#[test]
fn every_row_of_one_session_is_told_as_specified() {
    play(include_str!("../cases/session_rows.txt"), 17);
}

/// What becomes of line item L between charge and refund, and what is available of it when 15
/// tokens of it are used again: never more than its quantity.
const CHANGES: &[(&str, &str, &str)] = &[
    ("expired", "line L quantity=30 end=20", "15"),
    ("obsolete", "line L quantity=30 end=9000 OBSOLETE", "15"),
    ("inactive", "line L quantity=30 end=9000 INACTIVE", "15"),
    ("shrunk below what is used", "line L quantity=20 end=9000", "5"),
    ("shrunk below what is left of it", "line L quantity=5 end=9000", "0"),
    ("deleted", "line L end=9000 OBSOLETE\n10 delete-line L", "NotFound"),
];

/// How the period ends, and what is said then. Draw is only to be had from line item N.
const ENDS: &[(&str, &str)] = &[
    ("a close", "close S => -L:15 Terminated"),
    ("a halt", "put S back => -L:15 Idle"),
    ("another set", "put S back 10xDraw => 101[N:70] -L:15 Active @90"),
    ("a denial", "put S end 1xPhotoAlbum => 201 -L:15 Terminated"),
];

#[test]
fn h13_a_refund_goes_to_whom_was_charged_whatever_has_become_of_it_and_to_nobody_else() {
    let mut file = String::new();
    for (change, changed, available) in CHANGES {
        for (end, ended) in ENDS {
            let used = if *change == "deleted" { "NotFound" } else { "15" };
            file += &format!(
                "== H13 {change}, then {end}
                0 table X 1 0 Draw=7
                0 line L quantity=30 end=9000
                0 line O
                0 line N series=X
                0 open S
                0 put S back 10xPhotoPrint => 101[L:30] Active @60
                0 access 1xPhotoPrint => 101[O:3]
                10 {changed}
                30 {ended}
                30 used L O => {used} 3
                30 available L => {available}
                "
            );
        }
    }
    play(&file, CHANGES.len() * ENDS.len());
}

#[test]
fn h13_a_missed_heartbeat_gives_back_to_whom_was_charged_whatever_has_become_of_it() {
    let mut file = String::new();
    for (change, changed, _) in CHANGES {
        let used = if *change == "deleted" { "NotFound" } else { "30" };
        let changed = changed.replace("end=20", "end=61").replace("10 delete", "61 delete");
        file += &format!(
            "== H13 {change}, then no heartbeat
            0 line L quantity=60 end=9000
            0 line O
            0 open S
            0 put S back 10xPhotoPrint => 101[L:30] Active @60
            60 access 1xPhotoPrint => 101[O:3]
            61 {changed}
            90 used O => 3
            90:1 session S => Terminated
            90:1 used L O => {used} 3
            90:1 access 5xPhotoPrint => 101[O:15]
            "
        );
    }
    play(&file, CHANGES.len());
}
