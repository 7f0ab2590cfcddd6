//! From nested lists of numbers to an array.

use serde::ser::{
    Impossible, Serialize, SerializeSeq, SerializeTuple, SerializeTupleStruct, Serializer,
};

use super::{ALIGNMENT, DIMENSIONS_MAX, Error, MAGIC, Number};

/// Writes nested lists of numbers, such as `Vec<f64>` or `Vec<[f32; 3]>`, as an array. An empty
/// list is an array of `f64`.
///
/// # Errors
/// `NoArray`: lists of different lengths, different types of numbers, or something else than
/// numbers.
pub fn to_npy<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut writer = Writer { number: None, shape: Vec::new(), settled: 0, data: Vec::new() };
    value.serialize(Level { writer: &mut writer, depth: 0 })?;
    let mut bytes = head(writer.number.unwrap_or(Number::F64), &writer.shape)?;
    bytes.extend_from_slice(&writer.data);
    Ok(bytes)
}

/// What stands before the numbers of an array with these dimensions, for those who write the
/// numbers one after the other.
///
/// # Errors
/// `NoArray`: there are too many dimensions.
///
/// ```
/// use cov_core::array::{self, Array, Number};
/// let mut bytes = array::head(Number::U8, &[3])?;
/// bytes.extend_from_slice(b"abc");
/// assert_eq!(Array::from_npy(&bytes)?.read::<Vec<u8>>()?, b"abc");
/// # Ok::<(), array::Error>(())
/// ```
pub fn head(number: Number, shape: &[usize]) -> Result<Vec<u8>, Error> {
    let (descr, shape) = (number.descr(), shape_text(shape));
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let before = MAGIC.len() + 2;
    let length = (before + dictionary.len() + 1).next_multiple_of(ALIGNMENT) - before;
    let Ok(prefix) = u16::try_from(length) else { return Err(refused("too many dimensions")) };
    let mut bytes = Vec::with_capacity(before + length);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&prefix.to_le_bytes());
    bytes.extend_from_slice(dictionary.as_bytes());
    bytes.resize(before + length - 1, b' ');
    bytes.push(b'\n');
    Ok(bytes)
}

fn shape_text(shape: &[usize]) -> String {
    let lengths: Vec<String> = shape.iter().map(ToString::to_string).collect();
    match lengths.as_slice() {
        [single] => format!("({single},)"),
        lengths => format!("({})", lengths.join(", ")),
    }
}

fn refused(reason: &str) -> Error {
    Error::NoArray { reason: reason.to_owned() }
}

struct Writer {
    number: Option<Number>,
    shape: Vec<usize>,
    /// How many dimensions there are, once the first number has come; 0 until then.
    settled: usize,
    data: Vec<u8>,
}

/// Takes what stands at one depth.
struct Level<'w> {
    writer: &'w mut Writer,
    depth: usize,
}

/// A list whose items come one by one.
struct List<'w> {
    level: Level<'w>,
    count: usize,
    announced: Option<usize>,
}

impl Level<'_> {
    fn number(self, number: Number, bytes: &[u8]) -> Result<(), Error> {
        let Self { writer, depth } = self;
        if depth < writer.shape.len() || writer.settled > 0 && depth != writer.settled {
            return Err(refused("numbers and lists stand beside each other"));
        }
        if *writer.number.get_or_insert(number) != number {
            return Err(refused("its numbers are of different types"));
        }
        writer.settled = depth;
        writer.data.extend_from_slice(bytes);
        Ok(())
    }
}

impl<'w> Level<'w> {
    fn list(self, announced: Option<usize>) -> Result<List<'w>, Error> {
        if self.depth >= DIMENSIONS_MAX {
            return Err(refused("too many dimensions"));
        }
        if self.writer.number.is_some() && self.depth >= self.writer.settled {
            return Err(refused("numbers and lists stand beside each other"));
        }
        if self.writer.shape.len() == self.depth {
            // What is not announced is known when the first list of this depth ends.
            self.writer.shape.push(announced.unwrap_or(usize::MAX));
        }
        Ok(List { level: self, count: 0, announced })
    }
}

impl List<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
        self.count += 1;
        item.serialize(Level { writer: self.level.writer, depth: self.level.depth + 1 })
    }

    fn end(self) -> Result<(), Error> {
        let Self { level, count, announced } = self;
        let Some(length) = level.writer.shape.get_mut(level.depth) else { return Ok(()) };
        if *length == usize::MAX {
            *length = count;
        }
        match *length == count && announced.is_none_or(|announced| announced == count) {
            true => Ok(()),
            false => Err(refused("its lists have different lengths")),
        }
    }
}

macro_rules! lists {
    ($($kind:ident $method:ident;)*) => {$(
        impl $kind for List<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
                self.item(item)
            }

            fn end(self) -> Result<(), Error> {
                List::end(self)
            }
        }
    )*};
}

lists! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
}

macro_rules! numbers {
    ($($method:ident: $kind:ty => $number:ident;)*) => {$(
        fn $method(self, value: $kind) -> Result<(), Error> {
            self.number(Number::$number, &value.to_le_bytes())
        }
    )*};
}

macro_rules! refuse {
    ($($method:ident($($kind:ty),*) -> $ok:ty;)*) => {$(
        fn $method(self $(, _: $kind)*) -> Result<$ok, Error> {
            Err(refused("it holds something else than numbers"))
        }
    )*};
}

impl<'w> Serializer for Level<'w> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = List<'w>;
    type SerializeTuple = List<'w>;
    type SerializeTupleStruct = List<'w>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStruct = Impossible<(), Error>;
    type SerializeStructVariant = Impossible<(), Error>;

    numbers! {
        serialize_i8: i8 => I8;
        serialize_i16: i16 => I16;
        serialize_i32: i32 => I32;
        serialize_i64: i64 => I64;
        serialize_u8: u8 => U8;
        serialize_u16: u16 => U16;
        serialize_u32: u32 => U32;
        serialize_u64: u64 => U64;
        serialize_f32: f32 => F32;
        serialize_f64: f64 => F64;
    }

    refuse! {
        serialize_bool(bool) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Impossible<(), Error>;
        serialize_map(Option<usize>) -> Impossible<(), Error>;
        serialize_struct(&'static str, usize) -> Impossible<(), Error>;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Impossible<(), Error>;
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        let mut list = self.list(Some(bytes.len()))?;
        bytes.iter().try_for_each(|byte| list.item(byte))?;
        list.end()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), Error> {
        Err(refused("it holds something else than numbers"))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<List<'w>, Error> {
        self.list(length)
    }

    fn serialize_tuple(self, length: usize) -> Result<List<'w>, Error> {
        self.list(Some(length))
    }

    fn serialize_tuple_struct(self, _name: &'static str, length: usize) -> Result<List<'w>, Error> {
        self.list(Some(length))
    }
}
