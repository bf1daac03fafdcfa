//! Regions that a request names: in an ARN, or in the scope of the client's signature. What is named is only a name: the
//! table of deployments knows which regions there are.

use percent_encoding::percent_decode_str;

/// A region as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRegion {
    /// The partition that the ARN says it is in, such as `aws-cn`.
    pub partition: Option<String>,
    /// Its name, as it stands there.
    pub region: String,
}

/// The region of the first ARN among the segments of a path, percent-encoded or not.
#[must_use]
pub fn region_in_path(path: &str) -> Option<NamedRegion> {
    let could_be_arn = |segment: &&str| segment.get(..3).is_some_and(|start| start == "arn");
    path.split('/').filter(could_be_arn).find_map(|segment| {
        let decoded = percent_decode_str(segment).decode_utf8().ok()?;
        region_of_arn(&decoded)
    })
}

/// The region in the credential scope of a client's signature, by the value of its `Authorization` header.
#[must_use]
pub fn region_of_scope(authorization: &str) -> Option<NamedRegion> {
    let (_, credential) = authorization.strip_prefix("AWS4-HMAC-SHA256")?.split_once("Credential=")?;
    let region = credential.split(',').next()?.rsplit('/').nth(2)?;
    (!region.is_empty()).then(|| NamedRegion { partition: None, region: region.to_owned() })
}

/// `arn:partition:service:region:…`; some resources have no region.
pub(super) fn region_of_arn(name: &str) -> Option<NamedRegion> {
    let mut parts = name.strip_prefix("arn:")?.split(':');
    let (partition, _service, region) = (parts.next()?, parts.next()?, parts.next()?);
    (!region.is_empty())
        .then(|| NamedRegion { partition: Some(partition.to_owned()), region: region.to_owned() })
}

/// Three words or more, such as `us-west-2`: such a name means a region, be there one or not.
pub(super) fn is_written_like_a_region(name: &str) -> bool {
    name.split('-').count() >= 3
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
            ("/tags/arn%3Aaws%3Abedrock%3Aevil.example%2F%3A1%3Aagent", Some("evil.example/")),
            ("/tags/arn%3Aaws%3Abedrock%3Aus-west-2%2Eevil-x-1%3A1%3Aagent", Some("us-west-2.evil-x-1")),
            ("/guardrails/gr123", None),
            ("", None),
        ];
        for (path, expected) in cases {
            assert_eq!(region_in_path(path).map(|named| named.region).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn what_is_written_like_a_region_is_told_from_what_is_none() {
        for (name, expected) in [
            ("us-west-2", true),
            ("s3-us-west-2", true),
            ("eusc-de-east-1", true),
            ("xe", false),
            ("us-west-2.evil.example", true),
            ("us-west", false),
            ("evil.example/", false),
        ] {
            assert_eq!(is_written_like_a_region(name), expected, "{name}");
        }
    }

    #[test]
    fn a_signature_names_its_region() {
        let scope = |region: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=sk-a/b/20260101/{region}/bedrock/aws4_request, SignedHeaders=host"
            )
        };
        let read = |text: &str| region_of_scope(text).map(|named| named.region);
        assert_eq!(read(&scope("eu-central-1")).as_deref(), Some("eu-central-1"));
        for wrong in [&scope(""), "Bearer sk-1", "AWS4-HMAC-SHA256 Credential=x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
