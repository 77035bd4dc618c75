//! What a row looks like in JSON and in CSV, to the byte.

use std::sync::Arc;

use super::*;
use crate::domain::charge::{Denial, Take, Verdict};
use crate::domain::event::{Access, Event, Record};
use crate::domain::ids::{ActionId, CorrelationId, InstanceId, LineItemNumber, Requester};
use crate::domain::line_item::{Balance, Posting};
use crate::domain::request::{AccessRequest, RequestedItem};
use crate::domain::rules::Dictionary;
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;
use crate::domain::variables::Variables;

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

fn instance() -> InstanceEntry {
    InstanceEntry {
        number: InstanceNumber::new(Sequence::new(4)),
        id: InstanceId::from_u128(0x1234),
        short_name: text("ACME-def-inst"),
        account_id: text("ACME, \"Inc\""),
        default: true,
        created: Timestamp::default(),
    }
}

/// One item that was charged and one that was denied, asked for by somebody of this name.
fn record(name: &str) -> Record {
    let item = |name: &str, metadata: Option<&str>| RequestedItem {
        name: text(name),
        version: text("1.0"),
        count: "2.5".parse().unwrap(),
        metadata: metadata.map(Document::from_checked),
        variables: Variables::default(),
    };
    let requester =
        Requester { kind: text("user"), value: text(name), dictionary: Dictionary::default() };
    let line_item = LineItemNumber::new(Sequence::new(5));
    let take = Take {
        line_item,
        rate: "0.3".parse().unwrap(),
        tokens: Tokens::parse("0.75").unwrap(),
        action: Some(ActionId::from_u128(7)),
    };
    let posting = Posting {
        line_item,
        activation_id: text("ACT01"),
        quantity: Some(1000),
        after: Balance { used: Tokens::whole(44), ..Balance::default() },
    };
    let items = vec![item("PhotoPrint", Some("{\"a\":\r\n \"=1\"}")), item("=HYPERLINK(1)", None)];
    let access = Access {
        instance: instance().number,
        correlation: CorrelationId::from_u128(9),
        request: Arc::new(AccessRequest { requester, items }),
        verdicts: vec![Verdict::Granted(vec![take]), Verdict::Denied(Denial::Insufficient)],
        postings: vec![posting],
    };
    let at = Timestamp::from_ms(1_695_821_887_865);
    Record { at, event: Event::Access(Arc::new(access)) }
}

fn written(format: Format, record: &Record) -> String {
    let (mut out, instance) = (Vec::new(), instance());
    let mut writer = Writer::new(format, &mut out);
    for row in &rows(record) {
        let line = UsageLine { sequence: Sequence::new(8), instance: &instance, row };
        writer.row(&line).unwrap();
    }
    writer.finish().unwrap();
    String::from_utf8(out).unwrap().replace("\r\n", "<CRLF>\n")
}

#[test]
fn a_row_is_a_line_of_json_with_all_members_in_order() {
    insta::assert_snapshot!(written(Format::Ndjson, &record("LisaBarry")), @r#"
    {"sequence":8,"correlationId":"00000000-0000-0000-0000-000000000009","tenantId":"default","usageTime":1695821887865,"writeTime":1695821887865,"consumerId":"LisaBarry","consumerType":"user","accountId":"ACME, \"Inc\"","instanceId":"00000000-0000-0000-0000-000000001234","activationId":"ACT01","mappedEntitledCount":1000,"used":44,"item":"PhotoPrint","itemVersion":"1.0","itemCount":2.5,"rate":0.3,"tokens":0.75,"eventType":"ACCESS","statusCode":"101","statusDescription":"Successfully checked out","sessionId":null,"actionId":"00000000-0000-0000-0000-000000000007","metaData":{"a":   "=1"}}
    {"sequence":8,"correlationId":"00000000-0000-0000-0000-000000000009","tenantId":"default","usageTime":1695821887865,"writeTime":1695821887865,"consumerId":"LisaBarry","consumerType":"user","accountId":"ACME, \"Inc\"","instanceId":"00000000-0000-0000-0000-000000001234","activationId":"","mappedEntitledCount":null,"used":null,"item":"=HYPERLINK(1)","itemVersion":"1.0","itemCount":2.5,"rate":null,"tokens":0,"eventType":"DENIED","statusCode":"306","statusDescription":"Insufficient count available","sessionId":null,"actionId":null,"metaData":null}
    "#);
}

#[test]
fn a_row_is_a_line_of_csv_under_the_names_of_the_reference() {
    insta::assert_snapshot!(written(Format::Csv, &record("LisaBarry")), @r#"
    SEQUENCE,CORRELATION_ID,TENANT_ID,USAGE_TIME,WRITE_TIME,CONSUMER_ID,CONSUMER_TYPE,ACCOUNT_ID,INSTANCE_ID,ACTIVATION_ID,MAPPED_ENTITLED_COUNT,USED,ITEM,ITEM_VERSION,ITEM_COUNT,RATE,TOKENS,EVENT_TYPE,STATUS_CODE,STATUS_DESCRIPTION,SESSION_ID,ACTION_ID,META_DATA<CRLF>
    8,00000000-0000-0000-0000-000000000009,default,1695821887865,1695821887865,LisaBarry,user,"ACME, ""Inc""",00000000-0000-0000-0000-000000001234,ACT01,1000,44,PhotoPrint,1.0,2.5,0.3,0.75,ACCESS,101,Successfully checked out,,00000000-0000-0000-0000-000000000007,"{""a"":   ""=1""}"<CRLF>
    8,00000000-0000-0000-0000-000000000009,default,1695821887865,1695821887865,LisaBarry,user,"ACME, ""Inc""",00000000-0000-0000-0000-000000001234,,,,'=HYPERLINK(1),1.0,2.5,,0,DENIED,306,Insufficient count available,,,<CRLF>
    "#);
}

#[test]
fn text_that_a_spreadsheet_would_run_begins_with_an_apostrophe_and_numbers_do_not() {
    for (name, cell) in [
        ("=1+1", ",'=1+1,"),
        ("+49 30 1", ",'+49 30 1,"),
        ("-2", ",'-2,"),
        ("@SUM(A1)", ",'@SUM(A1),"),
        ("＝1+1", ",'＝1+1,"),
        ("a=1", ",a=1,"),
        ("'=1", ",'=1,"),
        ("=A,\"B\"", ",\"'=A,\"\"B\"\"\","),
    ] {
        let csv = written(Format::Csv, &record(name));
        assert!(csv.contains(cell), "{name}: {csv}");
    }
    let fields = |line: &str| line.split(',').count();
    let csv = written(Format::Csv, &record("LisaBarry"));
    assert!(csv.lines().next().is_some_and(|names| fields(names) == COLUMNS.len()), "{csv}");
}
