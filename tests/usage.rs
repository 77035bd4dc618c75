//! Usage rows (spec 7): which rows the worked examples leave, as data, and that those of every
//! other story add up. How they are written is told in src/usage.rs, over HTTP in tests/http_api,
//! by the program in tests/binary; tests/reconciler.rs follows them over crashes.

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use common::replay::records;
use common::script::{stories, time};
use common::stage::Library;
use farebox::broker::UsageQuery;
use farebox::domain::ids::Sequence;
use farebox::domain::usage::Reconciler;
use serde_json::value::RawValue;

/// Every row, as a consumer would read it.
fn lines(library: &Library) -> Vec<String> {
    let query =
        UsageQuery { after: Sequence::ZERO, limit: usize::MAX, records: u64::MAX, instance: None };
    let page = library.broker().usage(query).expect("it can be asked");
    let mut lines = Vec::new();
    let read = page.read(|| true, &mut |line| {
        lines.push(String::from_utf8(line.to_json()).expect("a text"));
        ControlFlow::Continue(())
    });
    read.expect("the journal can be read");
    lines
}

/// What a member says, digits as they were written; `-` for nothing.
fn said(line: &str, member: &str) -> String {
    let row: BTreeMap<&str, &RawValue> = serde_json::from_str(line).expect("a row is JSON");
    match row.get(member).expect("every row has it").get().trim_matches('"') {
        "null" | "" => "-".to_owned(),
        said => said.to_owned(),
    }
}

/// A row as the cases write it.
fn shown(line: &str, library: &Library) -> String {
    let said = |member| said(line, member);
    let at: u64 = said("usageTime").parse().expect("milliseconds");
    assert_eq!(said("writeTime"), said("usageTime"));
    let session = match said("sessionId").as_str() {
        "-" => "-".to_owned(),
        id => library.session_name(id),
    };
    let rate = match said("rate").as_str() {
        "-" => "-".to_owned(),
        rate => format!("@{rate}"),
    };
    let used = match said("used").as_str() {
        "-" => "-".to_owned(),
        used => format!("{used}/{}", said("mappedEntitledCount")),
    };
    let minute = (at - time("0")) / 60_000;
    let words = ["eventType", "item", "itemVersion", "itemCount", "statusCode", "activationId"];
    let words = words.map(said).join(" ");
    format!("{minute} {words} {} {rate} {used} {session}", said("tokens"))
}

#[test]
fn the_worked_examples_leave_these_rows() {
    let file = include_str!("cases/usage_rows.txt");
    let (mut expected, mut name) = (BTreeMap::<String, Vec<String>>::new(), String::new());
    for line in file.lines() {
        if let Some(story) = line.strip_prefix("== ") {
            story.clone_into(&mut name);
        } else if let Some(row) = line.strip_prefix("| ") {
            expected.entry(name.clone()).or_default().push(row.to_owned());
        }
    }
    let deeds: Vec<&str> = file.lines().filter(|line| !line.starts_with('|')).collect();
    let stories = stories(&deeds.join("\n"));
    assert!(stories.len() >= 14, "only {} stories were read", stories.len());
    for story in &stories {
        let mut library = Library::open(time("-2000"));
        story.play("the library", &mut library);
        let rows: Vec<_> = lines(&library).iter().map(|line| shown(line, &library)).collect();
        assert_eq!(Some(&rows), expected.get(&story.name), "`{}`", story.name);
    }
}

#[test]
fn the_rows_of_every_story_make_up_what_is_used() {
    let mut rows = 0;
    for story in stories(include_str!("cases/worked_examples.txt")) {
        let mut library = Library::open(time("-2000"));
        story.play("the library", &mut library);
        let mut reconciler = Reconciler::default();
        for (sequence, record) in records(library.broker().journal()) {
            let reconciled = reconciler.record(&record);
            reconciled.unwrap_or_else(|residue| panic!("`{}`, {sequence}: {residue}", story.name));
        }
        assert_eq!(reconciler.rows(), lines(&library).len() as u64, "`{}`", story.name);
        rows += reconciler.rows();
    }
    assert!(rows > 100, "only {rows} rows");
}

#[test]
fn a_page_looks_through_so_many_records_and_only_while_it_is_wanted() {
    let file = include_str!("cases/usage_rows.txt");
    let deeds: Vec<&str> = file.lines().filter(|line| !line.starts_with('|')).collect();
    let story = stories(&deeds.join("\n")).into_iter().find(|story| story.name.starts_with("X7"));
    let mut library = Library::open(time("-2000"));
    story.expect("it is told").play("the library", &mut library);
    let page = |after, records| {
        let (after, limit, instance) = (Sequence::new(after), usize::MAX, None);
        let query = UsageQuery { after, limit, records, instance };
        library.broker().usage(query).expect("it can be asked")
    };
    let (mut found, mut after) = (Vec::new(), 0);
    let end = library.broker().journal().durable().get();
    while after < end {
        let page = page(after, 1);
        let read = page.read(|| true, &mut |line| {
            found.push(String::from_utf8(line.to_json()).expect("a text"));
            ControlFlow::Continue(())
        });
        read.expect("the journal can be read");
        assert_eq!(page.through().get(), after + 1);
        after = page.through().get();
    }
    assert_eq!(found, lines(&library), "a record at a time: the same rows");
    let mut shown = 0;
    let read = page(0, u64::MAX).read(|| false, &mut |_| {
        shown += 1;
        ControlFlow::Continue(())
    });
    read.expect("the journal can be read");
    assert_eq!(shown, 0, "nobody wanted more than the first record, which has no rows");
}
