//! JSON that says what it was given. JSON has no infinite numbers and none that are no number;
//! serde_json writes `null` for them, which another program would take for nothing. Here they are
//! refused. Reads nothing.

use std::fmt::Display;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Error;

/// The value as JSON.
///
/// # Errors
/// It holds a number that is infinite or not a number, a map with keys that are neither text nor
/// numbers, or has no serde form.
///
/// ```
/// use cov_core::json;
/// assert_eq!(json::to_vec(&(1, Some("two")))?, br#"[1,"two"]"#);
/// assert!(json::to_vec(&[0.0, f64::NAN]).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    value.serialize(Check)?;
    serde_json::to_vec(value)
}

/// Looks at every number and writes nothing.
struct Check;

fn finite(is_finite: bool, value: impl Display) -> Result<(), Error> {
    match is_finite {
        true => Ok(()),
        false => Err(serde::ser::Error::custom(format_args!(
            "JSON has no number `{value}`; an array of numbers has"
        ))),
    }
}

macro_rules! passes {
    ($($method:ident($($argument:ty),*);)*) => {$(
        fn $method(self, $(_: $argument),*) -> Result<(), Error> {
            Ok(())
        }
    )*};
}

macro_rules! opens {
    ($($method:ident($($argument:ty),*);)*) => {$(
        fn $method(self, $(_: $argument),*) -> Result<Self, Error> {
            Ok(self)
        }
    )*};
}

impl Serializer for Check {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    passes! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    opens! {
        serialize_seq(Option<usize>);
        serialize_tuple(usize);
        serialize_tuple_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize);
        serialize_map(Option<usize>);
        serialize_struct(&'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        finite(value.is_finite(), value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        finite(value.is_finite(), value)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }
}

macro_rules! holds {
    ($($kind:ident: $($method:ident($($argument:ty),*)),*;)*) => {$(
        impl $kind for Check {
            type Ok = ();
            type Error = Error;

            $(fn $method<T: Serialize + ?Sized>(
                &mut self,
                $(_: $argument,)*
                value: &T,
            ) -> Result<(), Error> {
                value.serialize(Check)
            })*

            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        }
    )*};
}

holds! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key(), serialize_value();
    SerializeStruct: serialize_field(&'static str);
    SerializeStructVariant: serialize_field(&'static str);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::to_vec;

    #[derive(Serialize)]
    struct Pair(f64, Option<f32>);

    #[derive(Serialize)]
    enum Kind {
        Unit,
        One(f64),
        Two(u8, f64),
        Named { value: f64 },
    }

    #[derive(Serialize)]
    struct All {
        pair: Pair,
        kinds: Vec<Kind>,
        map: BTreeMap<String, (f64, char)>,
    }

    fn all(numbers: [f64; 6]) -> All {
        let [a, b, c, d, e, f] = numbers;
        #[expect(clippy::cast_possible_truncation, reason = "what is not finite stays so")]
        let pair = Pair(a, Some(b as f32));
        let kinds = vec![Kind::Unit, Kind::One(c), Kind::Two(1, d), Kind::Named { value: e }];
        All { pair, kinds, map: BTreeMap::from([("k".to_owned(), (f, 'x'))]) }
    }

    #[test]
    fn finite_numbers_are_written() {
        let text = to_vec(&all([0.5; 6])).unwrap();
        let expected = r#"{"pair":[0.5,0.5],"kinds":["Unit",{"One":0.5},{"Two":[1,0.5]},{"Named":{"value":0.5}}],"map":{"k":[0.5,"x"]}}"#;
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn others_are_refused_wherever_they_stand() {
        for index in 0..6 {
            for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let mut numbers = [0.5; 6];
                numbers[index] = number;
                let error = to_vec(&all(numbers)).unwrap_err().to_string();
                assert_eq!(
                    error,
                    format!("JSON has no number `{number}`; an array of numbers has")
                );
            }
        }
    }
}
