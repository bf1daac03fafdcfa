//! The configuration as an operator meets it: whole files in, a `Config` or its faults out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::domain::Service;

/// Names and values of the environment.
type Variables<'v> = &'v [(&'v str, &'v str)];

fn config(yaml: &str, environment: Variables<'_>) -> Config {
    let environment = environment.iter().copied().collect();
    parse(yaml, &environment).unwrap_or_else(|faults| panic!("{faults}\n{yaml}"))
}

fn faults(yaml: &str, environment: Variables<'_>) -> Vec<String> {
    let environment = environment.iter().copied().collect();
    match parse(yaml, &environment) {
        Ok(_) => Vec::new(),
        Err(ConfigFaults(faults)) => faults.iter().map(ToString::to_string).collect(),
    }
}

/// One entry of `model_list` with these parameters beside its model.
fn deployment(params: &str, environment: Variables<'_>) -> DeploymentConfig {
    let yaml = format!("model_list: [{{model_name: m, litellm_params: {{model: bedrock/x.y, {params}}}}}]");
    config(&yaml, environment).deployments.remove(0)
}

mod auth {
    use super::*;

    #[test]
    fn the_key_for_secrets_is_bedgates_own_or_litellms_and_bedgates_is_not_short() {
        let secret = |environment: Variables<'_>| {
            config("", environment).auth.secret_key.map(|key| key.expose().to_owned())
        };
        let (own, salt) = (("BEDGATE_SECRET_KEY", "0123456789abcdef"), ("LITELLM_SALT_KEY", "sk-1234"));
        assert_eq!(secret(&[]), None);
        assert_eq!(secret(&[salt]).as_deref(), Some("sk-1234"));
        assert_eq!(secret(&[salt, own]).as_deref(), Some("0123456789abcdef"));
        let [fault] = faults("", &[("BEDGATE_SECRET_KEY", "too short")]).try_into().unwrap();
        assert!(fault.contains("16 random characters") && !fault.contains("too short\""), "{fault}");
    }

    #[test]
    fn an_old_key_for_secrets_needs_a_new_one_beside_it() {
        let (old, own) =
            (("BEDGATE_OLD_SECRET_KEY", "any length"), ("BEDGATE_SECRET_KEY", "0123456789abcdef"));
        assert!(config("", &[own]).auth.old_secret_key.is_none());
        assert!(config("", &[own, old]).auth.old_secret_key.is_some());
        let [fault] = faults("", &[old]).try_into().unwrap();
        assert!(fault.contains("BEDGATE_SECRET_KEY") && !fault.contains("any length"), "{fault}");
    }

    #[test]
    fn which_signatures_are_accepted_can_be_set() {
        let text =
            "bedgate_settings: {auth: {allow_unsigned_payload: true, allow_key_as_access_key_id: false}}";
        let auth = config(text, &[]).auth;
        assert!(auth.allow_unsigned_payload && !auth.allow_key_as_access_key_id);
        assert_eq!(faults("bedgate_settings: {auth: {allow_unsigned: true}}", &[]).len(), 1);
    }
}

mod defaults {
    use super::*;

    #[test]
    fn nothing_at_all_is_open_mode_with_the_defaults() {
        assert_eq!(config("", &[]), Config::default());
        assert_eq!(Config::default().aws.default_region.as_str(), "us-west-2");
        assert_eq!(Config::default().master_key, None);
    }

    #[test]
    fn the_directory_in_the_repository_shows_the_defaults() {
        let config = load(Some(Path::new("config")), &Environment::default()).unwrap();
        let names: Vec<_> = config.deployments.iter().map(|d| d.model_name.as_str()).collect();
        assert_eq!(names, ["my-bedrock-model", "my-claude-model", "my-cohere-model"]);
        assert_eq!(config, Config { deployments: config.deployments.clone(), ..Config::default() });
    }

    #[test]
    fn the_directory_in_the_repository_shows_every_setting() {
        let text = ["config/10-models.yaml", "config/20-settings.yaml"]
            .map(|file| fs::read_to_string(file).unwrap())
            .concat();
        let everything = "
model_list: [{litellm_params: {model: bedrock/a.b, aws_session_tags: [{Key: a, Value: b}]}, model_name: m}]
router_settings: {model_group_alias: {a: {model: m}}}
credential_list: [{credential_name: c}]";
        let tree = Node::parse("config.yaml", everything).unwrap();
        let (_, context) = judge(&tree, Vec::new(), &Environment::default()).unwrap();
        assert!(context.asked.len() > 60);
        for setting in context.asked {
            let key = setting.rsplit('.').next().unwrap();
            assert!(text.contains(&format!("{key}:")), "config/ does not show {setting}");
        }
    }

    #[test]
    fn what_is_commented_out_in_the_repository_is_valid_too() {
        let text = fs::read_to_string("config/10-models.yaml").unwrap();
        let (_, commented) = text
            .split_once("with credentials of its own).\n#\n")
            .unwrap_or_else(|| text.split_once("beside credentials of its own).\n#\n").unwrap());
        let uncommented: String =
            commented.lines().map(|line| line.strip_prefix('#').unwrap_or(line).to_owned() + "\n").collect();
        let (models, credentials) = uncommented.split_once("credential_list:").unwrap();
        let yaml = format!("model_list:\n{models}\ncredential_list:{credentials}");
        let secrets = ["MY_BEDROCK_API_KEY", "TEAM_ACCESS_KEY_ID", "TEAM_SECRET_ACCESS_KEY"];
        let more = ["TEAM_SESSION_TOKEN", "TEAM_EXTERNAL_ID"];
        let environment: Vec<_> = secrets.into_iter().chain(more).map(|name| (name, "value")).collect();
        let config = config(&yaml, &environment);
        assert_eq!(config.ignored, Vec::<String>::new());
        let deployment = &config.deployments[0];
        assert_eq!(deployment.id, "claude-west");
        assert_eq!(deployment.prices["cache_creation_input_token_cost"], 3_750_000);
        assert!(deployment.model_id.starts_with("arn:aws:bedrock:"));
    }
}

mod documents {
    use super::*;

    #[test]
    fn the_configs_of_the_document_work_as_they_are() {
        let config = config(
            "
model_list:
  - model_name: my-claude-model
    litellm_params:
      model: bedrock/us.anthropic.claude-3-5-sonnet-20240620-v1:0
      aws_region_name: us-west-2
      custom_llm_provider: bedrock

  - model_name: my-cohere-model
    litellm_params:
      model: bedrock/cohere.command-r-v1:0
      aws_region_name: us-east-1
      custom_llm_provider: bedrock
",
            &[("DATABASE_URL", ""), ("AWS_ACCESS_KEY_ID", ""), ("AWS_REGION_NAME", "")],
        );
        let served: Vec<_> = config
            .deployments
            .iter()
            .map(|d| (d.model_name.as_str(), d.model_id.as_str(), d.region.as_ref().unwrap().as_str()))
            .collect();
        let expected = [
            ("my-claude-model", "us.anthropic.claude-3-5-sonnet-20240620-v1:0", "us-west-2"),
            ("my-cohere-model", "cohere.command-r-v1:0", "us-east-1"),
        ];
        assert_eq!(served, expected);
        assert_eq!(config.ignored, Vec::<String>::new());
        assert_eq!(config.aws.default_region.as_str(), "us-west-2");
        assert_eq!(config.database.url, None);
    }

    #[test]
    fn a_large_litellm_config_works_as_it_is() {
        let config = config(
            r#"
x-bedrock: &bedrock
  aws_role_name: arn:aws:iam::123456789012:role/bedrock
  timeout: 30
model_list:
  - model_name: claude
    litellm_params: {<<: *bedrock, model: bedrock/converse/anthropic.claude-v2, rpm: 900, max_parallel_requests: 3}
    model_info: {mode: chat, id: one}
  - model_name: claude
    litellm_params: {<<: *bedrock, model: bedrock/invoke/anthropic.claude-v2, rpm: 100, timeout: 5}
  - model_name: gpt
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/NOT_SET, litellm_credential_name: not-there}
  - model_name: "bedrock/*"
    litellm_params: {model: "bedrock/*"}
litellm_settings:
  drop_params: true
  num_retries: 5
  request_timeout: 77
  fallbacks: [{claude: [gpt]}, {"*": [other]}]
  callbacks: [prometheus]
router_settings:
  routing_strategy: least-busy
  num_retries: 1
  allowed_fails: 7
  model_group_alias: {c: claude, d: {model: claude, hidden: true}}
  redis_host: os.environ/NOT_SET
general_settings:
  master_key: os.environ/KEY
  database_url: "postgresql://u:p@h/db"
  litellm_key_header_name: X-My-Key
  max_request_size_mb: 0.5
  store_model_in_db: true
environment_variables:
  KEY: os.environ/OUTER
  NUMBER: 7
  FLAG: true
callback_settings: {}
"#,
            &[("OUTER", "sk-1")],
        );
        assert_eq!(config.master_key, Some(Secret::new("sk-1")));
        assert_eq!(config.database.url, Some(Secret::new("postgresql://u:p@h/db")));
        assert_eq!(config.key_header_name.as_deref(), Some("x-my-key"));
        assert_eq!(config.limits.max_body_bytes, 512 << 10);
        assert_eq!((config.routing.num_retries, config.routing.allowed_fails), (1, 7));
        assert_eq!(config.routing.timeout, Duration::from_secs(77));
        assert_eq!(config.routing.fallbacks["claude"], ["gpt"]);
        assert_eq!(config.routing.default_fallbacks, ["other"]);
        assert_eq!(config.routing.model_group_alias["d"], "claude");
        assert!(config.routing.hidden_aliases.contains("d") && !config.routing.hidden_aliases.contains("c"));
        let exported: BTreeMap<_, _> = config
            .environment_variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        assert_eq!(exported, [("FLAG", "True"), ("KEY", "sk-1"), ("NUMBER", "7")].into());
        let summary: Vec<_> = config
            .deployments
            .iter()
            .map(|d| (d.model_name.as_str(), d.weight, d.timeout.map(|timeout| timeout.as_secs())))
            .collect();
        assert_eq!(summary, [("claude", 900, Some(30)), ("claude", 100, Some(5)), ("bedrock/*", 1, None)]);
        assert_eq!(config.deployments[0].model_info["mode"], "chat");
        insta::assert_snapshot!(config.ignored.join("\n"), @r#"
        config.yaml: general_settings.store_model_in_db
        config.yaml: model_list[2].litellm_params.model (gpt, provider openai)
        config.yaml: router_settings.redis_host
        config.yaml: router_settings.routing_strategy
        config.yaml: litellm_settings.callbacks
        config.yaml: litellm_settings.drop_params
        config.yaml: callback_settings
        "#);
        let [limits] = config.not_in_force.try_into().unwrap();
        assert_eq!(limits.places, ["config.yaml: model_list[0].litellm_params.max_parallel_requests"]);
    }
}

mod restrictions {
    use super::*;

    #[test]
    fn what_restricts_in_litellm_and_not_here_is_told_apart_with_what_to_do_instead() {
        let config = config(
            "
guardrails: [{guardrail_name: pii}]
general_settings:
  allowed_routes: [/chat]
  enforce_user_param: true
  max_parallel_requests: 5
  alerting: [slack]
litellm_settings:
  telemetry: false
  ssl_verify: false
  guardrails: [{pii: {default_on: true}}]
  callbacks: [prometheus, presidio]
router_settings: {enable_pre_call_checks: true, optional_pre_call_checks: [enforce_model_rate_limits]}
model_list:
- {model_name: m, litellm_params: {model: bedrock/a.b, max_parallel_requests: 1}, model_info: {team_id: t}}
",
            &[],
        );
        let told: Vec<String> = config.not_in_force.iter().map(ToString::to_string).collect();
        let told = told.join("\n");
        for place in [
            "config.yaml: guardrails",
            "general_settings.allowed_routes: give keys allowed_routes",
            "general_settings.enforce_user_param",
            "general_settings.max_parallel_requests",
            "litellm_settings.ssl_verify",
            "litellm_settings.guardrails",
            "litellm_settings.callbacks",
            "router_settings.optional_pre_call_checks",
            "model_list[0].litellm_params.max_parallel_requests",
            "model_list[0].model_info.team_id",
        ] {
            assert!(told.contains(place), "{place} is not in:\n{told}");
        }
        assert_eq!(
            config.ignored,
            [
                "config.yaml: general_settings.alerting",
                "config.yaml: router_settings.enable_pre_call_checks",
                "config.yaml: litellm_settings.telemetry"
            ]
        );
    }

    #[test]
    fn what_is_written_so_that_it_restricts_nothing_is_not_told_as_if_it_did() {
        let config = config(
            "
guardrails: []
general_settings: {enforce_user_param: false, allowed_routes: , global_max_parallel_requests: 7}
litellm_settings: {ssl_verify: true, callbacks: [prometheus], guardrails: {}}
router_settings: {optional_pre_call_checks: [prompt_caching]}
",
            &[],
        );
        assert_eq!(config.not_in_force, Vec::new());
        assert_eq!(config.budgets.global_max_parallel, Some(7));
    }

    #[test]
    fn many_places_of_one_kind_are_one_warning() {
        let entry = "{model_name: m, litellm_params: {model: bedrock/a.b, max_parallel_requests: 1}}";
        let config = config(&format!("model_list: [{}]", [entry; 9].join(", ")), &[]);
        let [told] = config.not_in_force.try_into().unwrap();
        assert!(
            told.to_string().contains("model_list[4].litellm_params.max_parallel_requests and 4 more: "),
            "{told}"
        );
    }

    #[test]
    fn a_slip_in_the_name_of_a_setting_is_a_fault_in_each_section_of_litellm() {
        for (yaml, meant) in [
            ("litellm_settings: {max_budgt: 100}", "max_budget"),
            ("litellm_settings: {budget_durations: 1d}", "budget_duration"),
            (
                "litellm_settings: {upperbound_key_generate_param: {max_budget: 1}}",
                "upperbound_key_generate_params",
            ),
            ("litellm_settings: {upperbound_key_generate_params: {max_budgets: 1}}", "max_budget"),
            ("litellm_settings: {default_key_generate_params: {rmp_limit: 1}}", "rpm_limit"),
            ("router_settings: {num_retrie: 1}", "num_retries"),
            ("router_settings: {timout: 1}", "timeout"),
            ("general_settings: {max_request_size: 1}", "max_request_size_mb"),
            ("general_settings: {global_max_parallel_request: 1}", "global_max_parallel_requests"),
        ] {
            let found = faults(yaml, &[]).join("\n");
            assert!(found.contains(&format!("did you mean {meant}?")), "{yaml}: {found}");
        }
    }

    #[test]
    fn no_setting_of_litellms_own_counts_as_a_slip() {
        let config = config(
            "
litellm_settings: {callbacks: [x], success_callback: [x], failure_callback: [x], max_user_budget: 1, drop_params: true,
  context_window_fallbacks: [], content_policy_fallbacks: [], model_alias_map: {}, cache: true, set_verbose: true}
router_settings: {routing_strategy: least-busy, retry_after: 1, retry_policy: {}, max_fallbacks: 1, allowed_fails_policy: {},
  cache_responses: true, model_group_retry_policy: {}, debug_level: DEBUG}
general_settings: {user_header_mappings: [], database_type: x, max_response_size_mb: 1, database_connection_timeout: 60,
  pass_through_endpoints: [], proxy_batch_write_at: 10, store_model_in_db: true, disable_spend_logs: true}
",
            &[],
        );
        assert!(
            config.ignored.iter().all(|ignored| !ignored.contains("did you mean")),
            "{:?}",
            config.ignored
        );
    }
}

mod key_policies {
    use super::*;
    use crate::domain::NanoUsd;

    #[test]
    fn defaults_and_bounds_of_new_keys_are_read_in_litellms_names() {
        let policy = config(
            "
litellm_settings:
  default_key_generate_params:
    max_budget: '1.5'
    user_id: u
    team_id: os.environ/TEAM
    models: [a, b]
    metadata: {cost_center: 7, setting: os.environ/TEAM}
    duration: 30d
    budget_duration: 1mo
    tpm_limit: 1
    rpm_limit: 2
    max_parallel_requests: 3
  upperbound_key_generate_params: {max_budget: 100, budget_duration: 10d, duration: 90d, tpm_limit: 1000, rpm_limit: 0, max_parallel_requests: '4'}
",
            &[("TEAM", "core")],
        )
        .key_policy;
        let defaults = serde_json::json!({
            "max_budget": 1.5, "user_id": "u", "team_id": "core", "models": ["a", "b"], "duration": "30d",
            "metadata": {"cost_center": 7, "setting": "core"}, "budget_duration": "1mo", "tpm_limit": 1, "rpm_limit": 2,
            "max_parallel_requests": 3,
        });
        assert_eq!(serde_json::Value::Object(policy.defaults), defaults);
        let bounds = KeyBounds {
            max_budget: NanoUsd::from_usd(100.0),
            budget_duration: Some("10d".to_owned()),
            duration: Some("90d".to_owned()),
            tpm: Some(1_000),
            rpm: Some(0),
            max_parallel: Some(4),
        };
        assert_eq!(policy.bounds, bounds);
    }

    #[test]
    fn what_no_key_could_be_given_is_a_fault() {
        for wrong in
            ["max_budget: lots", "duration: soon", "budget_duration: -1d", "tpm_limit: 1.5", "rpm_limit: -1"]
        {
            for section in ["default", "upperbound"] {
                let yaml = format!("litellm_settings: {{{section}_key_generate_params: {{{wrong}}}}}");
                assert_eq!(faults(&yaml, &[]).len(), 1, "{yaml}");
            }
        }
    }
}

mod models {
    use super::*;

    #[test]
    fn a_region_that_aws_does_not_have_is_a_fault_where_its_host_would_be_asked() {
        let cases: [(&str, &str, Variables<'_>, &str); 8] = [
            (
                "model: bedrock/a.b, aws_region_name: us-wst-2",
                "",
                &[],
                "litellm_params.aws_region_name: \"us-wst-2\"",
            ),
            ("model: bedrock/us-east-9/a.b", "", &[], "litellm_params.model: \"us-east-9\""),
            (
                "model: 'bedrock/arn:aws:bedrock:us-weast-2:1:inference-profile/x'",
                "",
                &[],
                "litellm_params.model",
            ),
            ("model: bedrock/a.b, aws_region_name: us-gov-west-1", "", &[], ""),
            ("model: bedrock/a.b, aws_region_name: us-west-9", "us-west-9", &[], ""),
            ("model: bedrock/a.b, aws_region_name: us-west-9, api_base: 'https://h'", "", &[], ""),
            ("model: bedrock/a.b, aws_region_name: us-west-9", "", &[("AWS_ENDPOINT_URL", "http://h")], ""),
            (
                "model: bedrock/a.b, aws_region_name: us-west-9",
                "",
                &[("AWS_BEDROCK_RUNTIME_ENDPOINT", "http://h")],
                "",
            ),
        ];
        for (params, further, environment, expected) in cases {
            let yaml = format!(
                "model_list: [{{model_name: m, litellm_params: {{{params}}}}}]
bedgate_settings: {{aws: {{further_regions: [{further}]}}}}"
            );
            let found = faults(&yaml, environment);
            assert_eq!(found.len(), usize::from(!expected.is_empty()), "{params}: {found:?}");
            assert!(found.join("").contains(expected), "{params}: {found:?}");
        }
        let typed = faults(
            "model_list: [{model_name: m, litellm_params: {model: bedrock/a.b, aws_region_name: us-wst-2}}]",
            &[],
        );
        assert!(
            typed[0].contains("did you mean us-west-2?") && typed[0].contains("further_regions"),
            "{typed:?}"
        );
    }

    #[test]
    fn the_region_is_the_parameter_else_the_arns_else_the_paths() {
        let arn = "arn:aws:bedrock:eu-west-1:123456789012:provisioned-model/x";
        let cases = [
            (format!("model: bedrock/us-east-2/{arn}, aws_region_name: ap-south-1"), Some("ap-south-1")),
            (format!("model: bedrock/us-east-2/{arn}"), Some("eu-west-1")),
            ("model: bedrock/us-east-2/a.b".to_owned(), Some("us-east-2")),
            (format!("model: bedrock/us-east-2/a.b, model_id: '{arn}'"), Some("eu-west-1")),
            ("model: bedrock/us-east-2/a.b, model_id: c".to_owned(), Some("us-east-2")),
            ("model: bedrock/a.b".to_owned(), None),
        ];
        for (params, expected) in cases {
            let yaml = format!("model_list: [{{model_name: m, litellm_params: {{{params}}}}}]");
            let config = config(&yaml, &[("AWS_REGION", "ca-central-1")]);
            let region = config.deployments[0].region.as_ref();
            assert_eq!(region.map(|region| region.as_str()), expected, "{params}");
            assert_eq!(config.aws.default_region.as_str(), "ca-central-1");
        }
    }

    #[test]
    fn a_model_id_replaces_the_id_and_leaves_the_price() {
        let arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/x";
        let yaml = format!(
            "model_list:
- {{model_name: m, litellm_params: {{model: bedrock/converse/a.b, model_id: bedrock/{arn}}}}}
- {{model_name: m, litellm_params: {{model: bedrock/{arn}}}, model_info: {{base_model: bedrock/c.d}}}}
- {{model_name: m, litellm_params: {{model: bedrock/{arn}}}}}"
        );
        let config = config(&yaml, &[]);
        let ids: Vec<_> =
            config.deployments.iter().map(|d| (d.model_id.as_str(), d.base_model.as_deref())).collect();
        assert_eq!(ids, [(arn, Some("a.b")), (arn, Some("c.d")), (arn, None)]);
    }

    #[test]
    fn own_prices_are_exact_wherever_and_however_written() {
        let yaml = r#"
model_list:
- model_name: m
  litellm_params:
    model: bedrock/a.b
    input_cost_per_token: 3e-06
    output_cost_per_token: "0.000015"
    input_cost_per_token_above_200k_tokens: os.environ/PRICE
  model_info:
    input_cost_per_token: 9
    cache_read_input_token_cost: 0.0000003
    cache_creation_input_token_cost_above_1hr: 6.0e-06
    output_cost_per_image: 0.04
    max_tokens: 4096
    search_context_cost_per_query: {search_context_size_low: 0.01}
"#;
        let config = config(yaml, &[("PRICE", "6e-6")]);
        let expected = [
            ("input_cost_per_token", 3_000_000),
            ("output_cost_per_token", 15_000_000),
            ("input_cost_per_token_above_200k_tokens", 6_000_000),
            ("cache_read_input_token_cost", 300_000),
            ("cache_creation_input_token_cost_above_1hr", 6_000_000),
            ("output_cost_per_image", 40_000_000_000),
        ];
        let expected = expected.map(|(field, price)| (field.to_owned(), price)).into();
        assert_eq!(config.deployments[0].prices, expected);
        assert_eq!(config.deployments[0].model_info["max_tokens"], 4096);
    }

    #[test]
    fn weights_count_within_a_name() {
        let entry = |name: &str, params: &str| {
            format!("{{model_name: {name}, litellm_params: {{model: bedrock/a.b, {params}}}}}")
        };
        let entries =
            [entry("a", "weight: 0.5"), entry("b", "rpm: 7"), entry("a", "weight: 1"), entry("c", "")];
        let config = config(&format!("model_list: [{}]", entries.join(", ")), &[]);
        let weights: Vec<_> = config.deployments.iter().map(|d| d.weight).collect();
        assert_eq!(weights, [500_000, 7, 1_000_000, 1]);
    }

    #[test]
    fn ids_are_stable_and_unique() {
        let entry = "{model_name: m, litellm_params: {model: bedrock/a.b}}";
        let ids = |yaml: &str| config(yaml, &[]).deployments.into_iter().map(|d| d.id).collect::<Vec<_>>();
        let first = ids(&format!("model_list: [{entry}, {entry}]"));
        assert_ne!(first[0], first[1]);
        assert_eq!(first, ids(&format!("model_list: [{entry}, {entry}]")));
        assert_eq!(first[0], ids(&format!("model_list: [{entry}]"))[0]);
        let same = "{model_name: m, litellm_params: {model: bedrock/a.b}, model_info: {id: one}}";
        let faults = faults(&format!("model_list: [{same}, {same}]"), &[]);
        assert_eq!(
            faults,
            ["config.yaml: model_list[1].model_info.id: is the id of another entry too; give each its own"]
        );
    }

    #[test]
    fn order_is_last_unless_named() {
        assert_eq!(deployment("", &[]).order, UNORDERED);
        assert_eq!(deployment("order: 1", &[]).order, 1);
    }
}

mod identities {
    use super::*;

    /// What the identity holds, in words.
    fn words(identity: &IdentityConfig) -> String {
        let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        let parts = [
            ("key", identity.access_key_id.clone()),
            ("secret", secret(&identity.secret_access_key)),
            ("token", secret(&identity.session_token)),
            ("profile", identity.profile_name.clone()),
            ("role", identity.role_arn.clone()),
            ("session", identity.session_name.clone()),
            ("external", identity.external_id.clone()),
            ("web", secret(&identity.web_identity_token)),
            ("sts", identity.sts_endpoint.as_ref().map(ToString::to_string)),
            ("bearer", secret(&identity.bearer_token)),
        ];
        let words: Vec<_> =
            parts.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
        words.join(" ")
    }

    #[test]
    fn parameters_count_before_variables_and_variables_fill_in() {
        let keys = "aws_access_key_id: K, aws_secret_access_key: S";
        let with_token = "aws_access_key_id: K, aws_secret_access_key: S, aws_session_token: T";
        let all = "aws_role_name: R, aws_session_name: N, aws_external_id: X, aws_web_identity_token: /t, \
                   aws_sts_endpoint: 'https://sts.example.com'";
        let role: &[(&str, &str)] =
            &[("AWS_ROLE_NAME", "ER"), ("AWS_SESSION_NAME", "EN"), ("AWS_EXTERNAL_ID", "EX")];
        let cases: &[(&str, Variables<'_>, &str)] = &[
            ("", &[], ""),
            ("", &[("AWS_ACCESS_KEY_ID", "EK"), ("AWS_SECRET_ACCESS_KEY", "ES")], ""),
            (keys, &[], "key=K secret=S"),
            (with_token, &[], "key=K secret=S token=T"),
            (keys, &[("AWS_SESSION_TOKEN", "ET")], "key=K secret=S"),
            ("aws_access_key_id: K", &[("AWS_SECRET_ACCESS_KEY", "ES")], "key=K secret=ES"),
            (
                "aws_access_key_id: os.environ/A, aws_secret_access_key: os.environ/B",
                &[("A", "1"), ("B", "2")],
                "key=1 secret=2",
            ),
            (all, &[], "role=R session=N external=X web=/t sts=https://sts.example.com/"),
            ("aws_profile_name: P", &[("AWS_PROFILE_NAME", "EP")], "profile=P"),
            ("", &[("AWS_PROFILE_NAME", "EP")], "profile=EP"),
            (keys, &[("AWS_PROFILE_NAME", "EP")], "key=K secret=S"),
            ("", role, "role=ER session=EN external=EX"),
            ("aws_role_name: R", role, "role=R session=EN external=EX"),
            (
                "aws_role_name: R",
                &[("AWS_WEB_IDENTITY_TOKEN", "/e"), ("AWS_STS_ENDPOINT", "http://sts")],
                "role=R web=/e sts=http://sts/",
            ),
            ("", &[("AWS_WEB_IDENTITY_TOKEN", "/e")], ""),
            ("aws_role_name: R, aws_web_identity_token: oidc/file//t", &[], "role=R web=/t"),
            ("aws_role_name: R, aws_web_identity_token: oidc/env/W", &[("W", "jwt")], "role=R web=jwt"),
            ("aws_role_name: R", &[("AWS_WEB_IDENTITY_TOKEN", "oidc/file//t")], "role=R web=/t"),
            ("api_key: B", &[("AWS_BEARER_TOKEN_BEDROCK", "EB")], "bearer=B"),
            ("", &[("AWS_BEARER_TOKEN_BEDROCK", "EB")], "bearer=EB"),
            (keys, &[("AWS_BEARER_TOKEN_BEDROCK", "EB")], "key=K secret=S"),
            ("aws_role_name: R", &[("AWS_BEARER_TOKEN_BEDROCK", "EB")], "role=R"),
            ("aws_role_name: ''", &[], ""),
        ];
        for (params, environment, expected) in cases {
            let identity = deployment(params, environment).identity;
            assert_eq!(words(&identity), *expected, "{params} {environment:?}");
        }
    }

    #[test]
    fn the_default_identity_is_what_the_sdks_do_not_read_themselves() {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "EK"),
            ("AWS_SECRET_ACCESS_KEY", "ES"),
            ("AWS_ROLE_NAME", "ER"),
            ("AWS_BEARER_TOKEN_BEDROCK", "EB"),
        ];
        assert_eq!(words(&config("", &variables).aws.default_identity), "role=ER bearer=EB");
        assert_eq!(deployment("", &variables).identity, config("", &variables).aws.default_identity);
    }

    #[test]
    fn session_tags_are_pairs() {
        let expected = vec![("team".to_owned(), "search".to_owned()), ("cost".to_owned(), "42".to_owned())];
        let tags = "aws_session_tags: [{Key: team, Value: search}, {Key: cost, Value: 42}]";
        assert_eq!(deployment(tags, &[]).identity.session_tags, expected);
    }

    #[test]
    fn a_named_credential_fills_in_what_the_entry_leaves_out() {
        let config = config(
            "
model_list:
- {model_name: m, litellm_params: {model: bedrock/a.b, litellm_credential_name: c, aws_region_name: eu-west-1}}
credential_list:
- credential_name: c
  credential_values: {aws_role_name: R, aws_region_name: us-east-1}
  credential_info: {description: ours}
",
            &[],
        );
        assert_eq!(words(&config.deployments[0].identity), "role=R");
        assert_eq!(config.deployments[0].region.as_ref().unwrap().as_str(), "eu-west-1");
        assert_eq!(config.ignored, Vec::<String>::new());
    }
}

mod master_keys {
    use super::*;

    #[test]
    fn the_master_key_comes_from_the_file_or_the_environment() {
        let cases: [(&str, Variables<'_>, &str); 6] = [
            ("general_settings: {master_key: sk-1}", &[], "sk-1"),
            ("general_settings: {master_key: 1234}", &[], "1234"),
            ("general_settings: {master_key: os.environ/K}", &[("K", "sk-1")], "sk-1"),
            ("general_settings: {master_key: sk-1}", &[("LITELLM_MASTER_KEY", "")], "sk-1"),
            ("", &[("LITELLM_MASTER_KEY", "sk-1")], "sk-1"),
            ("", &[("BEDGATE_MASTER_KEY", "sk-1"), ("LITELLM_MASTER_KEY", "sk-1")], "sk-1"),
        ];
        for (yaml, environment, expected) in cases {
            let key = config(yaml, environment).master_key.unwrap();
            assert_eq!(key.expose(), expected, "{yaml} {environment:?}");
        }
    }

    #[test]
    fn nothing_that_was_meant_to_be_a_master_key_ends_in_open_mode() {
        let cases: [(&str, &[(&str, &str)]); 19] = [
            ("", &[("LITELLM_MASTER_KEY", "")]),
            ("", &[("BEDGATE_MASTER_KEY", " ")]),
            ("", &[("BEDGATE_MASTER_KEY", "sk-1"), ("LITELLM_MASTER_KEY", "sk-2")]),
            ("general_settings: {master_key: sk-1}", &[("LITELLM_MASTER_KEY", "sk-2")]),
            ("general_settings: {master_key: ''}", &[]),
            ("general_settings: {master_key: '  '}", &[]),
            ("general_settings: {master_key: }", &[]),
            ("general_settings: {master_key: true}", &[]),
            ("general_settings: {master_key: [sk-1]}", &[]),
            ("general_settings: {master_key: os.environ/K}", &[]),
            ("general_settings: {master_key: os.environ/K}", &[("K", "")]),
            ("general_settings: {masterkey: sk-1}", &[]),
            ("general_settings: {MASTER_KEY: sk-1}", &[]),
            ("general_setting: {master_key: sk-1}", &[]),
            ("generalsettings: {master_key: sk-1}", &[]),
            ("general_settings: sk-1", &[]),
            ("general_settings: {custom_auth: my_module.check}", &[]),
            ("general_settings: {enable_jwt_auth: true}", &[]),
            ("environment_variables: {LITELLM_MASTER_KEY: ''}", &[]),
        ];
        for (yaml, environment) in cases {
            assert!(!faults(yaml, environment).is_empty(), "{yaml} {environment:?}");
        }
        let off = config("general_settings: {enable_jwt_auth: false}", &[]);
        assert_eq!((off.ignored, off.not_in_force), (Vec::<String>::new(), Vec::new()));
        let beside = config("general_settings: {enable_jwt_auth: true, master_key: sk-1}", &[]);
        assert_eq!(beside.not_in_force[0].places, ["config.yaml: general_settings.enable_jwt_auth"]);
    }

    #[test]
    fn no_secret_shows_in_debug_or_in_a_fault() {
        let secrets = "
model_list:
- model_name: m
  litellm_params:
    model: bedrock/a.b
    aws_access_key_id: AKIA
    aws_secret_access_key: SECRET-1
    aws_session_token: SECRET-2
    aws_role_name: r
    aws_web_identity_token: SECRET-3
    api_key: SECRET-4
general_settings: {master_key: SECRET-5, database_url: 'postgres://u:SECRET-6@h/d'}
environment_variables: {A: SECRET-7}
";
        let config = config(secrets, &[("B", "SECRET-8")]);
        assert_eq!(config.deployments.len(), 1);
        assert!(!format!("{config:?}").contains("SECRET"));
        let environment: Environment = [("B", "SECRET-8")].into();
        assert!(!format!("{environment:?}").contains("SECRET"));
        let wrong = "
model_list:
- model_name: m
  litellm_params:
    model: bedrock/a.b
    aws_secret_access_key: 1.5
    aws_session_token: [SECRET-2]
    api_base: https://user:SECRET-3@host
    aws_region_name: os.environ/B
general_settings: {master_key: SECRET-5, database_url: 'mysql://u:SECRET-6@h/d'}
";
        let environment = [("B", "SECRET-8"), ("LITELLM_MASTER_KEY", "SECRET-9")];
        let faults = faults(wrong, &environment).join("\n");
        assert!(faults.lines().count() >= 6 && !faults.contains("SECRET"), "{faults}");
    }
}

mod environments {
    use super::*;

    #[test]
    fn the_variables_of_the_sdks_count() {
        let config = config(
            "bedgate_settings: {aws: {use_fips: false}, server: {port: 1, host: a, data_dir: a}}",
            &[
                ("AWS_REGION_NAME", ""),
                ("AWS_REGION", "eu-central-1"),
                ("AWS_DEFAULT_REGION", "us-east-1"),
                ("AWS_ENDPOINT_URL", "http://localhost:1"),
                ("AWS_ENDPOINT_URL_BEDROCK_AGENT_RUNTIME", "http://localhost:2"),
                ("AWS_BEDROCK_RUNTIME_ENDPOINT", "http://localhost:3"),
                ("AWS_ENDPOINT_URL_STS", "http://localhost:4"),
                ("AWS_USE_FIPS_ENDPOINT", "true"),
                ("AWS_USE_DUALSTACK_ENDPOINT", "TRUE"),
                ("SSL_CERT_FILE", "/etc/ssl/cert.pem"),
                ("BEDGATE_HOST", "::1"),
                ("BEDGATE_PORT", "0"),
                ("BEDGATE_DATA_DIR", "/var/lib/bedgate"),
                ("DATABASE_URL", "postgres://h/d"),
            ],
        );
        assert_eq!(config.aws.default_region.as_str(), "eu-central-1");
        assert_eq!(config.aws.endpoint_url.unwrap().as_str(), "http://localhost:1/");
        assert_eq!(config.aws.endpoint_urls[&Service::BedrockAgentRuntime].as_str(), "http://localhost:2/");
        assert_eq!(config.aws.endpoint_urls[&Service::BedrockRuntime].as_str(), "http://localhost:3/");
        assert_eq!(config.aws.endpoint_urls.len(), 2);
        assert_eq!(config.aws.sts_endpoint_url.unwrap().as_str(), "http://localhost:4/");
        assert!(config.aws.use_fips && config.aws.use_dualstack);
        assert_eq!(config.aws.ca_bundle.unwrap(), Path::new("/etc/ssl/cert.pem"));
        assert_eq!((config.server.host.as_deref(), config.server.port), (Some("::1"), 0));
        assert_eq!(config.server.data_dir, Path::new("/var/lib/bedgate"));
        assert!(config.database.url.is_some());
    }

    #[test]
    fn environment_variables_of_the_file_go_over_the_environment() {
        let yaml = "environment_variables: {AWS_REGION: eu-west-1, AWS_CA_BUNDLE: os.environ/BUNDLE}";
        let config = config(yaml, &[("AWS_REGION", "us-east-1"), ("BUNDLE", "/b.pem")]);
        assert_eq!(config.aws.default_region.as_str(), "eu-west-1");
        assert_eq!(config.aws.ca_bundle.unwrap(), Path::new("/b.pem"));
        assert_eq!(config.environment_variables.len(), 2);
    }
}

mod own_settings {
    use super::*;

    #[test]
    fn every_setting_of_bedgate_is_read() {
        let config = config(
            "
bedgate_settings:
  access_log: json
  server: {host: 10.0.0.1, port: 80, data_dir: /d, workers: 3, keep_alive: 2m, client_write_timeout: 7, lame_duck: 0, shutdown_grace: 1h,
    tls_cert: /c.pem, tls_key: /k.pem, tls_port: 443,
    http2: {max_concurrent_streams: 8, max_header_list: 9KiB, stream_window: 70000, connection_window: 1MiB, ping_interval: 11, ping_timeout: 12}}
  limits: {max_body: 1MiB, max_buffered: 2MiB, max_buffered_per_key: 1100KiB, max_buffered_unproven: 1200KiB, max_inspected: 3MiB, max_journal: 4MiB, when_journal_full: serve, drain_timeout: 0, drain_bytes: 5MiB, body_timeout: 6}
  bidirectional: {max_event: 5KiB, idle_timeout: 13, max_duration: 14m}
  routing: {allow_unlisted_models: false}
  aws: {further_regions: [us-west-9], use_fips: true, use_dualstack: yes, max_connections: 7, connect_timeout: 800ms, keep_alive: 9}
",
            &[],
        );
        let expected = Config {
            access_log: AccessLog::Json,
            server: ServerConfig {
                host: Some("10.0.0.1".into()),
                port: 80,
                data_dir: "/d".into(),
                workers: 3,
                keep_alive: Duration::from_secs(120),
                client_write_timeout: Duration::from_secs(7),
                lame_duck: Duration::ZERO,
                shutdown_grace: Duration::from_secs(3600),
                tls: Some(TlsConfig { certificate: "/c.pem".into(), key: "/k.pem".into(), port: Some(443) }),
                http2: Http2Config {
                    max_concurrent_streams: 8,
                    max_header_list_bytes: 9 << 10,
                    stream_window: 70_000,
                    connection_window: 1 << 20,
                    ping_interval: Duration::from_secs(11),
                    ping_timeout: Duration::from_secs(12),
                },
            },
            limits: LimitsConfig {
                max_body_bytes: 1 << 20,
                max_buffered_bytes: 2 << 20,
                max_buffered_per_key_bytes: 1100 << 10,
                max_buffered_unproven_bytes: 1200 << 10,
                max_inspected_bytes: 3 << 20,
                max_journal_bytes: 4 << 20,
                when_journal_full: WhenJournalFull::Serve,
                drain_timeout: Duration::ZERO,
                drain_bytes: 5 << 20,
                body_timeout: Duration::from_secs(6),
            },
            bidirectional: BidirectionalConfig {
                max_event_bytes: 5 << 10,
                idle_timeout: Duration::from_secs(13),
                max_duration: Duration::from_secs(14 * 60),
            },
            routing: RoutingConfig { allow_unlisted_models: false, ..RoutingConfig::default() },
            aws: AwsConfig {
                further_regions: vec!["us-west-9".parse().unwrap()],
                use_fips: true,
                use_dualstack: true,
                max_connections: 7,
                connect_timeout: Duration::from_millis(800),
                keep_alive: Duration::from_secs(9),
                ..AwsConfig::default()
            },
            ..Config::default()
        };
        assert_eq!(config, expected);
        for (written, expected) in
            [("off", AccessLog::Off), ("false", AccessLog::Off), ("text", AccessLog::Text)]
        {
            assert_eq!(
                super::config(&format!("bedgate_settings: {{access_log: {written}}}"), &[]).access_log,
                expected
            );
        }
    }
}

mod multipliers {
    use super::*;
    use crate::domain::UnixMicros;
    use crate::pricing::{DearerOrCheaper, TierMultiplier};

    #[test]
    fn a_deployments_own_multipliers_count_before_the_general_ones_tier_by_tier() {
        let text = "
model_list:
  - {model_name: a, litellm_params: {model: bedrock/x.y, tier_multipliers: [{tier: flex, multiplier: 0.4, from: 1970-01-02}]}}
  - {model_name: b, litellm_params: {model: bedrock/x.y}, model_info: {tier_multipliers: []}}
bedgate_settings:
  prices:
    tier_multipliers:
      - {tier: flex, multiplier: 0.5, from: 2026-11-01}
      - {tier: priority, multiplier: '1.75', from: 2026-11-01}";
        let config = config(text, &[]);
        assert_eq!(config.ignored, Vec::<String>::new());
        let of = |place: usize| {
            let shown = config.deployments[place].tier_multipliers.iter().map(ToString::to_string);
            shown.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(of(0), "× 0.4 (flex, from 1970-01-02), × 1.75 (priority, from 2026-11-01)");
        assert_eq!(of(1), "× 0.5 (flex, from 2026-11-01), × 1.75 (priority, from 2026-11-01)");
        let own = &config.deployments[0].tier_multipliers;
        let day = UnixMicros(86_400_000_000);
        assert_eq!(TierMultiplier::in_force(own, DearerOrCheaper::Flex, day), own.first());
        assert_eq!(TierMultiplier::in_force(own, DearerOrCheaper::Flex, UnixMicros(day.0 - 1)), None);
        assert_eq!(config.tier_multipliers.len(), 2);
    }

    #[test]
    fn what_is_no_dated_multiplier_is_a_fault() {
        for (entry, fault) in [
            ("{tier: flex, multiplier: 0.5}", "lacks a part"),
            ("{tier: fast, multiplier: 0.5, from: 2026-11-01}", "expected priority, flex, reserved"),
            ("{tier: flex, multiplier: -1, from: 2026-11-01}", "expected a number from 0 to 100"),
            ("{tier: flex, multiplier: 0.0000001, from: 2026-11-01}", "at most six decimals"),
            ("{tier: flex, multiplier: 101, from: 2026-11-01}", "expected a number from 0 to 100"),
            ("{tier: flex, multiplier: 0.5, from: soon}", "expected a day such as"),
            ("{tier: flex, multiplier: 0.5, from: 2026-11-01, model: x}", "is not a setting"),
            (
                "{tier: flex, multiplier: 1, from: 2026-11-01}, {tier: flex, multiplier: 2, from: 2026-11-01}",
                "is the second",
            ),
            ("flex", "expected a map"),
        ] {
            let found =
                faults(&format!("bedgate_settings: {{prices: {{tier_multipliers: [{entry}]}}}}"), &[]);
            assert!(
                !found.is_empty() && found.iter().any(|found| found.contains(fault)),
                "{entry}: {found:?}"
            );
        }
    }
}

mod budgets {
    use super::*;
    use crate::domain::{NanoUsd, Zone};

    #[test]
    fn litellms_settings_for_customers_and_the_time_zone_count() {
        let text = "litellm_settings: {max_end_user_budget: 0.5, max_end_user_budget_id: trial, timezone: Europe/Berlin}";
        let config = config(text, &[]);
        assert_eq!(config.ignored, Vec::<String>::new());
        assert_eq!(config.budgets.max_end_user_budget, Some(NanoUsd(500_000_000)));
        assert_eq!(config.budgets.max_end_user_budget_id.as_deref(), Some("trial"));
        assert_eq!(Some(config.budgets.zone), Zone::named("Europe/Berlin"));
        let [fault] = faults("litellm_settings: {timezone: Europe/Atlantis}", &[]).try_into().unwrap();
        assert!(fault.contains("expected a time zone of the IANA database"), "{fault}");
    }

    #[test]
    fn a_journal_too_small_for_its_workers_is_a_fault() {
        let with = |max_journal: u64, workers: u16| {
            let limits = format!("limits: {{max_journal: {max_journal}}}");
            faults(&format!("bedgate_settings: {{{limits}, server: {{workers: {workers}}}}}"), &[])
        };
        let least = crate::journal::least_bytes(8);
        assert_eq!(with(least, 8), Vec::<String>::new());
        let [fault] = with(least - 1, 8).try_into().unwrap();
        assert!(fault.starts_with("config.yaml: bedgate_settings.limits.max_journal: is below"), "{fault}");
        assert!(fault.contains(&least.to_string()) && fault.contains("8 workers"), "{fault}");
        assert_eq!(with(least, 9).len(), 1);
    }
}

mod wrong {
    use super::*;

    #[test]
    fn the_certificate_and_its_key_come_together_and_the_environment_goes_first() {
        let yaml = "bedgate_settings: {server: {tls_cert: /file.pem, tls_key: /file.key}}";
        let tls = |environment: &[(&str, &str)]| config(yaml, environment).server.tls.unwrap();
        let files = |certificate: &str, key: &str, port| TlsConfig {
            certificate: certificate.into(),
            key: key.into(),
            port,
        };
        assert_eq!(tls(&[]), files("/file.pem", "/file.key", None));
        let of_litellm = [("SSL_CERTFILE_PATH", "/litellm.pem"), ("SSL_KEYFILE_PATH", "/litellm.key")];
        assert_eq!(tls(&of_litellm), files("/litellm.pem", "/litellm.key", None));
        let own =
            [("BEDGATE_TLS_CERT", "/own.pem"), ("BEDGATE_TLS_KEY", "/own.key"), ("BEDGATE_TLS_PORT", "0")];
        assert_eq!(tls(&[of_litellm.as_slice(), &own].concat()), files("/own.pem", "/own.key", Some(0)));
        assert_eq!(config("", &[]).server.tls, None);
    }

    #[test]
    fn bounds_that_http2_cannot_have_are_faults() {
        let yaml = "
bedgate_settings:
  server:
    http2: {max_concurrent_streams: 10001, max_header_list: 4GiB, stream_window: 1KiB, connection_window: 2GiB, ping_timeout: 0}
";
        let faults = parse(yaml, &Environment::default()).unwrap_err().to_string();
        for key in [
            "max_concurrent_streams",
            "max_header_list",
            "stream_window",
            "connection_window",
            "ping_timeout",
        ] {
            assert!(faults.contains(&format!("server.http2.{key}: expected ")), "{key}: {faults}");
        }
    }

    #[test]
    fn bounds_of_streams_that_no_stream_could_keep_are_faults() {
        for (max_event, is_fault) in
            [("4095", true), ("4KiB", false), ("24MiB", false), ("25165825", true), ("0", true)]
        {
            let yaml = format!("bedgate_settings: {{bidirectional: {{max_event: {max_event}}}}}");
            let parsed = parse(&yaml, &Environment::default());
            let faults = parsed.map_or_else(|faults| faults.to_string(), |_| String::new());
            assert_eq!(
                faults.contains("bidirectional.max_event: expected "),
                is_fault,
                "{max_event}: {faults}"
            );
        }
        for key in ["idle_timeout", "max_duration"] {
            let yaml = format!("bedgate_settings: {{bidirectional: {{{key}: 0}}}}");
            let faults = parse(&yaml, &Environment::default()).unwrap_err().to_string();
            assert!(faults.contains(&format!("bidirectional.{key}: expected ")), "{faults}");
        }
    }

    #[test]
    fn a_wrong_config_names_all_its_faults_at_once() {
        let yaml = "
model_list:
  - model_name: fine
    litellm_params: {model: bedrock/a.b}
  - litellm_params: {model: bedrock/a.b}
  - model_name: no-model
    litellm_params: {aws_region_name: us-east-1}
  - model_name: no-params
  - model_name: many
    litellm_params:
      model: bedrock/a.b
      aws_region_name: 'us-east-1.evil.example.com/'
      aws_access_key_id: os.environ/TEAM_KEY
      aws_secret_access_key: secret
      aws_role_nam: arn:aws:iam::1:role/x
      api_base: host:443
      timeout: soon
      weight: -1
      input_cost_per_token: cheap
      litellm_credential_name: nobody
    model_info: {output_cost_per_token: -0.1, id: {}}
  - model_name: strange
    litellm_params: {model: bedrock/foo/bar}
  - model_name: one
    litellm_params: {model: bedrock/*}
  - model_name: token
    litellm_params: {model: bedrock/a.b, aws_web_identity_token: oidc/google/x}
  - just a text
general_settings:
  master_key: os.environ/MASTER_KEY
  database_url: mysql://u:p@h/d
  database_connection_pool_limit: 0
  litellm_key_header_name: 'my key'
router_settings:
  num_retries: 1000
  timeout: 0
  fallbacks: [other]
  model_group_alias: [a]
router_setings: {}
environment_variables: {A: os.environ/NOT_SET}
bedgate_settings:
  acces_log: json
  server: {prot: 80, port: 99999, workers: 5000}
  limits: {max_body: 1GiB, colour: blue}
  aws: {max_connections: 0}
";
        let environment = [("AWS_REGION", "Mars"), ("LITELLM_MASTER_KEY", ""), ("BEDGATE_PORT", "http")];
        let faults = parse(yaml, &environment.into()).unwrap_err();
        insta::assert_snapshot!(faults.to_string(), @r#"
        the configuration has 37 faults:
          config.yaml: environment_variables.A: the environment variable NOT_SET is not set; set it or remove this key
          config.yaml: general_settings.master_key: the environment variable MASTER_KEY is not set; set it or remove this key
          environment: LITELLM_MASTER_KEY: is set but empty; give it a value, or unset it to let anyone call
          config.yaml: general_settings.database_connection_pool_limit: expected a whole number from 1, found "0"
          config.yaml: general_settings.database_url: expected postgres://user:password@host:5432/database; unset it to use SQLite
          config.yaml: general_settings.litellm_key_header_name: expected the name of an HTTP header
          config.yaml: bedgate_settings.server.port: expected a whole number from 0 to 65535, found "99999"
          config.yaml: bedgate_settings.server.workers: expected at most 1024
          config.yaml: bedgate_settings.server.prot: is not a setting of bedgate; did you mean port?
          environment: BEDGATE_PORT: expected a whole number from 0 to 65535, found "http"
          config.yaml: model_list[1].model_name: is missing; it is the name clients call the model by
          config.yaml: model_list[2].litellm_params.model: is missing; write bedrock/<model id>
          config.yaml: model_list[3].litellm_params.model: is missing; write bedrock/<model id>
          config.yaml: model_list[4].litellm_params.litellm_credential_name: no entry of credential_list is named "nobody"
          config.yaml: model_list[4].litellm_params.weight: expected a number from 0, found "-1"
          config.yaml: model_list[4].litellm_params.aws_region_name: expected an AWS region such as us-west-2, found "us-east-1.evil.example.com/"
          config.yaml: model_list[4].litellm_params.api_base: expected a URL such as https://host or http://host:port, without user, query or fragment
          config.yaml: model_list[4].model_info.id: expected a text (in quotes where it looks like a number), found a map
          config.yaml: model_list[4].litellm_params.aws_access_key_id: the environment variable TEAM_KEY is not set; set it or remove this key
          config.yaml: model_list[4].litellm_params.timeout: expected a duration above 0 such as 30s, 5m, 500ms or a number of seconds, found "soon"
          config.yaml: model_list[4].model_info.output_cost_per_token: expected a price in dollars for one unit, from 0, such as 0.000003 or 3e-06, found "-0.1"
          config.yaml: model_list[4].litellm_params.input_cost_per_token: expected a price in dollars for one unit, from 0, such as 0.000003 or 3e-06, found "cheap"
          config.yaml: model_list[4].litellm_params.aws_role_nam: is not a known setting; did you mean aws_role_name?
          config.yaml: model_list[5].litellm_params.model: the part "foo" before a slash is not known; write bedrock/<model id> or bedrock/<ARN>
          config.yaml: model_list[6].litellm_params.model: holds * but model_name does not; write the same wildcard in both
          config.yaml: model_list[7].litellm_params.aws_web_identity_token: this kind of oidc/… is not known; use oidc/env/NAME, oidc/file/PATH or a file's path
          config.yaml: model_list[8]: expected model_name and litellm_params, found a text
          config.yaml: router_settings.timeout: expected a duration above 0 such as 30s, 5m, 500ms or a number of seconds, found "0"
          config.yaml: router_settings.num_retries: expected at most 100
          config.yaml: router_settings.fallbacks[0]: expected a map from a model name to a list of model names
          config.yaml: router_settings.model_group_alias: expected a map from aliases to model names
          config.yaml: bedgate_settings.aws.max_connections: expected a whole number from 1, found "0"
          environment: AWS_REGION: expected an AWS region such as us-west-2, found "Mars"
          config.yaml: bedgate_settings.limits.max_buffered: is below the largest request body; raise it, or lower max_body
          config.yaml: bedgate_settings.limits.colour: is not a setting of bedgate; the settings here are max_body, max_buffered, max_buffered_per_key, max_buffered_unproven, max_inspected, max_journal, drain_bytes, when_journal_full, drain_timeout, body_timeout
          config.yaml: bedgate_settings.acces_log: is not a setting of bedgate; did you mean access_log?
          config.yaml: router_setings: is not a known setting; did you mean router_settings?
        "#);
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        let cases = [
            ("a: [", "line 2 column 1"),
            ("a: 1\na: 2", "duplicate entry"),
            ("- a", "must be a map"),
            ("a: *b", "unknown anchor"),
            ("a: 1\n---\nb: 2", "more than one document"),
            ("? [a]\n: b", "key"),
        ];
        for (yaml, expected) in cases {
            let found = faults(yaml, &[]).join("\n");
            assert!(found.starts_with("config.yaml: ") && found.contains(expected), "{yaml}: {found}");
        }
    }

    #[test]
    fn a_hostile_document_is_refused() {
        let mut laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (next, last) in ('b'..='l').zip('a'..) {
            let aliases = vec![format!("*{last}"); 10].join(",");
            laughs += &format!("{next}: &{next} [{aliases}]\n");
        }
        let deep = format!("a: {}", "[".repeat(1_000));
        let deep_lists = format!("a:\n  {}x", "- ".repeat(10_000));
        let (thousand, aliases) = (vec!["x"; 1_000].join(","), vec!["*a"; 2_000].join(","));
        let wide = format!("a: &a [{thousand}]\nb: [{aliases}]");
        for (case, yaml) in [laughs, deep, deep_lists, wide].iter().enumerate() {
            let found = faults(yaml, &[]).join("");
            assert!(found.contains("limit exceeded"), "{case}: {found}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "([-:,{}&*<!| \\n\\[\\]'\"0-9e.]|model_list|general_settings|bedgate_settings|os.environ/){0,40}") {
        let _ = parse(&text, &Environment::default());
    }
}

mod file_trees {
    use super::*;

    /// A directory with these files.
    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    fn load_in(directory: &tempfile::TempDir, path: &str) -> Result<Config, String> {
        let root = format!("{}/", directory.path().display());
        load(Some(&directory.path().join(path)), &Environment::default())
            .map_err(|faults| faults.to_string().replace(&root, ""))
    }

    fn model(name: &str) -> String {
        format!("model_list: [{{model_name: {name}, litellm_params: {{model: bedrock/a.b}}}}]\n")
    }

    fn names(config: &Config) -> Vec<&str> {
        config.deployments.iter().map(|d| d.model_name.as_str()).collect()
    }

    #[test]
    fn a_directory_is_merged_in_name_order() {
        let two = model("two") + "router_settings: {num_retries: 7, fallbacks: [{one: [two]}]}";
        let one = model("one")
            + "router_settings: {allowed_fails: 9, fallbacks: [{two: [one]}]}\ngeneral_settings:";
        let files = [
            ("20.yml", two.as_str()),
            ("10.yaml", one.as_str()),
            ("30.yaml", ""),
            ("40.yaml", "router_settings: {num_retries: 7}"),
            (".hidden.yaml", "not: [read"),
            ("sub/10.yaml", "not: [read"),
            ("notes.txt", "not: [read"),
        ];
        let config = load_in(&directory(&files), "").unwrap();
        assert_eq!(names(&config), ["one", "two"]);
        assert_eq!((config.routing.num_retries, config.routing.allowed_fails), (7, 9));
        assert_eq!(config.routing.fallbacks.len(), 2);
    }

    #[test]
    fn a_value_that_two_files_set_differently_is_a_fault() {
        let files = [
            ("a.yaml", "router_settings: {num_retries: 1, timeout: 5, fallbacks: []}"),
            ("b.yaml", "router_settings: {num_retries: 2, timeout: 5, fallbacks: {a: b}}"),
        ];
        insta::assert_snapshot!(load_in(&directory(&files), "").unwrap_err(), @r#"
        the configuration has 2 faults:
          b.yaml: router_settings.fallbacks: is set to something else in a.yaml; keep one of the two
          b.yaml: router_settings.num_retries: is set to something else in a.yaml; keep one of the two
        "#);
    }

    #[test]
    fn includes_are_relative_to_the_file_that_names_them() {
        let (main, deep) =
            (model("main") + "include: [sub/deep.yaml, last.yaml]", model("deep") + "include: ../more.yaml");
        let files = [
            ("config.yaml", main.as_str()),
            ("sub/deep.yaml", deep.as_str()),
            ("more.yaml", &model("more")),
            ("last.yaml", &(model("last") + "include: [more.yaml]")),
        ];
        let config = load_in(&directory(&files), "config.yaml").unwrap();
        assert_eq!(names(&config), ["main", "deep", "more", "last"]);
    }

    #[test]
    fn wrong_includes_are_faults_beside_the_others() {
        let files = [
            (
                "config.yaml",
                "include: [gone.yaml, loop.yaml, {}, os.environ/X]\nrouter_settings: {num_retries: x}",
            ),
            ("loop.yaml", "include: [config.yaml]"),
        ];
        insta::assert_snapshot!(load_in(&directory(&files), "config.yaml").unwrap_err(), @r#"
        the configuration has 5 faults:
          config.yaml: include[2]: expected the name of a file, relative to the one that includes it
          config.yaml: include[3]: expected the name of a file, relative to the one that includes it
          config.yaml: include[0]: gone.yaml cannot be read: No such file or directory (os error 2); add it or remove this include
          loop.yaml: include[0]: includes config.yaml in a circle; remove this include
          config.yaml: router_settings.num_retries: expected a whole number from 0 to 4294967295, found "x"
        "#);
    }

    #[test]
    fn a_path_without_a_configuration_is_a_fault() {
        let files = directory(&[("empty/notes.txt", ""), ("latin.yaml", "")]);
        fs::write(files.path().join("latin.yaml"), b"a: \xe9").unwrap();
        fs::write(files.path().join("large.yaml"), vec![b'#'; (4 << 20) + 1]).unwrap();
        fs::write(files.path().join("deep.yaml"), format!("a: {}", "[".repeat(1 << 20))).unwrap();
        let cases = [
            ("deep.yaml", "brackets nest more than 1000 deep"),
            ("empty", "has no file that ends in .yaml or .yml"),
            ("gone.yaml", "cannot be read"),
            ("latin.yaml", "is not UTF-8 from byte 3 on"),
            ("large.yaml", "is larger than 4 MiB"),
        ];
        for (path, expected) in cases {
            let found = load_in(&files, path).unwrap_err();
            assert!(found.contains(expected), "{path}: {found}");
        }
    }
}
