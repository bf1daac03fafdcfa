//! Paths of LiteLLM that bedgate does not serve: refused in LiteLLM's words, not AWS's, with what to use instead.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::error::AdminError;

/// Where LiteLLM's own endpoints begin. Bedrock has nothing there: it is served under bases of its own.
const BASES: [&str; 17] = [
    "/key",
    "/team",
    "/user",
    "/customer",
    "/end_user",
    "/budget",
    "/spend",
    "/global",
    "/organization",
    "/health",
    "/v2",
    "/model_group",
    "/tag",
    "/provider",
    "/cache",
    "/credentials",
    "/config",
];
/// Of `/model`, only what has one further part: `/model/{id}/invoke` is Bedrock's, of a client that was given the wrong
/// base, and answered in AWS's shape.
const MODEL: [&str; 3] = ["/model/{name}", "/model/metrics/{name}", "/model/{id}/update"];

/// What to use instead, for a path or all below it; the first that fits counts.
const INSTEAD: [(&str, &str); 42] = [
    ("/global/spend/report", SUMS),
    ("/global/spend/tags", "GET /spend/tags, with start_date and end_date"),
    ("/global/spend/all_tag_names", "GET /spend/tags"),
    ("/global/spend/end_users", "GET /customer/list, which shows what each has spent"),
    ("/global/all_end_users", "GET /customer/list"),
    ("/global/spend/provider", "GET /global/spend: there is one provider"),
    (
        "/global/spend/reset",
        "POST /key/{key}/reset_spend, and `spend` of POST /team/update and /customer/update",
    ),
    ("/global/spend/refresh", "nothing: sums are kept up to date with each request"),
    (
        "/global/activity",
        "GET /spend/keys and /spend/users, which count requests and tokens, or GET /metrics",
    ),
    ("/global/predict", SUMS),
    ("/global", SUMS),
    ("/user/daily/activity", "GET /spend/logs?user_id=…&start_date=…&end_date=…"),
    ("/user/info", "GET /key/list?user_id=…&return_full_object=true, and GET /spend/users"),
    ("/user/list", "GET /spend/users"),
    ("/user", "`user_id` of POST /key/generate: a user is a label of keys, which needs no making"),
    ("/team/daily/activity", "GET /global/spend/teams?start_date=…&end_date=…"),
    ("/team/member_add", MEMBERS),
    ("/team/member_update", MEMBERS),
    ("/team/member_delete", MEMBERS),
    ("/team/bulk_member_add", MEMBERS),
    ("/team/model", "`models` of POST /team/update"),
    ("/team", "/team/new, info, list, update (its `spend` sets what is spent), delete, block and unblock"),
    (
        "/customer",
        "/customer/new, info, list, update (its `spend` sets what is spent), delete, block and unblock",
    ),
    (
        "/end_user",
        "/end_user/new, info, list, update (its `spend` sets what is spent), delete, block and unblock",
    ),
    ("/budget", "/budget/new, info, list, update and delete"),
    ("/spend/logs/v2", "GET /spend/logs?summarize=false&page=…&page_size=…"),
    ("/spend/logs", "GET /spend/logs?summarize=false&page=…&page_size=…"),
    ("/spend/calculate", "the header x-litellm-response-cost of an answer, or its event in GET /spend/logs"),
    ("/spend", "GET /spend/logs, /spend/keys, /spend/users and /spend/tags"),
    ("/v2/key/info", "GET /key/info?key=…, or GET /key/list?return_full_object=true"),
    ("/v2", "the path without /v2"),
    ("/key/aliases", "GET /key/list?return_full_object=true"),
    ("/key/bulk_update", "POST /key/update, once for each key"),
    ("/key/health", "GET /health/readiness"),
    ("/key/service-account/generate", "POST /key/generate"),
    ("/key", "/key/generate, info, list, update, delete, block, unblock, regenerate and reset_spend"),
    ("/organization", "teams (/team/new), which hold keys, models and budgets"),
    ("/model_group", "GET /model/info"),
    ("/model", "`model_list` in the configuration, and GET /model/info"),
    ("/health", "GET /health, /health/liveliness and /health/readiness"),
    ("/config", "the configuration file; `bedgate check` names what is wrong with it"),
    ("/tag", "`tags` of a key, and GET /spend/tags"),
];

const SUMS: &str = "GET /spend/logs?start_date=…&end_date=…, which sums up days by key, user and model, or GET /spend/keys, \
     /spend/users and /spend/tags";
const MEMBERS: &str = "`team_id` of POST /key/generate: teams have keys, not members";

/// Adds the paths; those that are served come before.
pub fn configure(config: &mut ServiceConfig) {
    for base in BASES {
        config.route(base, web::to(refuse)).route(&format!("{base}/{{rest:.*}}"), web::to(refuse));
    }
    for path in MODEL {
        config.route(path, web::to(refuse));
    }
}

async fn refuse(req: HttpRequest) -> Result<HttpResponse, AdminError> {
    Err(AdminError::NotServed { instead: instead_of(req.path()) })
}

fn instead_of(path: &str) -> Option<&'static str> {
    let fits =
        |base: &str| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    INSTEAD.iter().find(|(base, _)| fits(base)).map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_path_is_never_shadowed() {
        for (at, (path, instead)) in INSTEAD.iter().enumerate() {
            assert_eq!(instead_of(path), Some(*instead), "entry {at}");
            let has_base = BASES.iter().chain(&["/model"]).any(|base| path.starts_with(base));
            assert!(has_base, "{path} is answered nowhere");
        }
        assert_eq!(instead_of("/global/activity/model"), instead_of("/global/activity"));
        assert_eq!(instead_of("/teamwork"), None);
        assert_eq!(instead_of("/cache/ping"), None);
    }
}
