//! The member picker against serde_json, and on what serde_json never sees.

use proptest::prelude::*;

use super::*;

static MEMBERS: WantedMembers =
    WantedMembers::of(&[("usage", Take::Value), ("tier", Take::Value), ("images", Take::Count)]);

fn read(text: &[u8], cuts: &[usize], limit: usize) -> JsonMembers {
    let mut members = JsonMembers::new(&MEMBERS, limit);
    let mut start = 0;
    for cut in cuts.iter().map(|cut| cut % (text.len() + 1)).chain([text.len()]) {
        if cut >= start {
            members.feed(&text[start..cut]);
            start = cut;
        }
    }
    members
}

fn text_of(members: &JsonMembers, name: &str) -> Option<String> {
    members.value(name).map(|value| String::from_utf8(value.to_vec()).unwrap().trim().to_owned())
}

#[test]
fn only_members_of_the_top_are_found() {
    for (text, usage, complete) in [
        (r#"{"usage":{"a":[1,{"b":"}"}]},"x":1}"#, Some(r#"{"a":[1,{"b":"}"}]}"#), true),
        (r#"{ "x" : [ "usage", {"usage": 1} ] , "usage" : 7 }"#, Some("7"), true),
        (r#"{"x":"\"usage\":1,","usage":"a\"b\\"}"#, Some(r#""a\"b\\""#), true),
        (r#"{"usage":null}"#, Some("null"), true),
        (r#"{"usage":1,"usage":2}"#, Some("2"), true),
        (r#"{"usage":1"#, None, false),
        (r#"{"x":1}"#, None, true),
        (r#"[{"usage":1}]"#, None, true),
        (r#"["usage",1]"#, None, true),
        (r#""usage""#, None, false),
        (r#"{"usage_of_something_with_a_very_long_name_indeed":1}"#, None, true),
        ("", None, false),
        ("{}", None, true),
        ("}{", None, true),
        ("\u{fffd}{{{", None, false),
    ] {
        let members = read(text.as_bytes(), &[], 1000);
        assert_eq!(text_of(&members, "usage").as_deref(), usage, "{text}");
        assert_eq!(members.is_complete(), complete, "{text}");
        assert_eq!(members.has_twins(), text == r#"{"usage":1,"usage":2}"#, "{text}");
    }
}

#[test]
fn what_is_null_or_empty_is_not_held_however_it_is_cut() {
    for (text, count, holds) in [
        (r#"{"images":["a","",null]}"#, Some(1), true),
        (r#"{"images":[null]}"#, Some(0), true),
        (r#"{"images":[ "" , null , "n" , {"a":""}, ["",null] ]}"#, Some(3), true),
        (r#"{"images":[{"a":null}, "\n", 1]}"#, Some(3), true),
        (r#"{"images":""}"#, Some(0), false),
        (r#"{"images": null }"#, Some(0), false),
        (r#"{"images":"a"}"#, Some(0), true),
        (r#"{"tier":null,"images":"null"}"#, Some(0), true),
        (r#"{"tier":""}"#, None, false),
    ] {
        for cut in 0..=text.len() {
            let members = read(text.as_bytes(), &[cut], 1000);
            assert_eq!(
                (members.count_held("images"), members.holds("images")),
                (count, holds),
                "{text} {cut}"
            );
        }
    }
}

#[test]
fn elements_are_counted_without_being_kept() {
    for (text, count) in [
        (r#"{"images":["a,b","c"]}"#, Some(2)),
        (r#"{"images":[ ]}"#, Some(0)),
        (r#"{"images":[[1,2,3]]}"#, Some(1)),
        (r#"{"images":[{"a":1,"b":2},{"a":1},3]}"#, Some(3)),
        (r#"{"images":null}"#, Some(0)),
        (r#"{"images":["a""#, None),
        (r#"{"other":["a"]}"#, None),
    ] {
        let members = read(text.as_bytes(), &[], 0);
        assert_eq!(members.count("images"), count, "{text}");
        assert!(members.kept.is_empty() && !members.overflowed());
    }
}

#[test]
fn a_value_that_is_over_the_limit_at_any_depth_is_dropped_wherever_the_chunks_end() {
    let text = br#"{"usage":{"a":["0123",{"b\\":"4\"}]"}],"c":[]},"tier":"flex"}"#;
    let value_bytes = text.len() - r#"{"usage":,"tier":"flex"}"#.len();
    for cut in 0..=text.len() {
        for limit in [value_bytes - 1, value_bytes + 6] {
            let members = read(text, &[cut], limit);
            let fits = limit > value_bytes;
            assert_eq!((members.overflowed(), members.value("usage").is_some()), (!fits, fits), "{cut}");
            assert!(members.is_complete() && members.value("tier").is_some());
        }
    }
}

#[test]
fn a_value_over_the_limit_is_dropped_and_the_next_is_found() {
    let members = read(br#"{"usage":"0123456789","tier":"flex"}"#, &[3, 12], 8);
    assert!(members.overflowed() && members.is_complete());
    assert_eq!(text_of(&members, "usage"), None);
    assert_eq!(text_of(&members, "tier").as_deref(), Some("\"flex\""));
}

#[test]
fn white_space_around_a_value_takes_no_room() {
    let text = format!(r#"{{"usage":{0}150{0},"tier":{0}"flex"{0}}}"#, " \n".repeat(20));
    for cut in 0..=text.len() {
        let members = read(text.as_bytes(), &[cut], 9);
        assert!(!members.overflowed(), "{cut}");
        assert_eq!(
            (members.value("usage"), members.value("tier")),
            (Some(&b"150"[..]), Some(&b"\"flex\""[..]))
        );
    }
}

#[test]
fn a_name_with_an_escape_is_told_where_it_stands_at_the_top() {
    for (text, is_escaped) in [
        (r#"{"us\u0061ge":1}"#, true),
        (r#"{"usage":1,"\u0075\u0073\u0061\u0067\u0065":2}"#, true),
        (r#"{"x":{"us\u0061ge":1},"usage":"\u0061"}"#, false),
        (r#"["us\u0061ge"]"#, false),
    ] {
        for cut in 0..=text.len() {
            assert_eq!(read(text.as_bytes(), &[cut], 100).has_escaped_names(), is_escaped, "{text} {cut}");
        }
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[a-z\"\\\\{}\\[\\],: é]{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = prop_oneof![Just("usage".to_owned()), Just("images".to_owned()), "[a-z\"]{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(name, inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_the_chunks_it_finds_what_a_parser_finds(value in json(), pretty in any::<bool>(), mut cuts in prop::collection::vec(0_usize..2000, 0..12)) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        cuts.sort_unstable();
        let members = read(text.as_bytes(), &cuts, 100_000);
        let found = members.value("usage").map(|value| serde_json::from_slice::<serde_json::Value>(value).unwrap());
        prop_assert_eq!(found.as_ref(), value.as_object().and_then(|object| object.get("usage")));
        let images = value.as_object().and_then(|object| object.get("images"));
        if let Some(serde_json::Value::Array(images)) = images {
            prop_assert_eq!(members.count("images"), Some(images.len() as u64));
        }
        prop_assert_eq!(members.is_complete(), value.is_object() || value.is_array());
    }
}
