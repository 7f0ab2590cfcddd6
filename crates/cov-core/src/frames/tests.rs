//! Frames read back as they were written, known bytes stay known, and damaged ones are refused.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::host::{Found, FromHost, ToHost};
use super::*;

fn blob() -> impl Strategy<Value = Blob> {
    prop_oneof![
        vec(any::<u8>(), 0..64).prop_map(Blob::Inline),
        vec(1_u8.., 1..64).prop_map(Blob::File),
    ]
}

fn task() -> impl Strategy<Value = Task> {
    let argument = (any::<u32>(), blob()).prop_map(|(node, value)| Argument { node, value });
    let keyword = (".{0,8}", any::<u32>(), blob())
        .prop_map(|(name, node, value)| KeywordArgument { name, node, value });
    let work_dir =
        (vec(1_u8.., 1..32), any::<bool>()).prop_map(|(path, unique)| WorkDir { path, unique });
    let place = (any::<u64>(), ".{0,36}", any::<u32>(), option::of(work_dir));
    let code = (blob(), option::of(blob()), any::<bool>());
    (place, code, vec(argument, 0..4), vec(keyword, 0..4)).prop_map(
        |(place, code, args, kwargs)| {
            let (attempt, dispatch, node, work_dir) = place;
            let (function, hooks, run_callables) = code;
            Task { attempt, dispatch, node, function, hooks, run_callables, args, kwargs, work_dir }
        },
    )
}

fn report() -> impl Strategy<Value = FromRunner> {
    let outcome = prop_oneof![
        blob().prop_map(Outcome::Completed),
        ".{0,64}".prop_map(Outcome::Failed),
        ".{0,64}".prop_map(Outcome::NotStored)
    ];
    prop_oneof![
        (any::<u32>(), any::<u32>(), ".{0,8}").prop_map(|(version, pid, python)| {
            let (cloudpickle, covalent) = (python.clone(), python.clone());
            FromRunner::Hello(Hello { version, pid, python, cloudpickle, covalent })
        }),
        any::<u64>().prop_map(|attempt| FromRunner::Begun { attempt }),
        (any::<u64>(), outcome, blob(), blob()).prop_map(|(attempt, outcome, stdout, stderr)| {
            FromRunner::Ended { attempt, outcome, stdout, stderr }
        }),
    ]
}

proptest! {
    #[test]
    fn tasks_read_back_as_they_were_written(tasks in vec(task(), 0..4), rest in vec(any::<u8>(), 0..9)) {
        let message = ToRunner::Run(tasks);
        let mut bytes = message.to_frame().unwrap();
        let length = bytes.len();
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(ToRunner::from_frame(&bytes).unwrap(), Some((message, length)));
    }

    #[test]
    fn a_frame_that_is_cut_off_is_waited_for(message in report(), part in 0.0..1.0_f64) {
        let bytes = message.to_frame().unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the length")]
        let cut = (bytes.len() as f64 * part) as usize;
        prop_assert_eq!(FromRunner::from_frame(&bytes[..cut]).unwrap(), None);
        prop_assert_eq!(FromRunner::from_frame(&bytes).unwrap(), Some((message, bytes.len())));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..256)) {
        if let Ok(Some((message, used))) = FromRunner::from_frame(&bytes) {
            prop_assert_eq!(message.to_frame().unwrap(), &bytes[..used]);
        }
        if let Ok(Some((message, used))) = FromZygote::from_frame(&bytes) {
            prop_assert_eq!(message.to_frame().unwrap(), &bytes[..used]);
        }
        if let Ok(Some((message, used))) = ToKeeper::from_frame(&bytes) {
            prop_assert_eq!(message.to_frame().unwrap(), &bytes[..used]);
        }
    }

    #[test]
    fn a_damaged_frame_never_panics(message in report(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = message.to_frame().unwrap();
        let place = at.index(bytes.len());
        bytes[place] ^= flip;
        if let Ok(Some((read, _))) = FromRunner::from_frame(&bytes) {
            prop_assert_ne!(read, message);
        }
    }
}

#[test]
fn the_bytes_of_known_messages_do_not_change() {
    let begun = FromRunner::Begun { attempt: 0x0102 };
    let bytes = [12, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(begun.to_frame().unwrap(), bytes);
    let exited = FromZygote::Exited { runner: 3, exit: Exit::Signal(9) };
    let mut bytes = vec![20, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([1, 0, 0, 0, 9, 0, 0, 0]);
    assert_eq!(exited.to_frame().unwrap(), bytes);
    let failed = FromRunner::Ended {
        attempt: 1,
        outcome: Outcome::Failed("no".into()),
        stdout: Blob::Inline(vec![]),
        stderr: Blob::File(b"/e".to_vec()),
    };
    let mut bytes = vec![52, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    bytes.extend([2, 0, 0, 0, 0, 0, 0, 0, b'n', b'o']);
    bytes.extend([0; 12]);
    bytes.extend([1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'/', b'e']);
    assert_eq!(failed.to_frame().unwrap(), bytes);
}

#[test]
fn lengths_over_the_limit_are_refused_before_anything_is_reserved() {
    let frame = [0xff; 8];
    assert!(matches!(FromRunner::from_frame(&frame), Err(Error::TooLong { .. })));
    // A message that says it holds a text of 2^60 bytes.
    let mut frame = vec![20, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    frame.extend((1_u64 << 60).to_le_bytes());
    assert!(matches!(FromZygote::from_frame(&frame), Err(Error::Decode(_))));
    let long = FromZygote::ForkFailed { runner: 0, message: "x".repeat(64 * 1024) };
    assert!(matches!(long.to_frame(), Err(Error::TooLong { .. })));
}

#[test]
fn bytes_behind_a_message_in_its_frame_are_refused() {
    let frame = [13, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(FromRunner::from_frame(&frame), Err(Error::Trailing { count: 1 })));
}

#[test]
fn the_bytes_of_messages_with_the_host_do_not_change() {
    let kill = ToHost::Kill { attempt: 1, grace_ms: 2 };
    let mut bytes = vec![20, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(kill.to_frame().unwrap(), bytes);
    let found =
        Found { name: "a".into(), managed: true, origin: String::new(), fault: Some("b".into()) };
    let mut bytes = vec![40, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, b'a', 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([1, 1, 0, 0, 0, 0, 0, 0, 0, b'b']);
    assert_eq!(FromHost::Found(vec![found]).to_frame().unwrap(), bytes);
}
