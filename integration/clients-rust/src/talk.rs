use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::InvokeModelWithBidirectionalStreamInput as Told;
use aws_sdk_bedrockruntime::types::{
    BidirectionalInputPayloadPart, InvokeModelWithBidirectionalStreamOutput as Heard,
};

/// Tells a model these events, each after something was heard of the one before, and prints what is heard.
pub async fn talk(
    client: &Client,
    model: &str,
    told: &[String],
) -> Result<(), aws_sdk_bedrockruntime::Error> {
    let event = |text: &String| {
        let bytes = Blob::new(text.as_bytes());
        Ok(Told::Chunk(BidirectionalInputPayloadPart::builder().bytes(bytes).build()))
    };
    let (say, said) = tokio::sync::mpsc::channel(1);
    let mut left = told.iter();
    if let Some(first) = left.next() {
        say.send(event(first)).await.expect("somebody listens");
    }
    let events = futures_util::stream::unfold(said, async |mut said| Some((said.recv().await?, said)));
    let call = client.invoke_model_with_bidirectional_stream().model_id(model);
    let mut heard = call.body(Box::pin(events).into()).send().await?.body;
    let mut say = Some(say);
    while let Some(Heard::Chunk(part)) = heard.recv().await? {
        let text = part.bytes().map(|bytes| String::from_utf8_lossy(bytes.as_ref()).into_owned());
        let text = text.unwrap_or_default();
        println!("{text}");
        if !text.contains("Output\"") {
            continue;
        }
        match (left.next(), &say) {
            (Some(next), Some(say)) => say.send(event(next)).await.expect("somebody listens"),
            // Nothing more to say: the stream of events ends, and with it the conversation.
            _ => say = None,
        }
    }
    Ok(())
}
