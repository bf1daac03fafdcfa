"""What the tests ask for: bodies and the document's configuration, and reading whole streams with boto3."""

import json

CLAUDE = "us.anthropic.claude-3-5-sonnet-20240620-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "Hello, how are you?"}]}]
# Eight output tokens: the simulator streams one event for each.
CONVERSE = json.dumps({"messages": MESSAGES, "inferenceConfig": {"maxTokens": 8}}).encode()
INVOKE_CLAUDE = json.dumps(
    {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "Hello"}],
    }
).encode()

# The document's "Setup with config.yaml", as it stands there.
DOCUMENT_CONFIG = """\
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
"""

# The document's "Quick Start".
QUICK_START_CONFIG = """\
model_list:
  - model_name: my-bedrock-model
    litellm_params:
      model: bedrock/us.anthropic.claude-3-5-sonnet-20240620-v1:0
      aws_region_name: us-west-2
      custom_llm_provider: bedrock
"""


def deployment(name: str, model: str = CLAUDE, **params: object) -> dict:
    """One entry of model_list."""
    info = params.pop("model_info", None)
    entry = {
        "model_name": name,
        "litellm_params": {"model": f"bedrock/{model}", "aws_region_name": "us-west-2", **params},
    }
    return entry if info is None else {**entry, "model_info": info}


def model_list(*entries: dict, **sections: object) -> dict:
    """A config with these deployments."""
    return {"model_list": list(entries), **sections}


def text_of_stream(answer: dict) -> str:
    """The text of a ConverseStream answer, read to its end."""
    return "".join(
        event["contentBlockDelta"]["delta"].get("text", "")
        for event in answer["stream"]
        if "contentBlockDelta" in event
    )


def completion_of_agent(answer: dict) -> str:
    """The text of an InvokeAgent answer, read as the document reads it."""
    completion = ""
    for event in answer.get("completion"):
        if "chunk" in event:
            completion += event["chunk"]["bytes"].decode()
    return completion
