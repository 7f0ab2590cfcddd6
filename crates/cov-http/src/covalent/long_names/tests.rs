//! Names are taken out of bodies that come in pieces of every size, and nothing else is.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What is left of `body`, and the names that were taken out of it, when it comes in pieces.
fn sieved(body: &[u8], piece: usize) -> Result<(Value, Vec<(String, String)>), NoText> {
    let mut sieve = Sieve::new();
    let (mut names, mut text) = (Vec::new(), Vec::new());
    for chunk in body.chunks(piece) {
        let mut rest = chunk;
        loop {
            let ended = sieve.feed(&mut rest)?;
            text.extend_from_slice(&sieve.text.take()?);
            let Some(mark) = ended else { break };
            let name = String::from_utf8(std::mem::take(&mut text)).unwrap();
            names.push((mark, name));
        }
    }
    assert!(text.is_empty(), "a name has not ended");
    Ok((serde_json::from_slice(&sieve.kept).unwrap(), names))
}

fn with_names(names: &[&str]) -> Value {
    let node = |name: &&str| json!({"id": 0, "metadata": {"name": name, "data": {"name": name}}});
    let nodes: Vec<Value> = names.iter().map(node).collect();
    json!({"lattice": {"metadata": {"name": "l"}, "transport_graph": {"nodes": nodes}}})
}

fn long(begin: &str) -> String {
    format!("{begin}{}", "b'\\x00\"\u{1}ä€𝄞\n/".repeat(8_000))
}

/// JSON as Python writes it, with every character beyond ASCII as an escape.
fn in_ascii(text: &str) -> String {
    let mut written = String::new();
    let mut units = [0; 2];
    for character in text.chars() {
        match character.is_ascii() {
            true => written.push(character),
            false => {
                for unit in character.encode_utf16(&mut units) {
                    written.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    written
}

#[test]
fn long_names_are_taken_out_wherever_the_pieces_are_cut() {
    let names = [long(":parameter:"), "short".to_owned(), long("ä")];
    let manifest = with_names(&names.each_ref().map(String::as_str));
    let utf8 = serde_json::to_string(&manifest).unwrap();
    let ascii = in_ascii(&utf8);
    for (body, piece) in
        [(&utf8, 1), (&utf8, 7), (&ascii, 1), (&ascii, 5), (&ascii, 1 << 16), (&utf8, 1 << 30)]
    {
        let (mut kept, taken) = sieved(body.as_bytes(), piece).unwrap();
        assert_eq!(taken.len(), 2, "pieces of {piece}");
        for ((mark, name), index) in taken.into_iter().zip([0, 2]) {
            let place = &mut kept["lattice"]["transport_graph"]["nodes"][index]["metadata"]["name"];
            assert_eq!(*place, json!(mark));
            *place = json!(name);
        }
        assert!(kept == manifest, "pieces of {piece}");
    }
}

#[test]
fn only_the_names_of_nodes_are_taken_out() {
    let name = long("n");
    let elsewhere = json!({
        "name": name,
        "lattice": {"metadata": {"name": name}, "transport_graph": {"nodes": [
            {"metadata": {"other": name, "list": ["name", name], "data": {"name": name}}},
        ]}},
    });
    let (kept, taken) = sieved(elsewhere.to_string().as_bytes(), 1_000).unwrap();
    assert!(kept == elsewhere);
    assert!(taken.is_empty());
}

#[test]
fn what_the_parser_would_refuse_in_a_name_is_refused() {
    let begin = r#"{"a":{"b":{"c":[{"metadata":{"name":""#;
    let plain = "x".repeat(KEPT_BYTES_MAX);
    for (fault, reason) in [
        ("\\q", "an escape is unknown"),
        ("\\u12x4", "an escape has no four digits"),
        ("\\u12", "an escape is cut off"),
        ("\\ud834", "half a character stands in it"),
        ("\\ud834x", "half a character stands in it"),
        ("\\udd1e", "half a character stands in it"),
        ("\\ud834\\ud834", "half a character stands in it"),
        ("\n", "a control character stands in it"),
    ] {
        for body in
            [format!("{begin}{plain}{fault}\"}}}}]}}}}}}"), format!("{begin}{fault}{plain}\"")]
        {
            if fault == "\\u12" && body.ends_with("x\"") {
                continue;
            }
            let refused = sieved(body.as_bytes(), 999).map(|_| ());
            assert_eq!(refused, Err(NoText(reason)), "{fault:?}");
        }
    }
    let mut no_utf8 = format!("{begin}{plain}").into_bytes();
    no_utf8.extend_from_slice(b"\xff\"}}]}}}");
    assert_eq!(sieved(&no_utf8, 10).map(|_| ()), Err(NoText("it is no UTF-8")));
}

#[test]
fn what_kind_of_node_a_long_name_means_is_told_by_both_ends() {
    let kind = |name: &str| {
        let mut incoming = (Vec::new(), Vec::new());
        name.as_bytes().chunks(50).for_each(|part| ends(&mut incoming.0, &mut incoming.1, part));
        kind_of(&incoming.0, &incoming.1).1
    };
    let long = "x".repeat(100_000);
    assert_eq!(kind(&format!(":parameter:{long}")), NodeKind::Parameter);
    assert_eq!(kind(&format!(":{long}.__getitem__")), NodeKind::Helper);
    assert_eq!(kind(&format!(":{long}()[17]")), NodeKind::Helper);
    assert_eq!(kind(&format!(":{long}")), NodeKind::Task);
    assert_eq!(kind(&format!("{long}.__getitem__")), NodeKind::Task);
    let (beginning, _) = kind_of("ä".repeat(128).as_bytes().split_last().unwrap().1, b"");
    assert_eq!(beginning, "ä".repeat(127));
}

proptest! {
    #[test]
    fn any_text_comes_through_in_any_pieces(text in any::<String>(), piece in 1_usize..9) {
        let plain = serde_json::to_string(&text).unwrap();
        for written in [in_ascii(&plain), plain] {
            let raw = written.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            let (mut reader, mut read) = (Text::default(), Vec::new());
            for part in raw.as_bytes().chunks(piece) {
                reader.push(part).unwrap();
                let whole = reader.take().unwrap();
                prop_assert!(std::str::from_utf8(&whole).is_ok());
                read.extend_from_slice(&whole);
            }
            reader.end().unwrap();
            prop_assert_eq!(&read, text.as_bytes());
        }
    }
}
