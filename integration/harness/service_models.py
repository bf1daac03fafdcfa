"""The operations of the eight Bedrock services as botocore knows them, with valid parameters made from the models."""

import datetime
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import botocore.session
from botocore.model import OperationModel, Shape

from .patterns import ACCOUNT, REGION, text_for

BOTOCORE_VERSION = "1.44.5"
TABLE = Path(__file__).resolve().parents[2] / "src" / "operations.tsv"
SERVICES = (
    "bedrock",
    "bedrock-runtime",
    "bedrock-agent",
    "bedrock-agent-runtime",
    "bedrock-agentcore",
    "bedrock-agentcore-control",
    "bedrock-data-automation",
    "bedrock-data-automation-runtime",
)
LONGEST = 400
MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
# Texts that no pattern binds: what must be encoded in a path or a query, and blanks that a signature folds in a header.
FREE_TEXTS = {
    "uri": "a label/with a slash:100% + é",
    "querystring": "text & more=1/2 + 100% ü?",
    "header": "text, of a  header; a=b/c",
}
ANY_TEXT = 'text with "quotes", é and \n lines'
BYTES = b"\x00\xffbytes that are no text\r\n"
JSON_BODY = json.dumps({"messages": [], "max_tokens": 4}).encode()

_session = botocore.session.get_session()


@dataclass(frozen=True)
class Call:
    """One operation of one service."""

    service: str
    name: str

    def __str__(self) -> str:
        return f"{self.service}.{self.name}"

    @property
    def model(self) -> OperationModel:
        """What botocore knows about it."""
        return service_model(self.service).operation_model(self.name)

    @property
    def is_bidirectional(self) -> bool:
        """Its request is an event stream, which needs HTTP/2: botocore has no way to send it."""
        return self.model.has_event_stream_input

    @property
    def is_write(self) -> bool:
        """It takes the master key."""
        return access()[self.service, self.name] == "write"

    def bound(self, location: str) -> set[str]:
        """Names, in lower case, of the headers (or query parameters) that are members of the request."""
        members = self.model.input_shape.members.values() if self.model.input_shape else ()
        bound = (shape.serialization for shape in members)
        return {place["name"].lower() for place in bound if place.get("location") == location}

    def parameters(self, with_optional: bool = True) -> dict:
        """Every required member, the body's bytes, the tokens that botocore would make up; and, `with_optional`, every
        member in query or headers."""
        shape = self.model.input_shape
        return {} if shape is None else Parameters(self, with_optional).structure(shape, is_top=True)


@cache
def service_model(service: str):
    """botocore's model."""
    return _session.get_service_model(service)


@cache
def all_calls() -> list[Call]:
    """All operations, by service."""
    return [Call(service, name) for service in SERVICES for name in service_model(service).operation_names]


@cache
def access() -> dict[tuple[str, str], str]:
    """What a key may do, by service and operation: from bedgate's table, since AWS's models do not say."""
    rows = [line.split("\t") for line in TABLE.read_text().splitlines()]
    column = rows[0].index("access")
    return {(row[0], row[1]): row[column] for row in rows[1:]}


class Parameters:
    """Makes one value of each shape that the parameters of a call need."""

    def __init__(self, call: Call, with_optional: bool = True):
        self.call, self.with_optional = call, with_optional

    def structure(self, shape: Shape, is_top: bool = False) -> dict:
        if getattr(shape, "is_document_type", False):
            return {"any": ["document", 1, True]}
        if getattr(shape, "is_tagged_union", False):
            name, inner = next(iter(shape.members.items()))
            return {name: self.value(inner, name)}
        return {
            name: self.value(inner, name)
            for name, inner in shape.members.items()
            if name in shape.required_members
            or (is_top and (self.is_payload(name) or (self.with_optional and inner.serialization.get("location"))))
            or inner.metadata.get("idempotencyToken")
        }

    def is_payload(self, name: str) -> bool:
        return self.call.model.input_shape.serialization.get("payload") == name

    def value(self, shape: Shape, member: str = "") -> object:
        if shape.type_name == "string":
            return self.string(shape, member)
        return getattr(self, shape.type_name, self.number)(shape)

    def list(self, shape: Shape) -> list:
        return [self.value(shape.member)] * max(1, shape.metadata.get("min", 1))

    def map(self, shape: Shape) -> dict:
        return {self.value(shape.key): self.value(shape.value)}

    def blob(self, shape: Shape) -> bytes:
        is_model_body = self.call.service == "bedrock-runtime" and "body" in self.call.model.input_shape.members
        return JSON_BODY if is_model_body else BYTES[: shape.metadata.get("max", len(BYTES))]

    def boolean(self, _: Shape) -> bool:
        return True

    def timestamp(self, _: Shape) -> datetime.datetime:
        return MOMENT

    def number(self, shape: Shape) -> int | float:
        return int(shape.metadata.get("min", 1))

    def float(self, shape: Shape) -> float:
        return float(shape.metadata.get("min", 0)) + 0.5

    double = float

    def string(self, shape: Shape, member: str) -> str:
        location = shape.serialization.get("location")
        if shape.enum:
            return shape.enum[0]
        if location == "header" and shape.serialization["name"].lower() in ("accept", "content-type"):
            return "application/json"
        shortest = int(shape.metadata.get("min", 0))
        longest = int(shape.metadata.get("max", LONGEST))
        pattern = pattern_of(self.call.service, shape)
        if pattern is not None:
            return text_for(pattern, max(1, shortest), min(longest, max(LONGEST, shortest)))
        if member.lower().endswith("arn"):
            return f"arn:aws:{self.call.model.service_model.signing_name}:{REGION}:{ACCOUNT}:resource/of-the-tests"
        text = FREE_TEXTS.get(location, ANY_TEXT)
        return (text * (shortest // len(text) + 1) if len(text) < shortest else text)[:longest].rstrip()


def pattern_of(service: str, shape: Shape) -> str | None:
    """The pattern a text must fit; botocore's shapes leave it out."""
    return service_model(service)._shape_resolver._shape_map[shape.name].get("pattern")
