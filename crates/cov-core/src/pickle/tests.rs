//! What Python writes is read; what it could not have written is an error, and never worse.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{DEPTH_MAX, Error, Pickle};

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    Pickle::from_slice(bytes)?.read()
}

fn json(bytes: &[u8]) -> Result<String, Error> {
    Ok(String::from_utf8(Pickle::from_slice(bytes)?.to_json()?).unwrap())
}

/// `{'none': None, 'yes': True, 'n': [-1, 255, 65535, 2**40, -2**100], 'f': 0.5, 'ä': b'\x00\xff',
/// 't': (1, 2, 3, 4), 's': {7}, 'empty': ((), [], {})}`, in protocol 5.
const ALL: &[u8] =
    b"\x80\x05\x95\x78\x00\x00\x00\x00\x00\x00\x00\x7d\x94(\x8c\x04none\x94N\x8c\x03yes\x94\x88\
    \x8c\x01n\x94]\x94(J\xff\xff\xff\xffK\xffM\xff\xff\x8a\x06\x00\x00\x00\x00\x00\x01\
    \x8a\x0d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xf0e\
    \x8c\x01f\x94G?\xe0\x00\x00\x00\x00\x00\x00\x8c\x02\xc3\xa4\x94C\x02\x00\xff\x94\
    \x8c\x01t\x94(K\x01K\x02K\x03K\x04t\x94\x8c\x01s\x94\x8f\x94(K\x07\x90\
    \x8c\x05empty\x94)]\x94}\x94\x87\x94u.";

#[derive(Debug, PartialEq, Deserialize)]
struct All {
    none: Option<u8>,
    yes: bool,
    n: Vec<i128>,
    f: f64,
    #[serde(rename = "ä")]
    bytes: Vec<u8>,
    t: (u8, u16, i32, f32),
    s: BTreeSet<u64>,
    empty: ((), Vec<String>, BTreeMap<String, u8>),
}

#[test]
fn plain_data_is_read() {
    // The empty tuple is read as a struct of no fields is: as a list without items.
    #[derive(Deserialize)]
    struct Empty {
        empty: (Vec<u8>, Vec<u8>, BTreeMap<u8, u8>),
    }
    let Empty { empty } = read(ALL).unwrap();
    assert_eq!(empty, (vec![], vec![], BTreeMap::new()));
    let all: Result<All, Error> = read(ALL);
    assert!(all.unwrap_err().to_string().contains("expected unit"));
    let expected = r#"{"none":null,"yes":true,"n":[-1,255,65535,1099511627776,-1267650600228229401496703205376],"f":0.5,"ä":[0,255],"t":[1,2,3,4],"s":[7],"empty":[[],[],{}]}"#;
    assert_eq!(json(ALL).unwrap(), expected);
    let n: BTreeMap<String, IgnoredAny> = read(ALL).unwrap();
    assert_eq!(n.len(), 8);
    let value: serde_json::Value = serde_json::from_str(&json(ALL).unwrap()).unwrap();
    assert_eq!(value["t"][3], 4);
}

#[test]
fn enums_have_the_forms_that_they_have_in_json() {
    #[derive(Debug, PartialEq, Deserialize)]
    enum Shape {
        Dot,
        Circle(f64),
        Box(u8, u8),
        Named { name: String },
    }
    // ['Dot', {'Circle': 2}, {'Box': (1, 2)}, {'Named': {'name': 'x'}}]
    let bytes = b"\x80\x04](\x8c\x03Dot}\x8c\x06CircleK\x02s}\x8c\x03BoxK\x01K\x02\x86s}\x8c\x05Named}\x8c\x04name\x8c\x01xsse.";
    let read: Vec<Shape> = read(bytes).unwrap();
    let named = Shape::Named { name: "x".into() };
    assert_eq!(read, [Shape::Dot, Shape::Circle(2.0), Shape::Box(1, 2), named]);
}

#[test]
fn older_protocols_and_dictionaries_by_another_name_are_read() {
    // Protocol 2, with memo and mark: [1, [1]] whose list is shared.
    assert_eq!(json(b"\x80\x02]q\x00(K\x01]q\x01K\x01ah\x01e.").unwrap(), "[1,[1],[1]]");
    let ordered =
        b"\x80\x05\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94\x8c\x01a\x94K\x01s.";
    assert_eq!(json(ordered).unwrap(), r#"{"a":1}"#);
}

#[test]
fn objects_are_named_and_passed_over_where_nobody_asks() {
    // datetime.datetime(2026, 1, 2)
    let datetime = b"\x80\x05\x8c\x08datetime\x94\x8c\x08datetime\x94\x93\x94C\n\x07\xea\x01\x02\x00\x00\x00\x00\x00\x00\x94\x85\x94R\x94.";
    let error = read::<String>(datetime).unwrap_err();
    assert_eq!(error, Error::Object { type_name: "datetime.datetime".into() });
    assert_eq!(json(datetime).unwrap_err(), error);
    // numpy.float64(1.5)
    let scalar = b"\x80\x05\x8c\x16numpy._core.multiarray\x94\x8c\x06scalar\x94\x93\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02f8\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94bC\x08\x00\x00\x00\x00\x00\x00\xf8?\x94\x86\x94R\x94.";
    let said = read::<f64>(scalar).unwrap_err().to_string();
    assert!(said.starts_with("it holds a `numpy._core.multiarray.scalar`"), "{said}");
    assert!(said.ends_with("have `.item()` and `.tolist()` for that)"), "{said}");
    // {'a': <a list of its own type> with 1 in it, 'b': 2}
    let nested = b"\x80\x04}(\x8c\x01acmine\nList\n)\x81K\x01a\x8c\x01bK\x02u.";
    #[derive(Deserialize)]
    struct OnlyB {
        b: u8,
    }
    assert_eq!(read::<OnlyB>(nested).unwrap().b, 2);
    let said = json(nested).unwrap_err().to_string();
    assert!(said.starts_with("it holds a `mine.List`; of Python's values"), "{said}");
    // print
    assert!(json(b"\x80\x02cbuiltins\nprint\n.").unwrap_err().to_string().contains("`print`"));
}

#[test]
fn numbers_that_do_not_fit_are_told() {
    let long =
        b"\x80\x02\x8a\x11\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01.";
    assert_eq!(read::<i128>(long).unwrap_err(), Error::Integer { bytes: 17 });
    assert_eq!(json(long).unwrap_err(), Error::Integer { bytes: 17 });
    let said = read::<u8>(b"\x80\x02M\x00\x01.").unwrap_err().to_string();
    assert_eq!(said, "invalid value: integer `256`, expected u8");
    // 2**64 as a float, and as an integer.
    let wide = b"\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.";
    assert_eq!(read::<f64>(wide).unwrap().to_bits(), 18_446_744_073_709_551_616f64.to_bits());
    assert_eq!(read::<u128>(wide).unwrap(), 1 << 64);
    assert!(read::<u64>(wide).is_err());
    let nan = b"\x80\x02G\x7f\xf8\x00\x00\x00\x00\x00\x00.";
    assert!(read::<f64>(nan).unwrap().is_nan());
    assert_eq!(json(nan).unwrap_err(), Error::NoJson { reason: "it holds `NaN`".into() });
    // {(1,): 2}
    assert!(matches!(json(b"\x80\x02}K\x01\x85K\x02s."), Err(Error::NoJson { .. })));
}

#[test]
fn what_is_deep_endless_or_huge_ends() {
    let nested =
        |depth: usize| [b"]".repeat(depth), b"a".repeat(depth - 1), b".".to_vec()].concat();
    assert_eq!(json(&nested(DEPTH_MAX as usize)).unwrap().len(), 256);
    assert_eq!(json(&nested(DEPTH_MAX as usize + 1)).unwrap_err(), Error::TooDeep);
    assert_eq!(read::<serde_json::Value>(&nested(1_000_000)).unwrap_err(), Error::TooDeep);
    // A list that holds itself.
    assert_eq!(json(b"]\x94h\x00a.").unwrap_err(), Error::TooDeep);
    // A tuple of the same tuple twice, and so on: four thousand million million leaves.
    let doubled = [b"K\x01".to_vec(), b"2\x86".repeat(52), b".".to_vec()].concat();
    assert_eq!(json(&doubled).unwrap_err(), Error::TooLarge);
    // A place in the memo that no pickle of this length could have come to, and lying lengths.
    assert!(matches!(json(b"Nr\xff\xff\xff\xff."), Err(Error::Layout { .. })));
    assert!(matches!(json(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f."), Err(Error::Layout { .. })));
    assert!(matches!(json(b"N.N."), Err(Error::Layout { reason: "something follows it", at: 2 })));
    assert!(matches!(json(b"(N0."), Err(Error::Layout { .. })));
}

/// The codes that the machine knows, so that what is made up gets far.
fn codes() -> impl Strategy<Value = Vec<u8>> {
    let known = b"(012qr\x94hjN\x88\x89JKMG\x8a\x8b\x8cX\x8dCB\x8e\x96])\x8f\x85\x86\x87tl\x91ae\x90}dsuc\x93R\x81\x92b";
    let code = proptest::sample::select(&known[..]);
    let step = (code, proptest::collection::vec(0u8..4, 0..3))
        .prop_map(|(code, rest)| [vec![code], rest].concat());
    proptest::collection::vec(step, 0..64).prop_map(|steps| {
        let mut bytes = steps.concat();
        bytes.push(b'.');
        bytes
    })
}

fn survives(bytes: &[u8]) {
    let Ok(pickle) = Pickle::from_slice(bytes) else { return };
    drop(pickle.read::<BTreeMap<String, Vec<f64>>>());
    drop(pickle.read::<Vec<(Option<i64>, String)>>());
    // JSON and serde see the same things.
    if let Ok(text) = pickle.to_json() {
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert!(!value.is_null() || text == b"null");
    }
}

proptest! {
    #[test]
    fn made_up_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        survives(&bytes);
    }

    #[test]
    fn made_up_codes_end(bytes in codes()) {
        survives(&bytes);
    }

    #[test]
    fn cut_off_pickles_are_refused(end in 0..ALL.len()) {
        prop_assert!(Pickle::from_slice(&ALL[..end]).is_err());
    }
}
