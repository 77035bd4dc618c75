//! Limits of rules of access over HTTP (spec 5). What the rules do is told in
//! tests/cases/worked_examples.txt.

use serde_json::json;

use crate::server::{start, text};

#[tokio::test]
async fn the_conditions_of_an_instance_are_never_longer_than_one_answer() {
    let server = start().await;
    let instance = server.instance("ACME").await;
    let target = format!("POST /api/v1.1/instances/{instance}/conditions");
    let condition = |id: Option<&str>, values: usize| {
        let values = vec!["é\"".repeat(127); values]; // 381 bytes, and four for each.
        let clause = json!({ "key": "k", "operator": "IN", "values": values });
        let mut condition = json!({ "name": "c", "condition": clause });
        if let Some(id) = id {
            condition["id"] = json!(id);
        }
        json!({ "conditions": [condition] }).to_string()
    };
    let mut ids = Vec::new();
    for values in [1_000, 1_000, 720] {
        let answer = server.admin(&target, &condition(None, values)).await;
        assert_eq!(answer.status, 200, "{:.200}", answer.body);
        ids = answer.json().as_array().expect("all").iter().map(|one| text(one, "/id")).collect();
    }
    let again = format!("{target}\nidempotency-key: long");
    let last = ids.last().expect("three").as_str();
    for (body, status) in [
        (condition(None, 7), 400),
        (condition(Some(last), 723), 200),
        (condition(Some(last), 724), 400),
        (condition(None, 1), 400),
    ] {
        let answer = server.admin(&target, &body).await;
        assert_eq!(answer.status, status, "{:.200}", answer.body);
    }
    let kept = server.admin(&again, &condition(Some(last), 723)).await;
    assert_eq!(kept.status, 200, "the longest answer fits its record: {:.200}", kept.body);
}
