use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::{Config, Credentials, Region};
use aws_sdk_bedrockruntime::types::{ContentBlock, ConversationRole, Message};

/// The pair of the key, from the environment; the endpoint is the gateway's.
pub fn config() -> aws_sdk_bedrockruntime::config::Builder {
    let var = |name: &str| std::env::var(name).expect(name);
    let pair = (var("BEDGATE_ACCESS_KEY_ID"), var("BEDGATE_SECRET_ACCESS_KEY"));
    Config::builder()
        .endpoint_url(format!("{}/bedrock", var("BEDGATE_URL")))
        .region(Region::new("us-west-2"))
        .credentials_provider(Credentials::new(pair.0, pair.1, None, None, "bedgate"))
}

/// Asks, and prints the answer as it comes.
pub async fn ask(client: &Client, model: &str) -> Result<(), aws_sdk_bedrockruntime::Error> {
    let hello = Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text("Hello".into()))
        .build()
        .expect("a role and a content");
    let answer = client.converse_stream().model_id(model).messages(hello).send().await?;
    let mut events = answer.stream;
    while let Some(event) = events.recv().await? {
        if let Some(text) = event.as_content_block_delta().ok().and_then(|e| e.delta()?.as_text().ok()) {
            print!("{text}");
        }
    }
    println!();
    Ok(())
}
