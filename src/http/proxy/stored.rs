//! Which response that AWS keeps a request is about: to read, cancel or delete it, or to go on from it.

use percent_encoding::percent_decode_str;

use crate::error::GatewayError;
use crate::operation::Call;

/// The response, by its id in the path or in the body.
///
/// # Errors
/// The body cannot be read in one way only.
pub(super) fn response_named(
    call: &Call<'_>,
    path: &str,
    body: &[u8],
) -> Result<Option<String>, GatewayError> {
    #[derive(serde::Deserialize)]
    struct Asked {
        previous_response_id: Option<String>,
    }
    match call.operation.name {
        "OpenAiResponses" => {
            let asked: Asked = serde_json::from_slice(body)
                .map_err(|error| GatewayError::Validation(format!("the body cannot be read: {error}")))?;
            Ok(asked.previous_response_id)
        }
        "OpenAiGetResponse"
        | "OpenAiDeleteResponse"
        | "OpenAiCancelResponse"
        | "OpenAiListResponseInputItems" => {
            let id =
                path.split_once("/responses/").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
            Ok(id.map(|id| percent_decode_str(id).decode_utf8_lossy().into_owned()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{RequestLine, resolve};

    fn named(method: &str, path: &str, body: &str) -> Result<Option<String>, String> {
        let call = resolve(&RequestLine { method, path, ..RequestLine::default() }).unwrap();
        response_named(&call, path, body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_response_is_named_in_the_path_or_in_the_body() {
        let responses = "/openai/v1/responses";
        let id = |id: &str| Ok(Some(id.to_owned()));
        assert_eq!(named("GET", &format!("{responses}/resp_1"), ""), id("resp_1"));
        assert_eq!(named("DELETE", &format!("{responses}/resp%5F1"), ""), id("resp_1"));
        assert_eq!(named("POST", &format!("{responses}/resp_1/cancel"), "{}"), id("resp_1"));
        assert_eq!(named("GET", &format!("{responses}/resp_1/input_items"), ""), id("resp_1"));
        assert_eq!(named("POST", responses, r#"{"input": "x"}"#), Ok(None));
        assert_eq!(named("POST", responses, r#"{"previous_response_id": null}"#), Ok(None));
        assert_eq!(named("POST", responses, r#"{"previous\u005fresponse_id": "resp_2"}"#), id("resp_2"));
        assert_eq!(named("POST", "/openai/v1/chat/completions", "no json"), Ok(None));
    }

    #[test]
    fn a_body_that_could_be_read_in_two_ways_is_refused() {
        for body in [
            r#"{"previous_response_id": "resp_1", "previous_response_id": "resp_2"}"#,
            r#"{"previous_response_id": ["resp_1"]}"#,
            r#"{"previous_response_id": "resp_1"} {}"#,
            "",
        ] {
            assert!(named("POST", "/openai/v1/responses", body).is_err(), "{body}");
        }
    }
}
