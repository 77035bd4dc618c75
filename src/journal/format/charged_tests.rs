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

proptest! {
    #[test]
    fn what_a_record_charges_is_read_without_the_rest_of_it(at in time(), event in any_event(), key in of(keyed())) {
        let record = Record { at, event };
        let mut bytes = Vec::new();
        encode_keyed(&record, key.as_ref(), &mut bytes);
        let (expected, expected_changes) = if let Event::Access(access) = &record.event {
            let instance = access.instance;
            let change = |posting: &Posting| (instance, posting.line_item, posting.after.clone());
            let charged = Charged { at, instance, keyed: key.map(|keyed| keyed.call) };
            (Some(charged), access.postings.iter().map(change).collect())
        } else {
            (None, Vec::new())
        };
        let mut changes = Vec::new();
        let read = read_charged(&bytes, |instance, line_item, balance| {
            changes.push((instance, line_item, balance));
        });
        prop_assert_eq!((read, changes), (Ok(expected), expected_changes));
    }

    #[test]
    fn every_record_is_passed_over_to_its_end(at in time(), event in any_event()) {
        let bytes = bytes(&Record { at, event });
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(Record::skip(&mut reader), Ok(()));
        prop_assert!(reader.is_at_end());
    }
}
