//! What is read of a record without the rest of it, held against the whole.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::domain::idempotency::{Fingerprint, IdempotencyKey};
use crate::domain::ids::InstanceId;

fn keyed() -> impl Strategy<Value = Keyed> {
    let call = (any::<u128>(), of(any::<u128>()), any::<u128>()).prop_map(
        |(key, instance, fingerprint)| KeyedCall {
            key: IdempotencyKey::from_u128(key),
            instance: instance.map(InstanceId::from_u128),
            fingerprint: Fingerprint::from_u128(fingerprint),
        },
    );
    let pacing =
        (time(), time(), time()).prop_map(|(charged_until, heartbeat_from, heartbeat_due_by)| {
            Pacing { charged_until, heartbeat_from, heartbeat_due_by }
        });
    let answer = (200..600u16, of(pacing), vec(any::<u8>(), 0..50))
        .prop_map(|(status, pacing, body)| FirstAnswer { status, pacing, body });
    (call, answer).prop_map(|(call, answer)| Keyed { call, answer })
}

fn any_record() -> impl Strategy<Value = Record> {
    let event = prop_oneof![any_event().boxed(), one_off().boxed()];
    (time(), event).prop_map(|(at, event)| Record { at, event }).boxed()
}

fn one_off() -> impl Strategy<Value = Event> {
    access_event().prop_filter("one-off", |event| matches!(event, Event::Access(_)))
}

type Changes = Vec<(InstanceNumber, LineItemNumber, Balance)>;

fn read(bytes: &[u8]) -> (Result<Option<Charged>, CodeError>, Changes) {
    let mut changes = Vec::new();
    let read = read_charged(bytes, |instance, line_item, after| {
        changes.push((instance, line_item, after));
    });
    (read, changes)
}

proptest! {
    #[test]
    fn what_a_record_charges_is_read_without_the_rest_of_it(
        record in any_record(),
        key in of(keyed()),
    ) {
        let mut bytes = Vec::new();
        encode_keyed(&record, key.as_ref(), &mut bytes);
        let expected = if let Event::Access(access) = &record.event {
            let change = |posting: &Posting| {
                (access.instance, posting.line_item, posting.after.clone())
            };
            let charged = Charged { at: record.at, keyed: key.map(|keyed| keyed.call) };
            (Ok(Some(charged)), access.postings.iter().map(change).collect())
        } else {
            (Ok(None), Vec::new())
        };
        prop_assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn a_charge_that_lost_its_end_is_refused(
        event in one_off(),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = bytes(&Record { at: Timestamp::default(), event });
        let kept = cut.index(whole.len());
        prop_assert!(read(&whole[..kept]).0.is_err());
    }

    #[test]
    fn every_record_is_passed_over_to_its_end(record in any_record()) {
        let bytes = bytes(&record);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(Record::skip(&mut reader), Ok(()));
        prop_assert!(reader.is_at_end());
    }

    #[test]
    fn no_bytes_make_the_short_reading_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read(&[&[0, ACCESS][..], &bytes].concat());
    }
}
