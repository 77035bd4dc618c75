//! See `farebox::fuzzing::number`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    farebox::fuzzing::number(bytes);
});
