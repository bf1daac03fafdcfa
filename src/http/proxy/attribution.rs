//! Who a call was made for, as the client's headers tell it, in LiteLLM's terms.

use std::borrow::Cow;

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::auth::Caller;
use crate::usage::RequestFacts;

/// Longer values are cut: they are labels, not documents.
const MAX_LABEL_BYTES: usize = 256;
/// More tags than this are dropped.
const MAX_TAGS: usize = 32;
/// LiteLLM's headers for the customer, in its order.
const END_USER: [HeaderName; 2] =
    [HeaderName::from_static("x-litellm-customer-id"), HeaderName::from_static("x-litellm-end-user-id")];
/// Headers that name a session.
const SESSION: [HeaderName; 3] = [
    HeaderName::from_static("x-litellm-trace-id"),
    HeaderName::from_static("x-litellm-session-id"),
    HeaderName::from_static("x-claude-code-session-id"),
];
const TAGS: HeaderName = HeaderName::from_static("x-litellm-tags");
const CALL_ID: HeaderName = HeaderName::from_static("x-litellm-call-id");

/// Headers with which Claude Code tells its agents apart, and the tags that they become.
const AGENTS: [(HeaderName, &str); 2] = [
    (HeaderName::from_static("x-claude-code-agent-id"), "claude-code-agent"),
    (HeaderName::from_static("x-claude-code-parent-agent-id"), "claude-code-parent-agent"),
];

/// How the names of all these headers begin.
const FAMILIES: [&str; 2] = ["x-litellm-", "x-claude-code-"];

/// Who a call was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attribution {
    pub(super) end_user: Option<String>,
    pub(super) session_id: Option<String>,
    pub(super) call_id: Option<String>,
    /// The key's tags, then the request's.
    pub(super) tags: Vec<String>,
}

impl Attribution {
    /// `user_header` is a further header that names the customer, after LiteLLM's own.
    pub(super) fn of(headers: &HeaderMap, caller: &Caller, user_header: Option<&str>) -> Self {
        let text = |value: &HeaderValue| label(&text_of(value.as_bytes()));
        // Most requests have none of these headers: they are not looked for one by one.
        let has_any =
            headers.keys().any(|name| FAMILIES.iter().any(|family| name.as_str().starts_with(family)));
        let get = |name: &HeaderName| if has_any { headers.get(name) } else { None };
        let read = |name: &HeaderName| get(name).and_then(text);
        let by_user_header = || user_header.and_then(|name| headers.get(name)).and_then(text);
        let mut tags: Vec<String> = caller.key().map(|key| key.tags.clone()).unwrap_or_default();
        if let Some(listed) = get(&TAGS) {
            let listed = listed.as_bytes().split(|byte| *byte == b',');
            tags.extend(listed.filter_map(|tag| label(&text_of(tag))));
        }
        tags.extend(
            AGENTS.iter().filter_map(|(header, tag)| read(header).map(|agent| format!("{tag}:{agent}"))),
        );
        tags.truncate(MAX_TAGS);
        Self {
            end_user: END_USER.iter().find_map(read).or_else(by_user_header),
            session_id: SESSION.iter().find_map(read),
            call_id: read(&CALL_ID),
            tags,
        }
    }

    /// Where no header names the customer, the body may.
    pub(super) fn complete_from_body(&mut self, facts: &RequestFacts) {
        if self.end_user.is_none() {
            self.end_user = facts.customer.as_deref().and_then(label);
        }
    }
}

/// What a header says: UTF-8 or, where it cannot be that, ISO 8859-1, which
/// [header fields once were](https://www.rfc-editor.org/rfc/rfc9110#section-5.5-7). Every value is one of them: a customer whose
/// name is not ASCII must not slip past the customer's limits.
fn text_of(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.iter().copied().map(char::from).collect()),
    }
}

/// A trimmed, bounded text; `None` where nothing is left.
fn label(text: &str) -> Option<String> {
    let text = text.trim();
    let end = (0..=text.len().min(MAX_LABEL_BYTES)).rev().find(|&at| text.is_char_boundary(at))?;
    text.get(..end).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_is_of_a_family() {
        let agents = AGENTS.map(|(name, _)| name);
        for name in END_USER.into_iter().chain(SESSION).chain([TAGS, CALL_ID]).chain(agents) {
            assert!(FAMILIES.iter().any(|family| name.as_str().starts_with(family)), "{name}");
        }
    }

    #[test]
    fn litellms_headers_say_who_a_call_is_for() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-litellm-end-user-id", "second"),
            ("x-litellm-customer-id", " first "),
            ("x-litellm-tags", "a, ,b"),
            ("x-claude-code-session-id", "s1"),
            ("x-claude-code-agent-id", "a1"),
            ("x-claude-code-parent-agent-id", "a0"),
            ("x-litellm-call-id", ""),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let expected = Attribution {
            end_user: Some("first".into()),
            session_id: Some("s1".into()),
            call_id: None,
            tags: ["a", "b", "claude-code-agent:a1", "claude-code-parent-agent:a0"]
                .map(String::from)
                .to_vec(),
        };
        assert_eq!(Attribution::of(&headers, &Caller::Master, None), expected);
    }

    #[test]
    fn what_is_not_ascii_is_read_as_utf8_or_else_as_latin1() {
        let (utf8, latin1) = ("müller".as_bytes(), b"m\xfcller".as_slice());
        for (name, value) in
            [("x-litellm-customer-id", utf8), ("x-litellm-customer-id", latin1), ("x-user", latin1)]
        {
            let mut headers = HeaderMap::new();
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
            let attribution = Attribution::of(&headers, &Caller::Master, Some("x-user"));
            assert_eq!(attribution.end_user.as_deref(), Some("müller"), "{name} {value:?}");
        }
        let mut headers = HeaderMap::new();
        let tags = [b"plain,".as_slice(), "größe".as_bytes(), b",gr\xf6\xdfe"].concat();
        for (name, value) in [
            ("x-litellm-tags", tags.as_slice()),
            ("x-litellm-session-id", latin1),
            ("x-litellm-call-id", utf8),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        let read = Attribution::of(&headers, &Caller::Master, None);
        assert_eq!(read.tags, ["plain", "größe", "größe"]);
        assert_eq!((read.session_id.as_deref(), read.call_id.as_deref()), (Some("müller"), Some("müller")));
    }
}
