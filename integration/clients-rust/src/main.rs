//! Asks a model through the gateway with the AWS SDK for Rust, and says what came of it: the text on standard output and
//! 0, or the name of the SDK's own error and 1.

mod recipe;
mod talk;

use aws_sdk_bedrockruntime::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{ContentBlock, ConversationRole, Message};
use aws_sdk_bedrockruntime::{Client, Error};
use aws_sdk_bedrockruntime::config::SharedHttpClient;
use aws_smithy_http_client::{Builder, tls};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, call, model, told @ ..] = arguments.as_slice() else {
        eprintln!("usage: bedgate-client-rust CALL MODEL [EVENT…]");
        std::process::exit(2);
    };
    let retries = aws_sdk_bedrockruntime::config::retry::RetryConfig::disabled();
    let mut config = recipe::config().http_client(http_client()).retry_config(retries);
    if let Ok(endpoint) = std::env::var("DIRECT_URL") {
        config = config.endpoint_url(endpoint);
    }
    let client = Client::from_conf(config.build());
    let done = match call.as_str() {
        "converse" => converse(&client, model).await,
        "converse-stream" => recipe::ask(&client, model).await,
        "invoke" => invoke(&client, model).await,
        "invoke-stream" => invoke_stream(&client, model).await,
        "talk" => talk::talk(&client, model, told).await,
        _ => panic!("no such call"),
    };
    if let Err(error) = done {
        let debug = format!("{error:?}");
        let class = debug.split('(').next().unwrap_or_default();
        eprintln!("{class} code={:?}: {}", error.code(), DisplayErrorContext(&error));
        std::process::exit(1);
    }
}

/// Over TLS where a root of trust is given.
fn http_client() -> SharedHttpClient {
    let Ok(root) = std::env::var("BEDGATE_CA") else { return Builder::new().build_http() };
    let pem = std::fs::read(root).expect("a root of trust");
    let store = tls::TrustStore::empty().with_pem_certificate(pem);
    let context = tls::TlsContext::builder().with_trust_store(store).build().expect("a certificate");
    let rustls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
    Builder::new().tls_provider(rustls).tls_context(context).build_https()
}

const BODY: &str = r#"{"anthropic_version": "bedrock-2023-05-31", "max_tokens": 8,
    "messages": [{"role": "user", "content": "Hello"}]}"#;

async fn converse(client: &Client, model: &str) -> Result<(), Error> {
    let content = ContentBlock::Text("Hello".into());
    let hello = Message::builder().role(ConversationRole::User).content(content).build()?;
    let answer = client.converse().model_id(model).messages(hello).send().await?;
    let message = answer.output().and_then(|output| output.as_message().ok());
    let text = message.and_then(|message| message.content().first()?.as_text().ok());
    println!("{}", text.expect("a text"));
    Ok(())
}

async fn invoke(client: &Client, model: &str) -> Result<(), Error> {
    let answer = client.invoke_model().model_id(model).body(Blob::new(BODY)).send().await?;
    println!("{}", String::from_utf8_lossy(answer.body().as_ref()));
    Ok(())
}

async fn invoke_stream(client: &Client, model: &str) -> Result<(), Error> {
    let call = client.invoke_model_with_response_stream().model_id(model);
    let mut events = call.body(Blob::new(BODY)).send().await?.body;
    while let Some(event) = events.recv().await? {
        let chunk = event.as_chunk().ok().and_then(|chunk| chunk.bytes());
        println!("{}", String::from_utf8_lossy(chunk.map(AsRef::as_ref).unwrap_or_default()));
    }
    Ok(())
}
