//! Every entry of the list, family by family: answers in AWS's shapes that use each kind the entry prices, and what they
//! must cost, worked out from the table's decimals without the code under test. Prints the share of families whose
//! cost is exact: `cargo test --lib families -- --nocapture`.

use std::collections::{BTreeMap, BTreeSet};

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::domain::Service;
use crate::usage::{AnswerFacts, AnswerKind, RequestFacts, UsageReader};

/// One row of the table.
struct Row {
    name: String,
    mode: String,
    prices: BTreeMap<String, String>,
}

/// An answer that uses so many of what some fields price.
struct Probe {
    service: Service,
    operation: &'static str,
    headers: Vec<(&'static str, String)>,
    request: String,
    content_type: &'static str,
    body: Vec<u8>,
    uses: Vec<(String, u64)>,
}

fn rows() -> Vec<Row> {
    let table = include_str!("list-prices.tsv");
    let lines = table.lines().filter(|line| !line.starts_with('#')).skip(1);
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let prices = serde_json::from_str(columns[5]).unwrap();
        Row { name: columns[0].to_owned(), mode: columns[2].to_owned(), prices }
    };
    lines.map(row).collect()
}

impl Row {
    fn id(&self) -> &str {
        self.name.rsplit('/').next().unwrap()
    }

    fn has(&self, field: &str) -> bool {
        self.prices.contains_key(field)
    }

    /// A region in which this row is the first that is found.
    fn region(&self, names: &BTreeSet<String>) -> String {
        let parts: Vec<&str> = self.name.split('/').collect();
        if let ["bedrock" | "bedrock_mantle", region, _] = parts.as_slice() {
            return (*region).to_owned();
        }
        let candidates: &[&str] = if self.id().starts_with("us-gov.") {
            &["us-gov-west-1", "us-gov-east-1"]
        } else {
            &["us-east-1", "us-west-2", "eu-west-3", "ca-west-1"]
        };
        let is_free = |region: &&&str| !names.contains(&format!("bedrock/{region}/{}", self.id()));
        (*candidates.iter().find(is_free).unwrap()).to_owned()
    }

    /// Whether another entry for the same id is found before this one, whatever the region.
    fn is_second(&self, names: &BTreeSet<String>) -> bool {
        self.name.split('/').count() == 2 && names.contains(self.id())
    }

    /// Vendor and line of the model, and what it does where that is not talking: `amazon.nova image_generation`.
    fn family(&self) -> String {
        let without_profile = lookup_base(self.id());
        let (vendor, model) = without_profile.split_once('.').unwrap_or((without_profile, ""));
        let line: String = model.chars().take_while(char::is_ascii_alphabetic).collect();
        let doing = if matches!(self.mode.as_str(), "chat" | "responses") { "" } else { self.mode.as_str() };
        format!("{vendor}.{line} {doing}").trim_end().trim_end_matches('.').to_owned()
    }

    fn probes(&self) -> Vec<Probe> {
        if self.name.contains("-commitment/") {
            return Vec::new();
        }
        match self.mode.as_str() {
            "chat" | "responses" => self.of_tokens(),
            "realtime" => vec![self.of_speech()],
            "embedding" if self.name.contains("marengo") => self.of_marengo(),
            "embedding" => self.of_embeddings(),
            "image_generation" | "image_edit" => self.of_images(),
            "rerank" => {
                let request = r#"{"query":"q","documents":["a","b"]}"#;
                vec![invoke(request, r#"{"results":[]}"#, &[("input_cost_per_query", 1)])]
            }
            "guardrail" => {
                let units = self.prices.keys().zip(2..).map(|(field, count)| (field.clone(), count));
                let uses: Vec<(String, u64)> = units.collect();
                let stated = uses.iter().map(|(field, count)| format!(r#""{}":{count}"#, &field[24..]));
                let body = format!(r#"{{"usage":{{{}}}}}"#, stated.collect::<Vec<_>>().join(","));
                vec![Probe { operation: "ApplyGuardrail", uses, ..invoke("{}", &body, &[]) }]
            }
            other => panic!("{}: {other}", self.name),
        }
    }

    /// All kinds of tokens at the usual length, and beyond each threshold.
    fn of_tokens(&self) -> Vec<Probe> {
        if self.has("input_cost_per_video_per_second") {
            return Vec::new();
        }
        let thresholds = self.prices.keys().filter_map(|field| price_list::threshold_in(field));
        let lengths: BTreeSet<Option<u64>> = std::iter::once(None).chain(thresholds.map(Some)).collect();
        let mut probes: Vec<Probe> = Vec::new();
        for threshold in lengths {
            let suffix = threshold.map(|threshold| format!("_above_{threshold}k_tokens")).unwrap_or_default();
            let input = threshold.map_or(1_001, |threshold| threshold * 1_000 + 1);
            let mut uses = Vec::new();
            let mut count = |field: &str, count: u64| {
                let field = format!("{field}{suffix}");
                // What nothing prices is left out: an entry without prices is free.
                let counted = if self.has(&field) { count } else { 0 };
                if counted > 0 {
                    uses.push((field, counted));
                }
                counted
            };
            let (input, output) = (count("input_cost_per_token", input), count("output_cost_per_token", 101));
            let read = count("cache_read_input_token_cost", 1_003);
            if self.name.starts_with("bedrock_mantle/") {
                let prompt = input + read;
                let body = format!(
                    r#"{{"object":"response","usage":{{"input_tokens":{prompt},"input_tokens_details":{{"cached_tokens":{read}}},"output_tokens":{output}}}}}"#
                );
                let service = Service::BedrockMantle;
                probes.push(Probe {
                    service,
                    operation: "OpenAiResponses",
                    uses,
                    ..invoke("{}", &body, &[])
                });
                continue;
            }
            let five = count("cache_creation_input_token_cost", 505);
            let hour = count("cache_creation_input_token_cost_above_1hr", 207);
            let written = five + hour;
            let body = format!(
                r#"{{"usage":{{"inputTokens":{input},"outputTokens":{output},"cacheReadInputTokens":{read},"cacheWriteInputTokens":{written},"cacheDetails":[{{"ttl":"1h","inputTokens":{hour}}},{{"ttl":"5m","inputTokens":{five}}}]}}}}"#
            );
            let plain: Vec<_> =
                uses.iter().filter(|(field, _)| !field.starts_with("cache")).cloned().collect();
            probes.push(Probe { operation: "Converse", uses, ..invoke("{}", &body, &[]) });
            let headers = vec![
                ("x-amzn-bedrock-input-token-count", input.to_string()),
                ("x-amzn-bedrock-output-token-count", output.to_string()),
            ];
            probes.push(Probe { headers, uses: plain, ..invoke("{}", "{}", &[]) });
        }
        probes
    }

    /// A conversation in speech, which states its usage twice: the last statement counts.
    fn of_speech(&self) -> Probe {
        let uses = [
            ("input_cost_per_token", 1_001),
            ("output_cost_per_token", 203),
            ("input_cost_per_audio_token", 50_007),
            ("output_cost_per_audio_token", 30_011),
        ];
        let frame = |share: u64| {
            let [text_in, text_out, speech_in, speech_out] = uses.map(|(_, count)| count / share);
            let stated = format!(
                r#"{{"event":{{"usageEvent":{{"details":{{"total":{{"input":{{"speechTokens":{speech_in},"textTokens":{text_in}}},"output":{{"speechTokens":{speech_out},"textTokens":{text_out}}}}}}}}}}}}}"#
            );
            let payload = format!(r#"{{"bytes":"{}"}}"#, STANDARD.encode(stated));
            let name = Header::new(":event-type", HeaderValue::String("chunk".into()));
            let mut bytes = Vec::new();
            write_message_to(&Message::new(payload.into_bytes()).add_header(name), &mut bytes).unwrap();
            bytes
        };
        Probe {
            operation: "InvokeModelWithBidirectionalStream",
            content_type: "application/vnd.amazon.eventstream",
            body: [frame(2), frame(1)].concat(),
            ..invoke("", "", &uses)
        }
    }

    fn of_marengo(&self) -> Vec<Probe> {
        let ask = |kind: &str, field| invoke(&format!(r#"{{"inputType":"{kind}"}}"#), "{}", &[(field, 1)]);
        vec![ask("text", "input_cost_per_query"), ask("image", "input_cost_per_image")]
    }

    fn of_embeddings(&self) -> Vec<Probe> {
        let headers = || vec![("x-amzn-bedrock-input-token-count", "1001".to_owned())];
        let text = invoke("{}", r#"{"embedding":[0.1]}"#, &[("input_cost_per_token", 1_001)]);
        let mut probes = vec![Probe { headers: headers(), ..text }];
        if self.has("input_cost_per_image") {
            let request = if self.name.contains("titan") {
                r#"{"inputImage":"aGVsbG8="}"#
            } else {
                r#"{"singleEmbeddingParams":{"image":{"format":"png"}}}"#
            };
            probes.push(invoke(request, r#"{"embedding":[0.1]}"#, &[("input_cost_per_image", 1)]));
        }
        probes
    }

    fn of_images(&self) -> Vec<Probe> {
        let parts: Vec<&str> = self.name.split('/').collect();
        let request = match parts.as_slice() {
            [size, steps, ..] => {
                let side = size.split('-').next().unwrap().parse().unwrap_or(2_048);
                let steps = if *steps == "50-steps" { 50 } else { 60 };
                format!(r#"{{"width":{side},"height":{side},"steps":{steps}}}"#)
            }
            _ => "{}".to_owned(),
        };
        vec![invoke(&request, r#"{"images":["aGVsbG8=","aGVsbG8="]}"#, &[("output_cost_per_image", 2)])]
    }
}

fn invoke(request: &str, body: &str, uses: &[(&str, u64)]) -> Probe {
    Probe {
        service: Service::BedrockRuntime,
        operation: "InvokeModel",
        headers: Vec::new(),
        request: request.to_owned(),
        content_type: "application/json",
        body: body.as_bytes().to_vec(),
        uses: uses.iter().map(|(field, count)| ((*field).to_owned(), *count)).collect(),
    }
}

/// The id without the prefix of a cross-region profile.
fn lookup_base(id: &str) -> &str {
    let prefixes = ["us-gov.", "global.", "apac.", "us.", "eu.", "jp.", "au.", "ca.", "sa.", "me."];
    prefixes.iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id)
}

/// Attodollars of a decimal number of dollars.
fn attodollars(usd: &str) -> i128 {
    let (whole, decimals) = usd.split_once('.').unwrap_or((usd, ""));
    format!("{whole}{decimals:0<18}").parse().unwrap()
}

fn expected(row: &Row, uses: &[(String, u64)]) -> i128 {
    let amount: i128 =
        uses.iter().map(|(field, count)| attodollars(&row.prices[field]) * i128::from(*count)).sum();
    let (nano, rest, half) = (amount / 1_000_000_000, amount % 1_000_000_000, 500_000_000);
    nano + i128::from(rest > half || (rest == half && nano % 2 == 1))
}

fn charge(row: &Row, probe: &Probe, region: &str) -> Charge {
    let kind = AnswerKind::of(&AnswerFacts {
        service: probe.service,
        operation: probe.operation,
        model_id: Some(row.id()),
        status: 200,
        content_type: Some(probe.content_type),
    });
    let facts = RequestFacts::of(probe.request.as_bytes());
    let mut reader = UsageReader::new(kind, 64 * 1024).with_request(facts);
    reader.read_head(|name| {
        probe.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    });
    reader.feed(&probe.body);
    let own = BTreeMap::new();
    let (multipliers, at) = (&[], UnixMicros(0));
    let query = PriceQuery { model_id: row.id(), region, base_model: None, own: &own, multipliers, at };
    PriceBook::builtin().charge(&query, &reader.finish())
}

/// Price fields that no answer of AWS can make count, and why.
fn why_never_charged(row: &Row, field: &str) -> Option<&'static str> {
    Some(match field {
        _ if row.name.contains("-commitment/") => "provisioned throughput is bought by the hour",
        _ if field.ends_with("_batches") => "batch jobs read and write S3",
        _ if field.contains("_per_second") => "AWS does not report the seconds",
        "output_cost_per_token" if row.name.contains("pegasus") => "AWS does not report the seconds",
        "input_cost_per_image_token" | "input_cost_per_audio_token" => {
            "AWS counts them among the input tokens"
        }
        _ if field.starts_with("cache_creation") && row.name.starts_with("bedrock_mantle/") => {
            "the Responses API reports no cache writes"
        }
        _ => return None,
    })
}

#[derive(Default)]
struct Family {
    rows: usize,
    exact_fields: usize,
    missing: BTreeMap<&'static str, usize>,
}

#[test]
fn every_family_of_the_list_is_charged_to_the_nano_dollar() {
    let rows = rows();
    let names: BTreeSet<String> = rows.iter().map(|row| row.name.clone()).collect();
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut answers = 0;
    let mut faults: Vec<String> = Vec::new();
    for row in &rows {
        let (name, region) = (&row.name, row.region(&names));
        let is_second = row.is_second(&names);
        let mut charged: BTreeSet<&str> = BTreeSet::new();
        let probes = if is_second { Vec::new() } else { row.probes() };
        for probe in &probes {
            let charge = charge(row, probe, &region);
            let cost = charge.cost.map(|cost| i128::from(cost.0));
            let expected = expected(row, &probe.uses);
            let is_of_row = charge.price.as_ref().is_none_or(|price| *price.entry == **name);
            if cost != Some(expected) || charge.basis != CostBasis::Exact || !is_of_row {
                faults
                    .push(format!("{name} {} in {region}: {expected} expected: {charge:?}", probe.operation));
            }
            charged.extend(probe.uses.iter().map(|(field, _)| field.as_str()));
            answers += 1;
        }
        let family = families.entry(row.family()).or_default();
        family.rows += 1;
        family.exact_fields += charged.len();
        for field in row.prices.keys().filter(|field| !charged.contains(field.as_str())) {
            let second = is_second.then_some("another entry for the same id is found first");
            match second.or_else(|| why_never_charged(row, field)) {
                Some(why) => *family.missing.entry(why).or_default() += 1,
                None => faults.push(format!("{name}: nothing charges {field}")),
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let is_exact = |family: &&Family| family.exact_fields > 0 || family.missing.is_empty();
    let (exact, all) = (families.values().filter(is_exact).count(), families.len());
    for (name, Family { rows, exact_fields, missing }) in &families {
        println!("{name}: {rows} entries, {exact_fields} prices exact, others: {missing:?}");
    }
    let fields: usize = families.values().map(|family| family.exact_fields).sum();
    let others: usize = families.values().flat_map(|family| family.missing.values()).sum();
    println!(
        "{exact} of {all} families, {} entries, {answers} answers: {fields} prices exact, {others} that no answer shows",
        rows.len()
    );
    let without: Vec<&String> =
        families.iter().filter(|(_, family)| !is_exact(family)).map(|(name, _)| name).collect();
    assert_eq!(without, ["twelvelabs.pegasus"]);
}
