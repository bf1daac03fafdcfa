//! The Security Token Service: roles are assumed here, and the credentials it gives out sign for Bedrock.

use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::answer::Call;
use super::callers::{Caller, SimulatedCredentials};
use super::faults::Faults;
use super::server::Shared;
use super::signature::Refusal;
use super::wire::{Body, Reply};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const DEFAULT_SECONDS: u64 = 3_600;
const ALLOWED_SECONDS: std::ops::RangeInclusive<u64> = 900..=43_200;
/// A role whose name holds this cannot be assumed.
const DENIED: &str = "denied";

/// Web identities call without a signature.
pub(super) fn needs_no_signature(body: &[u8]) -> bool {
    parameter(body, "Action").as_deref() == Some("AssumeRoleWithWebIdentity")
}

pub(super) fn answer(call: &Call<'_>, caller: &Caller, faults: &Faults, shared: &Shared) -> Reply {
    if let Some((status, error_type, message)) = faults.service_error() {
        return error(status, error_type, message, &call.request_id);
    }
    let action = parameter(&call.body, "Action").unwrap_or_default();
    match action.as_str() {
        "AssumeRole" | "AssumeRoleWithWebIdentity" => assume_role(call, &action, shared),
        "GetCallerIdentity" => {
            let account = &shared.options.account_id;
            let user = caller.access_key_id.as_deref().unwrap_or("AIDAEXAMPLE");
            let arn = format!("arn:aws:iam::{account}:user/simulated");
            let result =
                format!("<Arn>{arn}</Arn><UserId>{}</UserId><Account>{account}</Account>", escaped(user));
            xml(200, &wrapped("GetCallerIdentity", &result, &call.request_id))
        }
        _ => {
            let text = format!("Could not find operation {action} for version 2011-06-15");
            error(400, "InvalidAction", &text, &call.request_id)
        }
    }
}

fn assume_role(call: &Call<'_>, action: &str, shared: &Shared) -> Reply {
    let member = |name: &str| parameter(&call.body, name);
    let invalid = |text: &str| error(400, "ValidationError", text, &call.request_id);
    let (Some(role), Some(session)) = (member("RoleArn"), member("RoleSessionName")) else {
        return invalid("RoleArn and RoleSessionName must not be null");
    };
    let Some((prefix, role_name)) = role.split_once(":role/") else {
        return invalid(&format!("{role} is invalid"));
    };
    let account = prefix.rsplit(':').next().unwrap_or_default();
    let asked = member("DurationSeconds").map_or(Some(DEFAULT_SECONDS), |text| text.parse().ok());
    let Some(seconds) = asked.filter(|seconds| ALLOWED_SECONDS.contains(seconds)) else {
        return invalid("The requested DurationSeconds is outside of 900 to 43200");
    };
    let external_id = &shared.options.external_id;
    let is_stranger = action == "AssumeRole" && external_id.is_some() && member("ExternalId") != *external_id;
    if is_stranger || role_name.contains(DENIED) {
        let text = format!(
            "User: arn:aws:iam::{account}:user/simulated is not authorized to perform: sts:{action} on resource: {role}"
        );
        return error(403, "AccessDenied", &text, &call.request_id);
    }
    if action == "AssumeRoleWithWebIdentity"
        && member("WebIdentityToken").is_none_or(|token| token.is_empty())
    {
        return error(400, "InvalidIdentityToken", "The token is missing.", &call.request_id);
    }
    let lifetime = shared.options.session_lifetime.unwrap_or(Duration::from_secs(seconds));
    let credentials = new_credentials(call.now + lifetime);
    let result = format!(
        "<AssumedRoleUser><Arn>arn:aws:sts::{account}:assumed-role/{role_name}/{session}</Arn>\
         <AssumedRoleId>AROASIMULATED:{session}</AssumedRoleId></AssumedRoleUser>{}",
        credentials_xml(&credentials),
        session = escaped(&session),
        role_name = escaped(role_name),
    );
    shared.callers.remember(credentials, call.now);
    xml(200, &wrapped(action, &result, &call.request_id))
}

fn new_credentials(expires_at: OffsetDateTime) -> SimulatedCredentials {
    let random = || Uuid::new_v4().simple().to_string();
    let id = random().to_uppercase();
    SimulatedCredentials {
        access_key_id: format!("ASIA{}", id.get(..16).unwrap_or_default()),
        secret_access_key: format!("{}{}", random(), random().get(..8).unwrap_or_default()),
        session_token: Some(format!("Fwo{}/+{}==", random(), random())),
        expires_at: Some(expires_at),
    }
}

fn credentials_xml(credentials: &SimulatedCredentials) -> String {
    let expiration = credentials
        .expires_at
        .and_then(|end| end.replace_nanosecond(0).ok())
        .and_then(|end| end.format(&Rfc3339).ok())
        .unwrap_or_default();
    format!(
        "<Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
         <Expiration>{expiration}</Expiration></Credentials>",
        credentials.access_key_id,
        credentials.secret_access_key,
        credentials.session_token.as_deref().unwrap_or_default(),
    )
}

/// A refusal of the signing layer, in the words and the form of STS.
pub(super) fn refusal(refusal: &Refusal, request_id: &str) -> Reply {
    let code = match refusal.error_type {
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "ExpiredTokenException" => "ExpiredToken",
        "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
        "IncompleteSignatureException" => "IncompleteSignature",
        other => other,
    };
    error(403, code, &refusal.message, request_id)
}

fn wrapped(action: &str, result: &str, request_id: &str) -> String {
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    )
}

fn error(status: u16, code: &str, message: &str, request_id: &str) -> Reply {
    let fault = if status < 500 { "Sender" } else { "Receiver" };
    xml(
        status,
        &format!(
            "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{fault}</Type><Code>{code}</Code><Message>{}</Message></Error>\
             <RequestId>{request_id}</RequestId></ErrorResponse>",
            escaped(message)
        ),
    )
}

fn xml(status: u16, text: &str) -> Reply {
    Reply {
        status,
        headers: vec![("Content-Type", "text/xml".to_owned())],
        body: Body::Whole(Bytes::from(text.to_owned())),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A member of a form body.
fn parameter(body: &[u8], name: &str) -> Option<String> {
    url::form_urlencoded::parse(body).find(|(held, _)| held == name).map(|(_, value)| value.into_owned())
}
