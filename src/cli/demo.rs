//! `bedgate demo`: the gateway in front of a simulated Bedrock, with an embedded database in a directory that is
//! removed at the end, and a key with an AWS credential pair to try it with.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::serve;
use crate::config::{self, Environment};
use crate::simulator::{self, SimulatorOptions};
use crate::startup::DemoKey;

/// The master key of the examples people paste; a demo listens on loopback only.
const MASTER_KEY: &str = "sk-1234";
/// Simulated AWS credentials, which the simulator checks.
const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";

/// The names that the examples use.
const MODELS: &str = "
model_list:
  - model_name: my-bedrock-model
    litellm_params: &claude
      model: bedrock/us.anthropic.claude-3-5-sonnet-20240620-v1:0
      aws_region_name: us-west-2
  - model_name: my-claude-model
    litellm_params: *claude
  - model_name: my-cohere-model
    litellm_params:
      model: bedrock/cohere.command-r-v1:0
      aws_region_name: us-east-1
";

/// A directory that goes when this does.
pub(super) struct TemporaryDirectory(pub(super) PathBuf);

impl TemporaryDirectory {
    /// Names it; it is made by whoever writes there first.
    pub(super) fn new(purpose: &str) -> Self {
        Self(std::env::temp_dir().join(format!("bedgate-{purpose}-{}", uuid::Uuid::new_v4())))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the demo until it is interrupted.
pub(super) async fn run(port: u16, simulator_port: u16) -> anyhow::Result<ExitCode> {
    let credentials =
        simulator::SimulatedCredentials::new(ACCESS_KEY_ID, &format!("demo-{}", uuid::Uuid::new_v4()));
    let secret = credentials.secret_access_key.clone();
    let options = SimulatorOptions {
        port: simulator_port,
        credentials: vec![credentials],
        ..SimulatorOptions::default()
    };
    let simulator = simulator::start(options).context("cannot start the simulated Bedrock")?;
    let directory = TemporaryDirectory::new("demo");

    let environment = Environment::from([
        ("LITELLM_MASTER_KEY", MASTER_KEY.to_owned()),
        ("BEDGATE_SECRET_KEY", hex::encode(rand::random::<[u8; 32]>())),
        ("AWS_REGION_NAME", "us-west-2".to_owned()),
        ("AWS_ENDPOINT_URL", simulator.url()),
    ]);
    let mut config = config::parse(MODELS, &environment)?;
    config.server.host = Some("127.0.0.1".to_owned());
    config.server.port = port;
    config.server.data_dir = directory.0.clone();
    config.server.lame_duck = std::time::Duration::ZERO;
    for identity in
        config.deployments.iter_mut().map(|d| &mut d.identity).chain([&mut config.aws.default_identity])
    {
        identity.access_key_id = Some(ACCESS_KEY_ID.to_owned());
        identity.secret_access_key = Some(crate::domain::Secret::new(secret.as_str()));
    }
    serve::run(config, async |application| {
        let url = application.urls().into_iter().next().unwrap_or_default();
        let key = application.make_demo_key().await?;
        print!("{}", welcome(&url, &key, &simulator.url()));
        Ok(())
    })
    .await
}

/// What is printed: commands stand at the line's beginning, so that they run as they are pasted.
fn welcome(url: &str, key: &DemoKey, simulator: &str) -> String {
    let DemoKey { key, access_key_id, secret_access_key } = key;
    let (key, secret_access_key) = (key.expose(), secret_access_key.expose());
    format!(
        r#"
*** bedgate demo: Amazon Bedrock is SIMULATED (at {simulator}). No AWS account is used, no model runs. ***

listening on {url}
a virtual key:  {key}          (the master key is {MASTER_KEY})

Try it with curl:

curl {url}/bedrock/model/my-bedrock-model/converse \
  -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \
  -d '{{"messages": [{{"role": "user", "content": [{{"text": "Hello, how are you?"}}]}}], "inferenceConfig": {{"maxTokens": 100}}}}'

With any AWS SDK or tool, as it is: the key's AWS credential pair goes where AWS credentials go. The AWS CLI:

AWS_ACCESS_KEY_ID={access_key_id} \
AWS_SECRET_ACCESS_KEY={secret_access_key} \
aws bedrock-runtime converse --region us-west-2 --endpoint-url {url}/bedrock --model-id my-bedrock-model \
  --messages '[{{"role": "user", "content": [{{"text": "Hello"}}]}}]'

boto3:

python3 - <<'END'
import boto3
client = boto3.client("bedrock-runtime", region_name="us-west-2", endpoint_url="{url}/bedrock",
                      aws_access_key_id="{access_key_id}",
                      aws_secret_access_key="{secret_access_key}")
answer = client.converse(modelId="my-bedrock-model", messages=[{{"role": "user", "content": [{{"text": "Hello"}}]}}])
print(answer["output"]["message"]["content"][0]["text"])
END

Another key with a pair of its own:

curl {url}/key/generate -H 'Authorization: Bearer {MASTER_KEY}' \
  -H 'Content-Type: application/json' -d '{{"aws_credentials": true}}'

With boto3, streaming, by the key alone (it is the access key id; any secret will do):

python3 - <<'END'
import boto3
client = boto3.client("bedrock-runtime", region_name="us-west-2", endpoint_url="{url}/bedrock",
                      aws_access_key_id="{key}", aws_secret_access_key="anything")
answer = client.converse_stream(modelId="my-bedrock-model",
                                messages=[{{"role": "user", "content": [{{"text": "Tell me a short story"}}]}}])
for event in answer["stream"]:
    print(event.get("contentBlockDelta", {{}}).get("delta", {{}}).get("text", ""), end="", flush=True)
print()
END

What it cost:

curl '{url}/spend/logs' -H 'Authorization: Bearer {MASTER_KEY}'
curl '{url}/key/info' -H 'Authorization: Bearer {key}'

Ctrl-C ends the demo; nothing is kept.

"#
    )
}
