"""Calls by botocore, and what of their answers must not depend on the way they took."""

import datetime
import json
import re
from dataclasses import dataclass

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.eventstream import EventStream, ParserError
from botocore.response import StreamingBody

from .service_models import Call

_session = boto3.Session(region_name="us-west-2")
# Headers that tell of one moment or one connection.
OF_ONE_ANSWER = {"date", "content-length", "transfer-encoding", "connection", "keep-alive"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)?")
# As OpenAI's APIs state it, in JSON that stands in a text.
UNIX_MOMENT = re.compile(r'(created(?:_at)?\\*": ?)\d{10}\b')
NO_EVENT_STREAM = "these bytes are no event stream"


@dataclass
class Answer:
    """What botocore made of an answer, but for moments and the request's id (the simulator makes other ids of it)."""

    request_id: str
    status: int
    headers: dict[str, str]
    parsed: str


def client(service: str, base: str, access_key_id: str, secret: str):
    """A client that signs and tries once."""
    return _session.client(
        service,
        endpoint_url=base,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=30, connect_timeout=5),
    )


def ask(caller, call: Call, parameters: dict) -> Answer:
    """Makes a call and reads its answer to the end."""
    answer = getattr(caller, xform_name(call.name))(**parameters)
    about = answer.pop("ResponseMetadata")
    request_id = about["RequestId"]

    def lasting(text: str) -> str:
        letters = request_id.replace("-", "")
        for part in (request_id, letters, letters[:12]):
            text = text.replace(part, "(the request's id)")
        return UNIX_MOMENT.sub(r"\1(now)", MOMENT.sub("(now)", text))

    headers = {name: lasting(value) for name, value in about["HTTPHeaders"].items() if name not in OF_ONE_ANSWER}
    parsed = lasting(json.dumps(answer, default=as_json, sort_keys=True))
    return Answer(request_id, about["HTTPStatusCode"], headers, parsed)


def as_json(value: object) -> object:
    """What JSON has no form for; streams are read to their end."""
    if isinstance(value, StreamingBody):
        return repr(value.read())
    if isinstance(value, EventStream):
        return events(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return repr(value)


def events(stream: EventStream) -> list:
    """All events; where the bytes are no event stream, how they fail to be."""
    found: list = []
    try:
        found.extend(stream)
    except ParserError as error:
        found.append(f"{NO_EVENT_STREAM}: {error}")
    return found
