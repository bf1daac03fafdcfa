//! Whether AWS has the regions that the configuration names.

use super::aws::AwsConfig;
use super::section::Context;
use super::suggest::nearest;
use crate::domain::{Region, Service, known_regions};

/// Faults for the regions of entries that neither bedgate nor the operator knows: no host of theirs would be found, call by
/// call. Where the endpoint is not AWS's own, any region may stand.
pub(super) fn require_known(aws: &AwsConfig, ctx: &mut Context) {
    let regions = std::mem::take(&mut ctx.regions);
    if aws.endpoint_url.is_some() || aws.endpoint_urls.contains_key(&Service::BedrockRuntime) {
        return;
    }
    for (place, region) in regions {
        let is_known = known_regions().iter().chain(&aws.further_regions).any(|known| *known == region);
        if !is_known {
            ctx.fault(&place, unknown(&region));
        }
    }
}

fn unknown(region: &Region) -> String {
    let meant = nearest(region.as_str(), known_regions().iter().map(Region::as_str));
    let hint = meant.map(|meant| format!("did you mean {meant}? ")).unwrap_or_default();
    format!(
        "{:?} is no region that bedgate knows; {hint}where AWS has opened it since, name it in \
         bedgate_settings.aws.further_regions",
        region.as_str()
    )
}
