//! See `farebox::fuzzing::key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    farebox::fuzzing::key(bytes);
});
