//! See `farebox::fuzzing::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    farebox::fuzzing::request(bytes);
});
