//! AWS's partitions: closed worlds, each with regions, accounts and host names of its own.

use std::sync::LazyLock;

use super::Region;

/// A closed part of AWS. Credentials of one are worth nothing in another, which may have another operator.
/// <https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html>
#[derive(Debug, PartialEq, Eq)]
pub struct Partition {
    /// As in its ARNs: `aws`, `aws-cn`, …
    pub id: &'static str,
    /// What its host names end in.
    pub dns_suffix: &'static str,
    /// What its regions begin with; a word and a number follow.
    starts: &'static [&'static str],
}

/// How AWS writes the regions of each partition (`regionRegex` in the SDKs' `partitions.json`). Those whose regions begin
/// as another's do stand before it.
static PARTITIONS: [Partition; 8] = [
    Partition { id: "aws-us-gov", dns_suffix: "amazonaws.com", starts: &["us-gov-"] },
    Partition { id: "aws-iso", dns_suffix: "c2s.ic.gov", starts: &["us-iso-"] },
    Partition { id: "aws-iso-b", dns_suffix: "sc2s.sgov.gov", starts: &["us-isob-"] },
    Partition { id: "aws-iso-e", dns_suffix: "cloud.adc-e.uk", starts: &["eu-isoe-"] },
    Partition { id: "aws-iso-f", dns_suffix: "csp.hci.ic.gov", starts: &["us-isof-"] },
    Partition { id: "aws-eusc", dns_suffix: "amazonaws.eu", starts: &["eusc-de-"] },
    Partition { id: "aws-cn", dns_suffix: "amazonaws.com.cn", starts: &["cn-"] },
    Partition {
        id: "aws",
        dns_suffix: "amazonaws.com",
        starts: &["us-", "eu-", "ap-", "sa-", "ca-", "me-", "af-", "il-", "mx-"],
    },
];

/// Written by `integration/generate_operations.py`.
const REGIONS: &str = include_str!("regions.tsv");

static KNOWN: LazyLock<Vec<Region>> = LazyLock::new(|| {
    let rows = REGIONS.lines().skip(1).filter_map(|row| row.split_once('\t'));
    rows.filter_map(|(_, region)| region.parse().ok()).collect()
});

impl Partition {
    pub(super) fn of_region(region: &str) -> Option<&'static Self> {
        let fits = |start: &&str| region.strip_prefix(*start).is_some_and(is_word_and_number);
        PARTITIONS.iter().find(|partition| partition.starts.iter().any(fits))
    }
}

/// `west-2`.
fn is_word_and_number(text: &str) -> bool {
    let Some((word, number)) = text.split_once('-') else { return false };
    let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    is_word && is_number
}

/// Every region that AWS's SDKs knew when the list was made; its first line says when.
#[must_use]
pub fn known_regions() -> &'static [Region] {
    &KNOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_belongs_to_the_partition_whose_regions_are_written_so() {
        let cases = [
            ("us-west-2", Some("aws")),
            ("ap-southeast-7", Some("aws")),
            ("us-gov-west-1", Some("aws-us-gov")),
            ("cn-northwest-1", Some("aws-cn")),
            ("us-iso-east-1", Some("aws-iso")),
            ("us-isob-east-1", Some("aws-iso-b")),
            ("us-isof-south-1", Some("aws-iso-f")),
            ("eu-isoe-west-1", Some("aws-iso-e")),
            ("eusc-de-east-1", Some("aws-eusc")),
            ("s3-us-west-2", None),
            ("us-west-2-s3", None),
            ("us-west2-1", None),
            ("us-west", None),
            ("xx-west-1", None),
            ("zaa-x-1", None),
            ("aws-global", None),
        ];
        for (region, expected) in cases {
            let partition = region.parse::<Region>().unwrap().partition();
            assert_eq!(partition.map(|partition| partition.id), expected, "{region}");
        }
    }

    #[test]
    fn every_known_region_is_of_the_partition_that_the_list_says() {
        let mut rows = 0;
        for (partition, region) in REGIONS.lines().skip(1).filter_map(|row| row.split_once('\t')) {
            let region: Region = region.parse().unwrap();
            assert_eq!(region.partition().unwrap().id, partition, "{region}");
            assert!(known_regions().contains(&region));
            rows += 1;
        }
        assert_eq!(rows, known_regions().len());
        assert!(rows > 40, "{rows}");
    }
}
