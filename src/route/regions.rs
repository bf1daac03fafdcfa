//! Regions that a request names: in an ARN, or in the scope of the client's signature. Only what looks like a region that
//! exists counts, since it becomes part of a host name.

use percent_encoding::percent_decode_str;

use crate::domain::Region;

/// The region of the first ARN among the segments of a path, percent-encoded or not.
#[must_use]
pub fn region_in_path(path: &str) -> Option<Region> {
    let could_be_arn = |segment: &&str| segment.get(..3).is_some_and(|start| start == "arn");
    path.split('/').filter(could_be_arn).find_map(|segment| {
        let decoded = percent_decode_str(segment).decode_utf8().ok()?;
        region_of_arn(&decoded)
    })
}

/// The region in the credential scope of a client's signature, by the value of its `Authorization` header.
#[must_use]
pub fn region_of_scope(authorization: &str) -> Option<Region> {
    let (_, credential) = authorization.strip_prefix("AWS4-HMAC-SHA256")?.split_once("Credential=")?;
    real(credential.split(',').next()?.rsplit('/').nth(2)?)
}

/// `arn:partition:service:region:…`
pub(super) fn region_of_arn(name: &str) -> Option<Region> {
    real(name.strip_prefix("arn:")?.split(':').nth(2)?)
}

/// A region, if it looks like one that exists.
fn real(region: &str) -> Option<Region> {
    let ends_in_a_number =
        region.rsplit('-').next().is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()));
    let looks_real = ends_in_a_number && region.split('-').count() >= 3;
    looks_real.then(|| region.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_in_a_path_names_its_region() {
        let cases = [
            ("/tags/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Aagent%2FA", Some("eu-west-1")),
            ("/tags/arn:aws:bedrock:us-gov-west-1:123456789012:agent/A", Some("us-gov-west-1")),
            ("/guardrails/arn%3aaws%3abedrock%3aap-northeast-1%3a1%3aguardrail%2fx", Some("ap-northeast-1")),
            ("/tags/arn%3Aaws%3Abedrock%3A%3A1%3Aagent%2FA", None),
            ("/tags/arn%3Aaws%3Abedrock%3Aevil.example%2F%3A1%3Aagent", None),
            ("/tags/arn%3Aaws%3Abedrock%3Aus-west-2%2Eevil-x-1%3A1%3Aagent", None),
            ("/guardrails/gr123", None),
            ("", None),
        ];
        for (path, expected) in cases {
            assert_eq!(region_in_path(path).map(|region| region.to_string()).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn a_signature_names_its_region() {
        let scope = |region: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=sk-a/b/20260101/{region}/bedrock/aws4_request, SignedHeaders=host"
            )
        };
        let read = |text: &str| region_of_scope(text).map(|region| region.to_string());
        assert_eq!(read(&scope("eu-central-1")).as_deref(), Some("eu-central-1"));
        for wrong in [&scope("evil.example"), &scope(""), "Bearer sk-1", "AWS4-HMAC-SHA256 Credential=x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
