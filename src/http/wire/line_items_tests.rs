//! What a line item's body may say, and how a refusal names every fault.

use super::super::Version;
use super::*;

fn faults(body: &str, version: Version) -> Vec<String> {
    match read(body.as_bytes(), version.dialect()) {
        Ok(_) => Vec::new(),
        Err(Refused::Invalid(faults)) => faults,
        Err(Refused::Malformed(fault)) => vec![fault.code.to_owned()],
    }
}

fn body(attributes: &str) -> String {
    format!(
        r#"{{"activationId":"ACT01","state":"DEPLOYED","quantity":10,"start":0,"end":9,
            "attributes":{attributes},"used":"x","held":[],"instanceId":null}}"#
    )
}

#[test]
fn attributes_are_told_all_their_faults() {
    let undefined = |name: &str| {
        format!(
            "$.attributes: property '{name}' is not defined in the schema and the schema does not \
             allow additional properties"
        )
    };
    let limit = |reason: &str| format!("$.attributes.overdraftLimit: {reason}");
    let only_number = || limit("is only allowed with overdraftType Number");
    let cases = [
        ("{}", vec![]),
        (r#"{"elastic":true,"rateTableSeries":"P"}"#, vec![]),
        (r#"{"overdraftType":"Number","overdraftLimit":5}"#, vec![]),
        (r#"{"overdraftType":"Number","overdraftLimit":5.0}"#, vec![]),
        (r#"{"overdraftType":"Unlimited"}"#, vec![]),
        (r#"{"overdraftLimit":"5"}"#, vec![limit("string found, integer expected"), only_number()]),
        (
            r#"{"overdraftType":"Number","overdraftLimit":"5"}"#,
            vec![limit("string found, integer expected")],
        ),
        (
            r#"{"overdraftType":"Number","overdraftLimit":1.5}"#,
            vec![limit("number found, integer expected")],
        ),
        (
            r#"{"overdraftType":"Number","overdraftLimit":-1}"#,
            vec![limit("must have a minimum value of 0")],
        ),
        (
            r#"{"overdraftType":"Number"}"#,
            vec![limit("is missing but overdraftType Number requires it")],
        ),
        (r#"{"overdraftLimit":5}"#, vec![only_number()]),
        (r#"{"overdraftType":"Unlimited","overdraftLimit":5}"#, vec![only_number()]),
        (
            r#"{"overdraftType":"number","overdraftLimit":5}"#,
            vec![
                "$.attributes.overdraftType: does not have a value in the enumeration \
             [Number, Unlimited]"
                    .to_owned(),
            ],
        ),
        (
            r#"{"x":1,"elastic":1,"y":[[]]}"#,
            vec![
                undefined("x"),
                undefined("y"),
                "$.attributes.elastic: integer found, boolean expected".to_owned(),
            ],
        ),
        (r#"{"resetFrequency":"MONTHLY"}"#, vec![undefined("resetFrequency")]),
        (
            r#"{"elastic":null,"rateTableSeries":null,"overdraftLimit":null,"overdraftType":null}"#,
            vec![],
        ),
        (r#"{"overdraftType":null,"overdraftLimit":5}"#, vec![only_number()]),
        ("[]", vec!["$.attributes: array found, object expected".to_owned()]),
    ];
    for (attributes, expected) in cases {
        assert_eq!(faults(&body(attributes), Version::V1_0), expected, "{attributes}");
    }
    let frequency = body(r#"{"resetFrequency":"MONTHLY"}"#);
    assert_eq!(faults(&frequency, Version::V1_1), Vec::<String>::new());
}

#[test]
fn a_body_is_told_what_is_missing_and_what_is_malformed() {
    let cases = [
        (
            "{}",
            vec![
                "$.activationId: is missing but it is required",
                "$.state: is missing but it is required",
                "$.quantity: is missing but it is required",
                "$.start: is missing but it is required",
                "$.end: is missing but it is required",
                "$.attributes: is missing but it is required",
            ],
        ),
        (
            r#"{"activationId":"","state":"GONE","quantity":0,"start":-1,"end":253402300800000,
                "attributes":{},"color":1}"#,
            vec![
                "$: property 'color' is not defined in the schema and the schema does not allow \
                 additional properties",
                "$.activationId: must not be empty",
                "$.state: does not have a value in the enumeration [DEPLOYED, INACTIVE, OBSOLETE]",
                "$.quantity: must have a minimum value of 1",
                "$.start: must have a minimum value of 0",
                "$.end: must have a maximum value of 253402300799999",
            ],
        ),
        (
            r#"{"activationId":7,"state":null,"quantity":9223372036854775808,"start":"1",
                "end":[1],"attributes":{}}"#,
            vec![
                "$.activationId: integer found, string expected",
                "$.state: null found, string expected",
                "$.quantity: must have a maximum value of 9223372036854775807",
                "$.start: string found, integer expected",
                "$.end: array found, integer expected",
            ],
        ),
        (
            // What the domain would find is named with what it never sees.
            r#"{"activationId":"A","state":"DEPLOYED","quantity":0,"start":2,"end":1,
                "attributes":{}}"#,
            vec!["$.quantity: must have a minimum value of 1", "$.end: must not be before $.start"],
        ),
        ("[]", vec!["bad-json"]),
        ("", vec!["bad-json"]),
        (r#"{"quantity":1,"quantity":1}"#, vec!["duplicate-field"]),
        (r#"{"attributes":{"elastic":true,"elastic":true}}"#, vec!["duplicate-field"]),
        (r#"{"quantity":01}"#, vec!["bad-json"]),
    ];
    for (body, expected) in cases {
        assert_eq!(faults(body, Version::V1_0), expected, "{body}");
    }
}

#[test]
fn what_is_malformed_has_its_place_in_the_body() {
    let cases = [
        ("\n[]", "the body must be an object, array found"),
        (r#"{"end":1,"end":1}"#, "`/end`: is there twice: send it once"),
        (
            r#"{"attributes":{"elastic":true,"elastic":true}}"#,
            "`/attributes/elastic`: is there twice: send it once",
        ),
        (r#"{"a/b":1,"a/b":1}"#, "`/a~1b`: is there twice: send it once"),
        ("{\n \"\\ud800\":1}", "an escape that gives no character at line 2 column 2"),
        (
            "{\"attributes\":\n{\"a\":1e999,\n \"\\ud800\":1}}",
            "`/attributes`: an escape that gives no character at line 3 column 2",
        ),
    ];
    for (body, detail) in cases {
        let Err(Refused::Malformed(fault)) = read(body.as_bytes(), Version::V1_0.dialect()) else {
            panic!("{body} is malformed");
        };
        assert_eq!(fault.detail, detail, "{body}");
    }
}

#[test]
fn an_activation_id_can_stand_in_a_path() {
    let of = |id: &str| {
        let named = body("{}").replace(r#""ACT01""#, &serde_json::to_string(id).unwrap());
        faults(&named, Version::V1_0)
    };
    for id in ["a/b", "/a//b/", "100%", "%zz", "a.b/..c", "a?b#c", " ", "é"] {
        assert_eq!(of(id), Vec::<String>::new(), "{id}");
    }
    for id in [".", "..", "a/..", "./a", "a/../b", "a\\b", "a;b", "%2e", "a%41b"] {
        let found = of(id);
        let first = found.first().map(String::as_str).unwrap_or_default();
        assert!(first.starts_with("$.activationId: cannot stand in a path: "), "{id}: {found:?}");
    }
}

#[test]
fn endless_unknown_members_and_nesting_cost_little() {
    let many: String = (0..50_000).map(|index| format!("\"m{index}\":1,")).collect();
    let listed = faults(&format!("{{{many}\"end\":1}}"), Version::V1_0);
    assert!(listed.len() < 40, "{} faults are listed", listed.len());
    let deep = format!(r#"{{"quantity":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let found = faults(&deep, Version::V1_0);
    assert!(found.contains(&"$.quantity: array found, integer expected".to_owned()));
}
