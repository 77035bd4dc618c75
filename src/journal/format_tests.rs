//! Records come back as they were written, and the bytes of a format version stay as they are.

#[path = "format/charged_tests.rs"]
mod charged;
#[path = "format/component_tests.rs"]
mod components;

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::domain::ids::{
    ActionId, ConditionId, CorrelationId, Document, InstanceId, InstanceNumber, LineItemNumber,
    RateTableNumber, Sequence, SessionId, SessionNumber, Text,
};
use crate::domain::rules::{Counters, Dictionary};
use crate::domain::time::{Period, Timestamp};
use crate::domain::tokens::{Count, Rate, Tokens};

fn text() -> impl Strategy<Value = Text> {
    "[a-zA-Z0-9é .:/-]{0,20}".prop_map(|text| Text::new(&text).unwrap())
}

fn tokens() -> impl Strategy<Value = Tokens> {
    (0..=Tokens::MAX.units()).prop_map(|units| Tokens::from_units(units).unwrap())
}

fn number<T>(new: fn(Sequence) -> T) -> impl Strategy<Value = T>
where
    T: std::fmt::Debug,
{
    any::<u64>().prop_map(move |number| new(Sequence::new(number)))
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_ms)
}

fn variables() -> impl Strategy<Value = Variables> {
    let value = (-1_000_000_000_000_000_000..=1_000_000_000_000_000_000i64)
        .prop_map(|units| Number::from_units(units).unwrap());
    vec(value, 0..4).prop_map(|values| {
        let variable = |(index, value)| {
            let name = Text::new(&format!("Name_{index}")).unwrap();
            Variable { name, value }
        };
        Variables::new(values.into_iter().enumerate().map(variable).collect()).unwrap()
    })
}

fn rate() -> impl Strategy<Value = Rate> {
    (0..=1_000_000_000_000_000_000u64).prop_map(|units| Rate::from_units(units).unwrap())
}

fn price() -> impl Strategy<Value = Price> {
    let rate = rate().prop_map(Price::Rate);
    let formula = Just(Price::from(Formula::parse("CEILING.MATH(a * 1.2) + b").unwrap()));
    prop_oneof![rate, formula]
}

fn request() -> impl Strategy<Value = Arc<AccessRequest>> {
    let document = || proptest::option::of(Just(Document::from_checked(r#"{"a":[1,"é"]}"#)));
    let count = (1..=1_000_000_000_000u64).prop_map(|units| Count::from_units(units).unwrap());
    let item = (text(), text(), count, document(), variables()).prop_map(
        |(name, version, count, metadata, variables)| RequestedItem {
            name,
            version,
            count,
            metadata,
            variables,
        },
    );
    let dictionary = vec((text(), text()), 0..4).prop_map(Dictionary::new);
    let requester = (text(), text(), dictionary).prop_map(|(kind, value, dictionary)| Requester {
        kind,
        value,
        dictionary,
    });
    (requester, vec(item, 0..4))
        .prop_map(|(requester, items)| Arc::new(AccessRequest { requester, items }))
}

fn action() -> impl Strategy<Value = ActionId> {
    any::<u128>().prop_map(ActionId::from_u128)
}

fn counters() -> impl Strategy<Value = Counters> {
    vec((action(), tokens()), 0..3).prop_map(Counters::new)
}

fn condition() -> impl Strategy<Value = Condition> {
    let operator = prop_oneof![Just(Operator::In), Just(Operator::Not)];
    let clause =
        || {
            (text(), operator.clone(), vec(text(), 1..3))
                .prop_map(|(key, operator, values)| Clause { key, operator, values })
        };
    let rule = prop_oneof![
        clause().prop_map(Rule::Simple),
        vec(clause(), 1..3).prop_map(Rule::And),
        vec(clause(), 1..3).prop_map(Rule::Or),
    ];
    (any::<u128>(), any::<u64>(), text(), rule).prop_map(|(id, place, name, rule)| Condition {
        id: ConditionId::from_u128(id),
        place,
        name,
        rule,
    })
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let effect =
        prop_oneof![proptest::option::of(tokens()).prop_map(Effect::Allow), Just(Effect::Deny),];
    let condition = proptest::option::of(any::<u128>().prop_map(ConditionId::from_u128));
    let action = (action(), text(), condition, effect);
    let action =
        action.prop_map(|(id, name, condition, effect)| Action { id, name, condition, effect });
    vec(action, 0..3)
}

fn verdicts() -> impl Strategy<Value = Vec<Verdict>> {
    let take = (number(LineItemNumber::new), rate(), tokens(), proptest::option::of(action()))
        .prop_map(|(line_item, rate, tokens, action)| Take { line_item, rate, tokens, action });
    let denial = prop_oneof![
        Just(Denial::NoStatus),
        Just(Denial::UnknownItem),
        Just(Denial::NoLineItem),
        Just(Denial::Insufficient)
    ];
    let granted = vec(take, 0..3).prop_map(Verdict::Granted);
    vec(prop_oneof![granted, denial.prop_map(Verdict::Denied)], 0..4)
}

fn postings() -> impl Strategy<Value = Vec<Posting>> {
    let quantity = proptest::option::of(any::<u64>());
    let after = ([tokens(), tokens()], any::<[u64; 2]>(), counters()).prop_map(
        |([used, held], [open_lines, seats], counters)| Balance {
            used,
            open_lines,
            counters,
            held,
            seats,
        },
    );
    let posting = (number(LineItemNumber::new), text(), quantity, after);
    vec(
        posting.prop_map(|(line_item, activation_id, quantity, after)| Posting {
            line_item,
            activation_id,
            quantity,
            after,
        }),
        0..4,
    )
}

fn refunds() -> impl Strategy<Value = Vec<Refund>> {
    let action = proptest::option::of(action());
    let refund = (number(LineItemNumber::new), text(), 0..100usize, rate(), tokens(), action);
    vec(
        refund.prop_map(|(line_item, activation_id, item, rate, tokens, action)| Refund {
            line_item,
            activation_id,
            item,
            rate,
            tokens,
            action,
        }),
        0..4,
    )
}

fn terms() -> impl Strategy<Value = Terms> {
    let state = prop_oneof![
        Just(LineItemState::Deployed),
        Just(LineItemState::Inactive),
        Just(LineItemState::Obsolete)
    ];
    let overdraft = prop_oneof![
        Just(Overdraft::None),
        any::<u64>().prop_map(Overdraft::Number),
        Just(Overdraft::Unlimited)
    ];
    let names = (text(), text(), proptest::option::of(text()));
    (names, state, any::<u64>(), time(), time(), any::<bool>(), overdraft).prop_map(
        |(
            (activation_id, series, reset_frequency),
            state,
            quantity,
            start,
            end,
            elastic,
            overdraft,
        )| {
            Terms {
                activation_id,
                state,
                quantity,
                start,
                end,
                elastic,
                series,
                overdraft,
                reset_frequency,
            }
        },
    )
}

fn catalogue_event() -> impl Strategy<Value = Event> {
    let class = || prop_oneof![Just(KeyClass::Administration), Just(KeyClass::Client)];
    let key = (text(), class(), "[A-Z\n-]{0,40}", time(), time(), any::<u64>()).prop_map(
        |(id, class, pem, created, modified, place)| RegisteredKey {
            id,
            class,
            pem,
            created,
            modified,
            place,
        },
    );
    let item = (text(), text(), price()).prop_map(|(name, version, rate)| RatedItem {
        name,
        version,
        rate,
    });
    let table = (text(), text(), time(), vec(item, 0..4)).prop_map(
        |(series, version, effective_from, items)| NewRateTable {
            series,
            version,
            effective_from,
            items,
        },
    );
    prop_oneof![
        vec(key, 0..4).prop_map(Event::KeysRegistered),
        (class(), text()).prop_map(|(class, id)| Event::KeyDeleted { class, id }),
        table.prop_map(Event::RateTablePublished),
        (text(), number(RateTableNumber::new))
            .prop_map(|(series, number)| Event::RateTableDeleted { series, number }),
        (any::<u128>(), text(), text(), any::<bool>()).prop_map(
            |(id, short_name, account_id, default)| {
                Event::InstanceCreated {
                    id: InstanceId::from_u128(id),
                    short_name,
                    account_id,
                    default,
                }
            }
        ),
        (number(InstanceNumber::new), proptest::option::of(number(LineItemNumber::new)), terms())
            .prop_map(|(instance, number, terms)| Event::LineItemMapped {
                instance,
                number,
                terms
            }),
        (number(InstanceNumber::new), number(LineItemNumber::new), text()).prop_map(
            |(instance, number, activation_id)| Event::LineItemDeleted {
                instance,
                number,
                activation_id
            }
        ),
        (number(InstanceNumber::new), vec(condition(), 0..3))
            .prop_map(|(instance, conditions)| { Event::ConditionsSet { instance, conditions } }),
        (number(InstanceNumber::new), vec(any::<u128>(), 0..3)).prop_map(|(instance, ids)| {
            let conditions = ids.into_iter().map(ConditionId::from_u128).collect();
            Event::ConditionsDeleted { instance, conditions }
        }),
        (number(InstanceNumber::new), number(LineItemNumber::new), text(), actions(), postings())
            .prop_map(|(instance, number, activation_id, actions, postings)| {
                let posting = postings.into_iter().next();
                Event::ActionsSet { instance, number, activation_id, actions, posting }
            }),
    ]
}

fn access_event() -> impl Strategy<Value = Event> {
    let next = prop_oneof![
        Just(Next::Unchanged),
        (1..u64::MAX).prop_map(|ms| Next::Charged(Period::from_ms(ms).unwrap())),
        Just(Next::Halted),
        Just(Next::Terminated)
    ];
    let place = || (number(InstanceNumber::new), any::<u128>().prop_map(CorrelationId::from_u128));
    let session = || (number(SessionNumber::new), any::<u128>().prop_map(SessionId::from_u128));
    let ended = || proptest::option::of(request());
    let paid_back = || (ended(), refunds(), postings());
    let closed = || {
        (place(), session(), paid_back()).prop_map(
            |((instance, correlation), (session, session_id), (ended, refunds, postings))| {
                let closed = SessionClosed {
                    session,
                    session_id,
                    instance,
                    correlation,
                    ended,
                    refunds,
                    postings,
                };
                Arc::new(closed)
            },
        )
    };
    prop_oneof![
        (place(), request(), verdicts(), postings()).prop_map(
            |((instance, correlation), request, verdicts, postings)| {
                Event::Access(Arc::new(Access {
                    instance,
                    correlation,
                    request,
                    verdicts,
                    postings,
                }))
            }
        ),
        (any::<u128>(), number(InstanceNumber::new)).prop_map(|(id, instance)| {
            Event::SessionCreated { id: SessionId::from_u128(id), instance }
        }),
        ((place(), session(), any::<u128>()), request(), verdicts(), paid_back(), next.clone())
            .prop_map(
                |(
                    ((instance, correlation), (session, session_id), refund),
                    request,
                    verdicts,
                    (ended, refunds, postings),
                    next,
                )| {
                    let refund_correlation = CorrelationId::from_u128(refund);
                    Event::SessionAccess(Arc::new(SessionAccess {
                        session,
                        session_id,
                        instance,
                        correlation,
                        refund_correlation,
                        request,
                        verdicts,
                        ended,
                        refunds,
                        postings,
                        next,
                    }))
                }
            ),
        closed().prop_map(Event::SessionClosed),
        closed().prop_map(Event::SessionExpired),
        ((place(), session()), request(), verdicts(), paid_back(), next).prop_map(
            |(
                ((instance, correlation), (session, session_id)),
                request,
                verdicts,
                (_, refunds, postings),
                next,
            )| {
                Event::AutomaticCharge(Arc::new(AutomaticCharge {
                    session,
                    session_id,
                    instance,
                    correlation,
                    request,
                    verdicts,
                    refunds,
                    postings,
                    next,
                }))
            }
        ),
    ]
}

fn bytes(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(record, &mut bytes);
    bytes
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        catalogue_event(),
        access_event(),
        components::lease_event(),
        components::provision_event()
    ]
}

proptest! {
    #[test]
    fn every_record_comes_back(at in time(), event in any_event()) {
        let record = Record { at, event };
        prop_assert_eq!(decode(&bytes(&record)), Ok(record));
    }

    #[test]
    fn a_record_that_lost_its_end_is_refused(event in prop_oneof![access_event(), components::lease_event()], cut in any::<prop::sample::Index>()) {
        let whole = bytes(&Record { at: Timestamp::default(), event });
        let kept = cut.index(whole.len());
        prop_assert!(decode(&whole[..kept]).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }
}

/// The bytes of format version 3. If this test has to change, so has the version.
#[test]
fn the_tutorials_charge_has_these_bytes() {
    let text = |text: &str| Text::new(text).unwrap();
    let line_item = LineItemNumber::new(Sequence::new(5));
    let granted = |rate: u64, tokens: u64| {
        let rate = Rate::from_units(rate * 1_000_000_000).unwrap();
        Verdict::Granted(vec![Take {
            line_item,
            rate,
            tokens: Tokens::whole(tokens),
            action: None,
        }])
    };
    let item = |name: &str, version: &str, count: u64| RequestedItem {
        name: text(name),
        version: text(version),
        count: Count::from_units(count * 1_000_000_000).unwrap(),
        metadata: None,
        variables: Variables::default(),
    };
    let requester = Requester {
        kind: text("user"),
        value: text("LisaBarry"),
        dictionary: Dictionary::default(),
    };
    let items = vec![item("PhotoPrint", "1.0", 10), item("CADPrint", "2.0", 2)];
    let posting = Posting {
        line_item,
        activation_id: text("ACT01-Elastic"),
        quantity: Some(1000),
        after: Balance { used: Tokens::whole(44), ..Balance::default() },
    };
    let access = Access {
        instance: InstanceNumber::new(Sequence::new(4)),
        correlation: CorrelationId::from_u128(0x5c8e_c4fd_f17f_4657_bf09_74a9_7ddc_9f8b),
        request: Arc::new(AccessRequest { requester, items }),
        verdicts: vec![granted(3, 30), granted(7, 14)],
        postings: vec![posting],
    };
    let at = Timestamp::from_ms(1_695_821_887_865);
    let record = Record { at, event: Event::Access(Arc::new(access)) };
    let hex: String = bytes(&record).iter().map(|byte| format!("{byte:02x}")).collect();
    insta::assert_snapshot!(hex, @"f9f2f1b6ad3107045c8ec4fdf17f4657bf0974a97ddc9f8b0475736572094c697361426172727900020a50686f746f5072696e7403312e3080c8afa0250000084341445072696e7403322e3080a8d6b90700000201010580bcc1960b3c00010105808cee891a1c0001050d41435430312d456c617374696301e8075800000000");
}

/// The bytes of a formula and of its variables.
#[test]
fn a_formula_and_its_variables_have_these_bytes() {
    let text = |text: &str| Text::new(text).unwrap();
    let hex = |value: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        value(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let rate = Price::from(Formula::parse("a+1").unwrap());
    let rated = RatedItem { name: text("P"), version: Text::empty(), rate };
    insta::assert_snapshot!(hex(&|bytes| rated.put(bytes)), @"0150000203612b31");
    let variable = |name: &str, units| {
        let value = Number::from_units(units).unwrap();
        Variable { name: text(name), value }
    };
    let variables = Variables::new(vec![variable("a", 2_500_000_000), variable("B", -1)]).unwrap();
    let asked = RequestedItem {
        name: text("P"),
        version: Text::empty(),
        count: Count::from_units(1_000_000_000).unwrap(),
        metadata: Some(Document::from_checked("{}")),
        variables,
    };
    insta::assert_snapshot!(hex(&|bytes| asked.put(bytes)), @"0150008094ebdc0301027b7d02016180e497d012014203");
}
