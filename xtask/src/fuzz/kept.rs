//! The inputs that every fuzz run begins with: found by earlier runs, and kept with the project in `fuzz/kept`, one
//! file for each target with an input a line in hexadecimal digits, shortest first. Runs nothing.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Longer inputs are not kept. Bytes.
const INPUT_BYTES_MAX: usize = 4096;

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join("kept").join(format!("{name}.txt"))
}

/// Lays the kept inputs of a target down as files, in a folder of their own, and returns it.
///
/// # Errors
/// When a line is no input, or the disk does not do its part.
pub(super) fn unpack(folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let place = folder.join("target").join("kept").join(name);
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(&place)?;
    let kept = file(folder, name);
    if !kept.exists() {
        return Ok(place);
    }
    for (number, line) in std::fs::read_to_string(&kept)?.lines().enumerate() {
        let input =
            decode(line).with_context(|| format!("{}:{}: no input", kept.display(), number + 1))?;
        std::fs::write(place.join(number.to_string()), input)?;
    }
    Ok(place)
}

/// Keeps the inputs in `found`; returns how many.
///
/// # Errors
/// When the disk does not do its part.
pub(super) fn pack(folder: &Path, name: &str, found: &Path) -> anyhow::Result<usize> {
    let mut inputs = Vec::new();
    for entry in std::fs::read_dir(found)? {
        let input = std::fs::read(entry?.path())?;
        if (1..=INPUT_BYTES_MAX).contains(&input.len()) {
            inputs.push(input);
        }
    }
    inputs.sort_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
    let text: String = inputs.iter().map(|input| encode(input) + "\n").collect();
    let kept = file(folder, name);
    std::fs::create_dir_all(kept.with_file_name(""))?;
    std::fs::write(kept, text)?;
    Ok(inputs.len())
}

fn encode(input: &[u8]) -> String {
    input.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(line: &str) -> Option<Vec<u8>> {
    let pairs = line.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_laid_down_again() {
        let folder = std::env::temp_dir().join(format!("xtask-kept-{}", std::process::id()));
        let found = folder.join("found");
        std::fs::create_dir_all(&found).unwrap();
        for (name, input) in [("a", b"\x00\xff~".as_slice()), ("b", b"\n"), ("c", b"")] {
            std::fs::write(found.join(name), input).unwrap();
        }
        std::fs::write(found.join("long"), vec![7; INPUT_BYTES_MAX + 1]).unwrap();
        assert_eq!(pack(&folder, "target", &found).unwrap(), 2);
        let text = std::fs::read_to_string(file(&folder, "target")).unwrap();
        assert_eq!(text, "0a\n00ff7e\n");
        for _ in 0..2 {
            let place = unpack(&folder, "target").unwrap();
            assert_eq!(std::fs::read(place.join("0")).unwrap(), b"\n");
            assert_eq!(std::fs::read(place.join("1")).unwrap(), b"\x00\xff~");
            assert_eq!(std::fs::read_dir(place).unwrap().count(), 2);
        }
        std::fs::write(file(&folder, "target"), "0g\n").unwrap();
        assert!(unpack(&folder, "target").is_err());
        assert_eq!(std::fs::read_dir(unpack(&folder, "other").unwrap()).unwrap().count(), 0);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
