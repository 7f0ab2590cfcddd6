//! Any bytes as frames of the runner contract: never a panic, and what is read is written back equal.

#![no_main]

use cov_core::frames::{FromRunner, FromZygote, Message, ToKeeper, ToRunner, ToZygote};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check::<ToRunner>(bytes);
    check::<FromRunner>(bytes);
    check::<ToZygote>(bytes);
    check::<ToKeeper>(bytes);
    check::<FromZygote>(bytes);
});

/// Reads all frames in `bytes`, as a reader of a socket does.
fn check<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((message, used))) = M::from_frame(rest) {
        assert!(used <= rest.len());
        let frame = message.to_frame().expect("a message that came in a frame fits one");
        let again = M::from_frame(&frame).expect("a frame that was just written is one");
        assert_eq!(again, Some((message, frame.len())));
        rest = &rest[used..];
    }
}
