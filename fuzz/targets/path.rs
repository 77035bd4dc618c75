//! See `farebox::fuzzing::path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    farebox::fuzzing::path(bytes);
});
