//! Any bytes as a pickle: never a panic, and always an end. What has a JSON form is JSON.

#![no_main]

use std::collections::BTreeMap;

use cov_core::pickle::Pickle;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(pickle) = Pickle::from_slice(bytes) else { return };
    pickle.read::<BTreeMap<String, Vec<Option<f64>>>>().ok();
    pickle.read::<(String, u8, [i128; 2])>().ok();
    if let Ok(text) = pickle.to_json() {
        std::str::from_utf8(&text).unwrap();
    }
});
