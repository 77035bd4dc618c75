//! See `farebox::fuzzing::formula`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    farebox::fuzzing::formula(bytes);
});
