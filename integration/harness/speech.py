"""Conversations in speech: events as Nova Sonic knows them, frames made by hand, and a client of HTTP/2 that talks in turn."""

import base64
import hashlib
import hmac
import json
import struct
import time
import zlib
from datetime import datetime, timezone

from .clients import frames
from .http2 import Http2Client
from .signing import Pair, signed_headers

SONIC = "amazon.nova-sonic-v1:0"
BIDIRECTIONAL = "InvokeModelWithBidirectionalStream"
STREAM = "application/vnd.amazon.eventstream"
SIGNED_EVENTS = "STREAMING-AWS4-HMAC-SHA256-EVENTS"
# List prices in nano-dollars a token: 0.06, 0.24, 3.40 and 13.60 dollars a million.
TEXT_IN, TEXT_OUT, SPEECH_IN, SPEECH_OUT = 60, 240, 3_400, 13_600
# What the simulator counts an event with.
OF_TEXT, OF_SPEECH = 7 * TEXT_IN + 3 * TEXT_OUT, 25 * SPEECH_IN + 30 * SPEECH_OUT

TEXT_EVENT = json.dumps({"event": {"textInput": {"promptName": "p", "contentName": "c", "content": "Hello"}}})


def sound(size: int = 32) -> str:
    """An event that holds so many bytes of sound."""
    content = base64.b64encode(bytes(range(256)) * (size // 256 + 1))[:size].decode()
    return json.dumps({"event": {"audioInput": {"promptName": "p", "contentName": "c", "content": content}}})


CONVERSATION = [json.dumps({"event": {"sessionStart": {}}}), TEXT_EVENT, sound(), sound(64)]
COST_OF_CONVERSATION = 2 * OF_TEXT + 2 * OF_SPEECH


# --- frames --------------------------------------------------------------------------------------------------------------


def _header(name: str, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def _text(name: str, value: str) -> bytes:
    return _header(name, 7, struct.pack(">H", len(value)) + value.encode())


def frame(headers: bytes, payload: bytes) -> bytes:
    """One frame of an event stream."""
    prelude = struct.pack(">II", 12 + len(headers) + len(payload) + 4, len(headers))
    covered = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return covered + struct.pack(">I", zlib.crc32(covered))


def event(text: str) -> bytes:
    """An event of a client, as the SDKs encode it."""
    headers = _text(":event-type", "chunk") + _text(":message-type", "event") + _text(":content-type", "application/json")
    return frame(headers, json.dumps({"bytes": base64.b64encode(text.encode()).decode()}).encode())


class Chain:
    """Signs events as a client with this pair does, each signature going on from the one before."""

    def __init__(self, secret: str, region: str, seed: str):
        self.secret, self.region, self.signature = secret, region, seed

    def wrap(self, inner: bytes, seconds: float = 0) -> bytes:
        """The event in its envelope, signed so many seconds from now."""
        millis = int((time.time() + seconds) * 1000)
        date = _header(":date", 8, struct.pack(">q", millis))
        moment = datetime.fromtimestamp(millis // 1000, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{moment[:8]}/{self.region}/bedrock/aws4_request"
        hashes = (hashlib.sha256(part).hexdigest() for part in (date, inner))
        to_sign = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", moment, scope, self.signature, *hashes])
        key = f"AWS4{self.secret}".encode()
        for part in (moment[:8], self.region, "bedrock", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, to_sign.encode(), "sha256")
        self.signature = signature.hex()
        return frame(date + _header(":chunk-signature", 6, struct.pack(">H", 32) + signature), inner)


# --- a client ------------------------------------------------------------------------------------------------------------


class Talk:
    """One stream of a connection: says events, and sees what comes back, event by event."""

    def __init__(self, client: Http2Client, path: str, headers: list[tuple[str, str]], chain: Chain | None = None):
        self.client, self.chain = client, chain
        self.number = client.ask(path, None, None, [("content-type", STREAM), *headers])

    @classmethod
    def by_key(cls, client: Http2Client, model: str, key: str, call_id: str | None = None) -> "Talk":
        """With a key in a header; events go without envelopes."""
        more = [] if call_id is None else [("x-litellm-call-id", call_id)]
        return cls(client, path_of(model), [("authorization", f"Bearer {key}"), *more])

    @classmethod
    def by_pair(
        cls, client: Http2Client, gateway, model: str, pair: Pair, payload: str | None = SIGNED_EVENTS, more=()
    ) -> "Talk":
        """With a pair: the head and every event are signed. Without a payload's claim as the AWS SDK for Rust does it."""
        url = f"http://127.0.0.1:{gateway.port}{path_of(model)}"
        given = {name.lower(): value for name, value in signed_headers(url, pair, b"", payload, content_type=STREAM).items()}
        seed = given["authorization"].rsplit("Signature=", 1)[1]
        given = {name: value for name, value in given.items() if name not in ("content-length", "host")}
        talk = cls.__new__(cls)
        talk.client, talk.chain = client, Chain(pair.secret_access_key, "eu-central-1", seed)
        talk.number = client.ask(path_of(model), None, None, [*given.items(), *more])
        return talk

    @property
    def stream(self):
        """What came so far, and how it ended."""
        return self.client.streams[self.number]

    def send(self, raw: bytes, end: bool = False) -> None:
        """Sends bytes as they are."""
        self.client.send(self.number, raw, end)

    def say(self, *texts: str) -> None:
        """Sends events, in envelopes where they are signed."""
        for text in texts:
            self.send(event(text) if self.chain is None else self.chain.wrap(event(text)))

    def finish(self) -> None:
        """Says that there are no more events."""
        if self.chain is not None:
            self.send(self.chain.wrap(b""))
        self.client.h2.end_stream(self.number)
        self.client.flush()

    def heard(self) -> list[dict]:
        """The events that came, as far as they are whole."""
        return [said(payload) for headers, payload in frames(self.stream.data) if headers.get(":event-type") == "chunk"]

    def answers(self) -> int:
        """How many events were answered."""
        return sum(1 for heard in self.heard() if "textOutput" in heard or "audioOutput" in heard)

    def statements(self) -> int:
        """How often usage was stated."""
        return sum(1 for heard in self.heard() if "usageEvent" in heard)

    def until_stated(self, count: int) -> None:
        """Reads until usage was stated so often."""
        self.client.until(lambda: self.stream.is_over or self.statements() >= count)
        assert self.statements() >= count, self.stream

    def until_answered(self, count: int) -> None:
        """Reads until so many events were answered."""
        self.client.until(lambda: self.stream.is_over or self.answers() >= count)
        assert self.answers() >= count, self.stream

    def ending(self):
        """Reads to the end, however that is."""
        return self.client.answer(self.number)

    def exception(self) -> tuple[str, str] | None:
        """Name and text of the exception that came in the stream."""
        for headers, payload in frames(self.stream.data):
            if headers.get(":message-type") == "exception":
                return headers[":exception-type"], json.loads(payload)["message"]
        return None


def path_of(model: str) -> str:
    """Where a model is talked to."""
    return f"/bedrock/model/{model}/invoke-with-bidirectional-stream"


def said(payload: bytes) -> dict:
    """A model's own event in the payload of a chunk."""
    return json.loads(base64.b64decode(json.loads(payload)["bytes"]))["event"]
