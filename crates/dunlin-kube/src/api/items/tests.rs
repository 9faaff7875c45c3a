use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Items, ListMeta, ListReader};

fn read(text: &[u8], piece: usize) -> Result<(Vec<Value>, ListMeta), String> {
    let mut reader = ListReader::default();
    let mut items = Items::default();
    for piece in text.chunks(piece) {
        reader.push(piece, &mut items)?;
    }
    let items = items
        .iter()
        .map(|item| serde_json::from_slice(item).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    Ok((items, reader.finish()?))
}

#[test]
fn items_come_out_whole_however_the_text_is_cut() {
    let items = json!([{"a": "x]},\"\\", "b": [1, {"c": null}]}, {}, {"d": "ü\\\\"}]);
    let list = json!({"kind": "NodeList", "metadata": {"resourceVersion": "7", "continue": "t"}, "items": items, "x": 1});
    for text in [list.to_string(), format!(" {:#}\n", list)] {
        for piece in 1..40 {
            let (read, meta) = read(text.as_bytes(), piece).expect("a list");
            assert_eq!(json!(read), items);
            assert_eq!(
                (meta.resource_version.as_str(), meta.continue_from.as_str()),
                ("7", "t")
            );
        }
    }
}

#[test]
fn a_list_of_nothing_is_one() {
    for items in ["[]", "null", " [ ] "] {
        let text = format!(r#"{{"metadata":{{"resourceVersion":"7"}},"items":{items}}}"#);
        assert_eq!(
            read(text.as_bytes(), 3).map(|(items, _)| items.len()),
            Ok(0),
            "{items}"
        );
    }
}

#[test]
fn what_is_cut_short_or_no_list_is_not_taken_for_one() {
    for text in [
        "",
        "null",
        "<html>502</html>",
        r#"{"metadata":{"resourceVersion":"7"},"items":[{},"#,
        r#"{"metadata":{"resourceVersion":"7"},"items":[{}]"#,
        r#"{"metadata":{"resourceVersion":"7"}}"#,
        r#"{"metadata":{},"items":[]}"#,
        r#"{"metadata":{"resourceVersion":"7"},"items":{}}"#,
        r#"{"metadata":{"resourceVersion":"7"},"items":[]}x"#,
        r#"{"kind":"Status","status":"Failure"}"#,
    ] {
        assert!(read(text.as_bytes(), 5).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\a1 items]{0,60}", piece in 1usize..9) {
        let _ = read(text.as_bytes(), piece);
    }
}
