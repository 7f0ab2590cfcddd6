//! Arrays as NumPy writes them, and what is no array.

use proptest::prelude::*;

use super::{Array, Error, Number, to_npy};

/// `numpy.save` of `numpy.arange(6, dtype="<i4").reshape(2, 3)`.
fn of_numpy() -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend_from_slice(b"{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }");
    bytes.resize(127, b' ');
    bytes.push(b'\n');
    (0i32..6).for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes
}

#[test]
fn what_numpy_writes_is_read_and_written() {
    let bytes = of_numpy();
    let array = Array::from_npy(&bytes).unwrap();
    assert_eq!((array.number(), array.shape()), (Number::I32, &[2, 3][..]));
    let read: Vec<[i32; 3]> = array.read().unwrap();
    assert_eq!(read, [[0, 1, 2], [3, 4, 5]]);
    assert_eq!(to_npy(&read).unwrap(), bytes);
    assert_eq!(serde_json::to_string(&array).unwrap(), "[[0,1,2],[3,4,5]]");
}

#[test]
fn numbers_are_read_as_serde_widens_them() {
    let bytes = to_npy(&[1u8, 2, 255]).unwrap();
    let array = Array::from_npy(&bytes).unwrap();
    assert_eq!(array.read::<Vec<u64>>().unwrap(), [1, 2, 255]);
    assert_eq!(array.read::<Vec<f64>>().unwrap(), [1.0, 2.0, 255.0]);
    let error = array.read::<Vec<i8>>().unwrap_err();
    assert!(matches!(error, Error::Mismatch(_)), "{error}");
    assert!(array.read::<f64>().is_err());
    let scalar = to_npy(&1.5f32).unwrap();
    assert_eq!(Array::from_npy(&scalar).unwrap().read::<Option<f32>>().unwrap(), Some(1.5));
}

#[test]
fn what_is_no_array_is_refused() {
    let reason = |result: Result<Vec<u8>, Error>| result.unwrap_err().to_string();
    let ragged = reason(to_npy(&vec![vec![1], vec![2, 3]]));
    assert!(ragged.ends_with("its lists have different lengths"), "{ragged}");
    let mixed = reason(to_npy(&(1i32, 2i64)));
    assert!(mixed.ends_with("its numbers are of different types"), "{mixed}");
    let beside = reason(to_npy(&(1i32, [2i32])));
    assert!(beside.ends_with("numbers and lists stand beside each other"), "{beside}");
    let beside = reason(to_npy(&([2i32], 1i32)));
    assert!(beside.ends_with("numbers and lists stand beside each other"), "{beside}");
    assert!(to_npy(&["a"]).is_err() && to_npy(&[Some(1), None]).is_err());
    let text = String::from_utf8_lossy(&of_numpy()[10..127]).replace("<i4", ">i4");
    let mut big = of_numpy();
    big[10..127].copy_from_slice(text.as_bytes());
    assert!(matches!(Array::from_npy(&big), Err(Error::Type { descr }) if descr == ">i4"));
    let endless = of_numpy().as_slice()[..128].to_vec();
    let text = String::from_utf8_lossy(&endless[10..127])
        .replace("(2, 3), }          ", "(4611686018427, 0),}");
    let mut endless = endless;
    endless[10..127].copy_from_slice(&text.as_bytes()[..117]);
    let error = Array::from_npy(&endless).unwrap_err();
    assert!(error.to_string().ends_with("too many rows without a number"), "{error}");
    let mut cut = of_numpy();
    cut.pop();
    assert!(matches!(Array::from_npy(&cut), Err(Error::Layout { .. })));
}

#[test]
fn empty_lists_are_arrays() {
    let bytes = to_npy(&Vec::<f64>::new()).unwrap();
    let array = Array::from_npy(&bytes).unwrap();
    assert_eq!(array.shape(), [0]);
    assert!(array.read::<Vec<f64>>().unwrap().is_empty());
    assert_eq!(bytes.len() % 64, 0);
}

proptest! {
    #[test]
    fn arrays_read_as_they_were_written(rows in prop::collection::vec(any::<[f64; 3]>(), 0..20)) {
        let bytes = to_npy(&rows).unwrap();
        let read: Vec<[f64; 3]> = Array::from_npy(&bytes).unwrap().read().unwrap();
        let bits = |rows: &[[f64; 3]]| rows.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&read), bits(&rows));
    }

    #[test]
    fn any_bytes_are_an_array_or_an_error(at in 0usize..152, byte in any::<u8>()) {
        let mut bytes = of_numpy();
        bytes[at] = byte;
        if let Ok(array) = Array::from_npy(&bytes) {
            array.read::<serde_json::Value>().ok();
        }
    }
}
