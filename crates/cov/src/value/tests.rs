//! Values cross, in every encoding and mixed, or the error says what did not.

use std::collections::BTreeMap;

use cov_core::ids::NodeId;
use cov_core::transportable::Encoding;
use serde::{Deserialize, Serialize};

use super::{Leaf, archive, collect, decode, encode, preview};
use crate::shape::Shape;

/// `4.5`, as cloudpickle writes it.
const PICKLED_FLOAT: &[u8] =
    b"\x80\x05\x95\x0a\x00\x00\x00\x00\x00\x00\x00\x47\x40\x12\x00\x00\x00\x00\x00\x00\x2e";
/// `{'a': (1, None)}`
const PICKLED_DICT: &[u8] = b"\x80\x05\x95\x0d\x00\x00\x00\x00\x00\x00\x00\x7d\x94\x8c\x01\x61\x94\x4b\x01\x4e\x86\x94\x73\x2e";
/// `decimal.Decimal(1)`
const PICKLED_DECIMAL: &[u8] = b"\x80\x05\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x07\x64\x65\x63\x69\x6d\x61\x6c\x94\x8c\x07\x44\x65\x63\x69\x6d\x61\x6c\x94\x93\x94\x8c\x01\x31\x94\x85\x94\x52\x94\x2e";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Point {
    x: f64,
    tags: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Meters(Vec<f64>);

fn leaf<T: Serialize>(node: u32, value: &T, encoding: Encoding) -> Leaf {
    Leaf { node: NodeId(node), object: encode(value, encoding).unwrap() }
}

fn pickled(node: u32, data: &[u8]) -> Leaf {
    let object = archive(Encoding::Cloudpickle, String::new(), data.to_vec());
    Leaf { node: NodeId(node), object }
}

fn read<T: serde::de::DeserializeOwned>(shape: &Shape, leaves: &[Leaf]) -> Result<T, String> {
    decode(shape, &mut leaves.iter()).map_err(|error| error.to_string())
}

#[test]
fn one_value_is_read_in_the_encoding_it_came_in() {
    let point = Point { x: 0.1, tags: vec!["ä".into()] };
    for encoding in [Encoding::Bincode, Encoding::Json] {
        assert_eq!(read::<Point>(&Shape::Value, &[leaf(0, &point, encoding)]), Ok(point.clone()));
    }
    assert_eq!(read::<f64>(&Shape::Value, &[pickled(0, PICKLED_FLOAT)]), Ok(4.5));
    let dict: BTreeMap<String, (i64, Option<i64>)> =
        read(&Shape::Value, &[pickled(0, PICKLED_DICT)]).unwrap();
    assert_eq!(dict, BTreeMap::from([("a".to_owned(), (1, None))]));
}

#[test]
fn parts_of_one_argument_may_come_in_different_encodings() {
    let leaves = [
        leaf(1, &1.5, Encoding::Json),
        leaf(2, &2.5, Encoding::Bincode),
        pickled(3, PICKLED_FLOAT),
    ];
    assert_eq!(read::<Vec<f64>>(&Shape::Values(3), &leaves), Ok(vec![1.5, 2.5, 4.5]));
    assert_eq!(read::<[f64; 3]>(&Shape::Values(3), &leaves), Ok([1.5, 2.5, 4.5]));
    assert_eq!(read::<Meters>(&Shape::Values(3), &leaves), Ok(Meters(vec![1.5, 2.5, 4.5])));
    let shape = Shape::Tuple(vec![
        Shape::Present(Box::new(Shape::Value)),
        Shape::List(vec![Shape::Present(Box::new(Shape::Value)), Shape::Absent]),
        Shape::Map(vec![]),
        Shape::Unit,
        Shape::Value,
    ]);
    type Nested = (Option<f64>, Vec<Option<f64>>, BTreeMap<String, u8>, (), f64);
    let expected = (Some(1.5), vec![Some(2.5), None], BTreeMap::new(), (), 4.5);
    assert_eq!(read::<Nested>(&shape, &leaves), Ok(expected));
}

#[test]
fn a_present_option_asks_its_value_in_the_method_of_its_type() {
    let shape = Shape::Present(Box::new(Shape::Value));
    let point = Point { x: 1.0, tags: vec![] };
    for encoding in [Encoding::Bincode, Encoding::Json] {
        let read: Option<Point> = read(&shape, &[leaf(0, &point, encoding)]).unwrap();
        assert_eq!(read, Some(point.clone()));
    }
    let list = Shape::Present(Box::new(Shape::Values(2)));
    let leaves = [leaf(0, &1u8, Encoding::Bincode), leaf(1, &2u8, Encoding::Bincode)];
    assert_eq!(read::<Option<Vec<u8>>>(&list, &leaves), Ok(Some(vec![1, 2])));
}

#[test]
fn what_is_collected_reads_as_if_it_had_been_one_value() {
    let whole =
        (vec![Some(300u32), None], BTreeMap::from([(7u16, "x".to_owned())]), (), Meters(vec![0.5]));
    let shape = Shape::Tuple(vec![
        Shape::List(vec![Shape::Present(Box::new(Shape::Value)), Shape::Absent]),
        Shape::Map(vec![(Shape::Value, Shape::Value)]),
        Shape::Unit,
        Shape::Value,
    ]);
    for encoding in [Encoding::Bincode, Encoding::Json] {
        let leaves = [
            leaf(0, &300u32, encoding),
            leaf(1, &7u16, encoding),
            leaf(2, &"x", encoding),
            leaf(3, &whole.3, encoding),
        ];
        let collected = collect(&shape, &leaves, encoding).unwrap();
        assert_eq!(collected.data, encode(&whole, encoding).unwrap().data, "{encoding:?}");
        assert_eq!(collected.object_string, r#"[[300,null],{7:"x"},null,[0.5]]"#);
    }
}

#[test]
fn a_long_list_is_collected_with_its_length_before_it() {
    let numbers: Vec<u32> = (0..1000).collect();
    let leaves: Vec<Leaf> = numbers.iter().map(|n| leaf(*n, n, Encoding::Bincode)).collect();
    let collected = collect(&Shape::Values(1000), &leaves, Encoding::Bincode).unwrap();
    assert_eq!(collected.to_bincode::<Vec<u32>>().unwrap(), numbers);
    assert!(collected.object_string.ends_with('…'), "{}", collected.object_string);
    assert!(collected.object_string.len() < 300);
}

#[test]
fn plain_pickles_are_brought_into_json_and_others_are_refused() {
    let leaves = [pickled(4, PICKLED_DICT), leaf(5, &1, Encoding::Json)];
    let collected = collect(&Shape::Values(2), &leaves, Encoding::Json).unwrap();
    assert_eq!(&collected.data[..], br#"[{"a":[1,null]},1]"#);
    let error = collect(&Shape::Value, &[pickled(4, PICKLED_DECIMAL)], Encoding::Json).unwrap_err();
    let said = "the output of node 4, encoded as cloudpickle, cannot be brought into json";
    assert!(error.to_string().starts_with(said), "{error}");
    let error = collect(&Shape::Value, &leaves[..1], Encoding::Bincode).unwrap_err();
    let said = "the output of node 4, encoded as cloudpickle, cannot be brought into bincode";
    assert!(error.to_string().starts_with(said), "{error}");
}

#[test]
fn what_does_not_fit_is_named() {
    let text = leaf(9, &"no number", Encoding::Json);
    let error = read::<f64>(&Shape::Value, std::slice::from_ref(&text)).unwrap_err();
    assert!(error.starts_with("the output of node 9, encoded as json, is no `f64`: "), "{error}");
    // Also within a collection, and the type is that of the item.
    let leaves = [leaf(8, &1.0, Encoding::Json), text];
    let error = read::<Vec<f64>>(&Shape::Values(2), &leaves).unwrap_err();
    assert!(error.starts_with("the output of node 9, encoded as json, is no `f64`: "), "{error}");
    let error = read::<f64>(&Shape::Value, &[pickled(7, PICKLED_DECIMAL)]).unwrap_err();
    let said =
        "the output of node 7, encoded as cloudpickle, is no `f64`: it holds a `decimal.Decimal`;";
    assert!(error.starts_with(said), "{error}");
    // More bytes than the type has are another type.
    let pair = leaf(6, &(1u8, 2u8), Encoding::Bincode);
    let error = read::<u8>(&Shape::Value, &[pair]).unwrap_err();
    assert!(
        error.contains("node 6, encoded as bincode from a `(u8, u8)`, is no `u8`: 1 bytes are"),
        "{error}"
    );
    let json = leaf(5, &serde_json::json!({"a": 1}), Encoding::Bincode);
    let error = read::<serde_json::Value>(&Shape::Value, &[json]).unwrap_err();
    assert!(error.ends_with("needs `output = \"json\"`"), "{error}");
}

#[test]
fn arrays_are_read_and_brought_into_json() {
    let rows = vec![[1.5f64, 2.0], [3.0, f64::MIN_POSITIVE]];
    let array = leaf(1, &rows, Encoding::Array);
    assert_eq!(
        read::<Vec<[f64; 2]>>(&Shape::Value, std::slice::from_ref(&array)),
        Ok(rows.clone())
    );
    let error = read::<Vec<i64>>(&Shape::Value, std::slice::from_ref(&array)).unwrap_err();
    assert!(error.starts_with("the output of node 1, encoded as array, is no `"), "{error}");
    let leaves = [array.clone(), leaf(2, &7u8, Encoding::Json)];
    let pair = Shape::Tuple(vec![Shape::Value, Shape::Value]);
    let collected = collect(&pair, &leaves, Encoding::Json).unwrap();
    assert_eq!(collected.data, encode(&(&rows, 7u8), Encoding::Json).unwrap().data);
    let error = collect(&pair, &leaves, Encoding::Bincode).unwrap_err();
    let said = "the output of node 1, encoded as array, cannot be brought into bincode";
    assert!(error.to_string().starts_with(said), "{error}");
    let same = collect(&Shape::Value, std::slice::from_ref(&array), Encoding::Array).unwrap();
    assert_eq!(same, array.object);
    let error = encode(&"text", Encoding::Array).unwrap_err();
    assert!(
        error.to_string().starts_with("a value of type `&str` cannot be encoded as array"),
        "{error}"
    );
}

#[test]
fn numbers_that_json_would_lose_are_refused() {
    let error = encode(&[1.0, f64::NAN], Encoding::Json).unwrap_err().to_string();
    let said = "a value of type `[f64; 2]` cannot be encoded as json: JSON has no number `NaN`";
    assert!(error.starts_with(said), "{error}");
    let array = leaf(3, &[f64::NAN], Encoding::Array);
    let error = collect(&Shape::Value, &[array], Encoding::Json).unwrap_err().to_string();
    let said = "the output of node 3, encoded as array, cannot be brought into json: JSON has no";
    assert!(error.starts_with(said), "{error}");
    for encoding in [Encoding::Bincode, Encoding::Array] {
        let crossed = leaf(1, &vec![f64::INFINITY], encoding);
        assert_eq!(read::<Vec<f64>>(&Shape::Value, &[crossed]), Ok(vec![f64::INFINITY]));
    }
}

#[test]
fn a_lying_length_is_an_error_and_no_allocation() {
    // Read as a text, the number is a length of 2^62 bytes.
    let number = leaf(1, &(1u64 << 62), Encoding::Bincode);
    assert!(read::<String>(&Shape::Value, std::slice::from_ref(&number)).is_err());
    assert!(read::<Vec<u64>>(&Shape::Value, &[number]).is_err());
}

#[test]
fn previews_are_short() {
    assert_eq!(preview(&vec![1, 2]), "[1,2]");
    let long = preview(&"ä".repeat(1000));
    assert!(long.len() < 130 && long.ends_with("ä…"), "{long}");
    let keys = BTreeMap::from([((1, 2), 3)]);
    assert!(preview(&keys).starts_with("<alloc::collections::"), "{}", preview(&keys));
}
