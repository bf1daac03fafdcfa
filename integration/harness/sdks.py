"""SDKs as their users have them: each asks once, streams once, and says which class of its own it raises."""

import warnings
from dataclasses import dataclass
from typing import Callable

import anthropic
import boto3
import openai
from botocore.config import Config
from botocore.exceptions import ClientError
from langchain_aws import BedrockEmbeddings, ChatBedrock, ChatBedrockConverse
from openai.lib.bedrock import BedrockOpenAI

from .asking import INVOKE_CLAUDE, MESSAGES, text_of_stream
from .clients import document_client
from .signing import Pair

REGION = "us-west-2"
HELLO = [{"role": "user", "content": "Hello"}]
ONE_TRY = Config(retries={"total_max_attempts": 1}, read_timeout=30, connect_timeout=5)


@dataclass(frozen=True)
class Access:
    """What a user of the gateway was given."""

    url: str
    key: str
    pair: Pair

    @property
    def bedrock(self) -> str:
        """Where Bedrock's API is."""
        return f"{self.url}/bedrock"


@dataclass(frozen=True)
class Way:
    """One way to ask a model: through which client, with which credentials, for which operation."""

    name: str
    operation: str
    """The operation that the spend row names."""
    ask: Callable[[Access, str], str]
    """Asks this model; the text it said."""
    refused: type[Exception]
    """Raised where the gateway says no (403)."""
    throttled: type[Exception]
    """Raised where AWS says 429."""
    code: str | None = None
    """The AWS error code in the exception, for classes that stand for many."""


# --- anthropic -------------------------------------------------------------------------------------------------------------


def _anthropic(path: str = "", **credentials: str):
    def client(access: Access) -> anthropic.Anthropic:
        shown = {name: access.key for name in credentials}
        # The other credential is looked for in the environment, which the tests keep empty.
        return anthropic.Anthropic(base_url=access.url + path, max_retries=0, **shown)

    return client


def _bedrock_by_key(access: Access) -> anthropic.AnthropicBedrock:
    return anthropic.AnthropicBedrock(base_url=access.bedrock, api_key=access.key, aws_region=REGION, max_retries=0)


def _bedrock_by_pair(access: Access) -> anthropic.AnthropicBedrock:
    return anthropic.AnthropicBedrock(
        base_url=access.bedrock,
        aws_access_key=access.pair.access_key_id,
        aws_secret_key=access.pair.secret_access_key,
        aws_region=REGION,
        max_retries=0,
    )


def _message(client):
    def ask(access: Access, model: str) -> str:
        answer = client(access).messages.create(model=model, max_tokens=8, messages=HELLO)
        assert answer.usage.output_tokens > 0
        return answer.content[0].text

    return ask


def _message_stream(client):
    def ask(access: Access, model: str) -> str:
        with client(access).messages.stream(model=model, max_tokens=8, messages=HELLO) as stream:
            text = "".join(stream.text_stream)
            assert stream.get_final_message().stop_reason == "end_turn"
        return text

    return ask


def _of_anthropic(name: str, client, operations: tuple[str, str]) -> list[Way]:
    classes = (anthropic.PermissionDeniedError, anthropic.RateLimitError)
    return [
        Way(f"{name}, unary", operations[0], _message(client), *classes),
        Way(f"{name}, stream", operations[1], _message_stream(client), *classes),
    ]


# --- openai ----------------------------------------------------------------------------------------------------------------


def _openai(path: str):
    return lambda access: openai.OpenAI(base_url=access.url + path, api_key=access.key, max_retries=0)


def _openai_by_pair(path: str):
    return lambda access: BedrockOpenAI(
        base_url=access.url + path,
        aws_access_key_id=access.pair.access_key_id,
        aws_secret_access_key=access.pair.secret_access_key,
        aws_region=REGION,
        max_retries=0,
    )


def _chat(client):
    def ask(access: Access, model: str) -> str:
        answer = client(access).chat.completions.create(model=model, max_tokens=8, messages=HELLO)
        assert answer.usage.completion_tokens > 0
        return answer.choices[0].message.content

    return ask


def _chat_stream(client):
    def ask(access: Access, model: str) -> str:
        chunks = client(access).chat.completions.create(
            model=model, max_tokens=8, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    return ask


def _response(client):
    def ask(access: Access, model: str) -> str:
        return client(access).responses.create(model=model, max_output_tokens=8, input="Hello").output_text

    return ask


def _response_stream(client):
    def ask(access: Access, model: str) -> str:
        with client(access).responses.stream(model=model, max_output_tokens=8, input="Hello") as stream:
            text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            assert stream.get_final_response().status == "completed"
        return text

    return ask


def _of_openai(name: str, client) -> list[Way]:
    classes = (openai.PermissionDeniedError, openai.RateLimitError)
    return [
        Way(f"{name}, chat", "OpenAiChatCompletions", _chat(client), *classes),
        Way(f"{name}, chat stream", "OpenAiChatCompletions", _chat_stream(client), *classes),
        Way(f"{name}, response", "OpenAiResponses", _response(client), *classes),
        Way(f"{name}, response stream", "OpenAiResponses", _response_stream(client), *classes),
    ]


# --- boto3 -----------------------------------------------------------------------------------------------------------------


def _boto3_by_pair(access: Access):
    session = boto3.Session(access.pair.access_key_id, access.pair.secret_access_key, region_name=REGION)
    return session.client("bedrock-runtime", endpoint_url=access.bedrock, config=ONE_TRY)


def _boto3_by_key(access: Access):
    session = boto3.Session(access.key, "anything", region_name=REGION)
    return session.client("bedrock-runtime", endpoint_url=access.bedrock, config=ONE_TRY)


def _boto3_by_header(access: Access):
    return document_client("bedrock-runtime", access.bedrock, access.key)


def _boto3_by_session_and_service_url(access: Access):
    """Its own base URL: bedrock-runtime and nothing else."""
    session = boto3.Session(access.pair.access_key_id, access.pair.secret_access_key, region_name=REGION)
    return session.client("bedrock-runtime", endpoint_url=f"{access.url}/bedrock-runtime", config=ONE_TRY)


def _of_boto3(name: str, client) -> list[Way]:
    def converse(access, model):
        return client(access).converse(modelId=model, messages=MESSAGES)["output"]["message"]["content"][0]["text"]

    def converse_stream(access, model):
        return text_of_stream(client(access).converse_stream(modelId=model, messages=MESSAGES))

    def invoke(access, model):
        return client(access).invoke_model(modelId=model, body=INVOKE_CLAUDE)["body"].read().decode()

    def invoke_stream(access, model):
        events = client(access).invoke_model_with_response_stream(modelId=model, body=INVOKE_CLAUDE)["body"]
        return "".join(event["chunk"]["bytes"].decode() for event in events)

    calls = {
        "Converse": converse,
        "ConverseStream": converse_stream,
        "InvokeModel": invoke,
        "InvokeModelWithResponseStream": invoke_stream,
    }
    return [
        Way(f"{name}, {operation}", operation, call, ClientError, ClientError, "AccessDeniedException")
        for operation, call in calls.items()
    ]


# --- langchain-aws ---------------------------------------------------------------------------------------------------------


def _langchain(kind, **more):
    def client(access: Access, model: str):
        with warnings.catch_warnings(action="ignore"):
            return kind(
                **{"model" if kind is ChatBedrockConverse else "model_id": model},
                provider="anthropic",
                base_model_id="anthropic.claude-3-5-sonnet-20240620-v1:0",
                region_name=REGION,
                endpoint_url=access.bedrock,
                aws_access_key_id=access.pair.access_key_id,
                aws_secret_access_key=access.pair.secret_access_key,
                config=ONE_TRY,
                **more,
            )

    return client


def _of_langchain(name: str, client, operations: tuple[str, str]) -> list[Way]:
    def ask(access, model):
        return client(access, model).invoke("Hello").text

    def stream(access, model):
        return "".join(chunk.text for chunk in client(access, model).stream("Hello"))

    codes = (ClientError, ClientError, "AccessDeniedException")
    return [
        Way(f"{name}, unary", operations[0], ask, *codes),
        Way(f"{name}, stream", operations[1], stream, *codes),
    ]


def embed(access: Access, model: str) -> list[float]:
    """langchain-aws's embeddings."""
    client = BedrockEmbeddings(
        model_id=model,
        provider="amazon",
        region_name=REGION,
        endpoint_url=access.bedrock,
        aws_access_key_id=access.pair.access_key_id,
        aws_secret_access_key=access.pair.secret_access_key,
        config=ONE_TRY,
    )
    return client.embed_query("Hello")


MESSAGES_API = ("AnthropicMessages", "AnthropicMessages")
INVOKE_API = ("InvokeModel", "InvokeModelWithResponseStream")
CONVERSE_API = ("Converse", "ConverseStream")

WAYS = [
    *_of_anthropic("anthropic, the gateway's root, x-api-key", _anthropic(api_key="key"), MESSAGES_API),
    *_of_anthropic("anthropic, the gateway's root, bearer", _anthropic(auth_token="key"), MESSAGES_API),
    *_of_anthropic("anthropic, /bedrock/anthropic", _anthropic("/bedrock/anthropic", api_key="key"), MESSAGES_API),
    *_of_anthropic("anthropic, bedrock-mantle", _anthropic("/bedrock-mantle/anthropic", api_key="key"), MESSAGES_API),
    *_of_anthropic("AnthropicBedrock, key", _bedrock_by_key, INVOKE_API),
    *_of_anthropic("AnthropicBedrock, pair", _bedrock_by_pair, INVOKE_API),
    *_of_openai("openai, the gateway's root", _openai("/v1")),
    *_of_openai("openai, /bedrock/openai", _openai("/bedrock/openai/v1")),
    *_of_openai("openai, bedrock-mantle", _openai("/bedrock-mantle/v1")),
    *_of_openai("BedrockOpenAI, bedrock-mantle, pair", _openai_by_pair("/bedrock-mantle/v1")),
    *_of_boto3("boto3, pair", _boto3_by_pair),
    *_of_boto3("boto3, pair, /bedrock-runtime", _boto3_by_session_and_service_url),
    *_of_boto3("boto3, key as access key id", _boto3_by_key),
    *_of_boto3("boto3, key in a header", _boto3_by_header),
    *_of_langchain("ChatBedrockConverse", _langchain(ChatBedrockConverse), CONVERSE_API),
    *_of_langchain("ChatBedrock", _langchain(ChatBedrock), INVOKE_API),
]
