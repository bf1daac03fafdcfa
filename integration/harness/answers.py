"""Answers to any operation, made from botocore's service models, and a place that gives them in AWS's stead."""

import json
import struct
import threading
import uuid
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.model import Shape
from botocore.serialize import create_serializer

from .service_models import Call, Parameters

# Structures deeper than this hold what they must hold, and no more; so no shape holds itself for ever.
FULL_DEPTH = 3
EVENT_STREAM = "application/vnd.amazon.eventstream"
_serializer = create_serializer("rest-json", include_validation=False)


@dataclass
class Reply:
    """An answer as it goes over the wire."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes]
    is_stream: bool = False
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))


class Members(Parameters):
    """Makes the members of an answer: all of them, down to some depth."""

    def __init__(self, call: Call):
        super().__init__(call)
        self.depth = 0

    def structure(self, shape: Shape, is_top: bool = False) -> dict:
        if getattr(shape, "is_document_type", False) or getattr(shape, "is_tagged_union", False):
            return super().structure(shape)
        self.depth += 1
        made = {
            name: self.value(inner, name)
            for name, inner in shape.members.items()
            if (self.depth <= FULL_DEPTH or name in shape.required_members)
            and not inner.serialization.get("eventstream")
            and inner.serialization.get("location") != "statusCode"
        }
        self.depth -= 1
        return made

    def string(self, shape: Shape, member: str) -> str:
        if shape.enum:
            return shape.enum[0]
        return "a header" if shape.serialization.get("location") == "header" else f'{member} "quoted", é\n'


def reply(call: Call) -> Reply:
    """What AWS could answer, every member of it; a stream holds each of its events once."""
    shape, status = call.model.output_shape, call.model.http.get("responseCode", 200)
    if shape is None or status == 204:
        return Reply(status, {}, [])
    members = Members(call).structure(shape)
    places = {name: inner.serialization.get("location") for name, inner in shape.members.items()}
    headers = {
        shape.members[name].serialization["name"]: value for name, value in members.items() if places[name] == "header"
    }
    payload = shape.serialization.get("payload")
    if (stream := call.model.get_event_stream_output()) is not None:
        headers["Content-Type"] = EVENT_STREAM
        return Reply(status, headers, frames(call, stream), is_stream=True)
    headers.setdefault("Content-Type", "application/json")
    if payload is not None and shape.members[payload].type_name == "blob":
        return Reply(status, headers, [members[payload]] * 3, is_stream=True)
    body = members if payload is None else members[payload]
    in_body = {name: value for name, value in body.items() if payload is not None or places[name] is None}
    return Reply(status, headers, [json_of(in_body, shape if payload is None else shape.members[payload])])


def refusal(call: Call) -> tuple[Reply, Shape] | None:
    """The first error of the model that is the caller's fault, and no reason to try again."""
    for shape in call.model.error_shapes:
        status = shape.metadata.get("error", {}).get("httpStatusCode", 400)
        if 400 <= status < 500 and status != 429:
            headers = {
                "Content-Type": "application/json",
                "x-amzn-ErrorType": f"{shape.error_code}:http://internal.amazon.com/coral/com.amazon.bedrock/",
            }
            # awsJson has the type in the body.
            body = {"__type": f"com.amazon.bedrock#{shape.error_code}", "message": "refused, é"}
            return Reply(status, headers, [json.dumps(body, ensure_ascii=False).encode()]), shape
    return None


def json_of(members: dict, shape: Shape) -> bytes:
    """A structure as AWS writes it."""
    return _serializer._serialize_body_params(members, shape)


def frames(call: Call, stream: Shape) -> list[bytes]:
    """One frame for each event that is no exception."""
    made = []
    for name, event in stream.members.items():
        if event.metadata.get("exception"):
            continue
        members = Members(call).structure(event)
        payload = next((held for held, inner in event.members.items() if inner.serialization.get("eventpayload")), None)
        if payload is None:
            made.append(frame(name, "application/json", json_of(members, event)))
        elif isinstance(members[payload], bytes):
            made.append(frame(name, "application/octet-stream", members[payload]))
        else:
            made.append(frame(name, "application/json", json_of(members[payload], event.members[payload])))
    return made


def frame(event: str, content_type: str, payload: bytes) -> bytes:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html"""
    texts = {":event-type": event, ":content-type": content_type, ":message-type": "event"}
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in texts.items()
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


class AnsweringPlace:
    """Gives every request the same reply, until it is given another."""

    def __init__(self):
        place = self
        self.reply = Reply(200, {}, [])

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_request(self):
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.wfile.write(place.head(place.reply) + place.body(place.reply))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

            def log_message(self, *_):
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def head(given: Reply) -> bytes:
        """The status line and the headers."""
        headers = {**given.headers, "x-amzn-RequestId": given.request_id}
        if given.is_stream:
            headers["Transfer-Encoding"] = "chunked"
        elif given.status != 204:
            headers["Content-Length"] = str(sum(map(len, given.pieces)))
        lines = [f"HTTP/1.1 {given.status} As-AWS-Says", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    @staticmethod
    def body(given: Reply) -> bytes:
        """The body, each piece of a stream in a chunk of its own."""
        if not given.is_stream:
            return b"".join(given.pieces)
        return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in given.pieces) + b"0\r\n\r\n"

    def stop(self) -> None:
        """Closes the port."""
        self.server.shutdown()
        self.server.server_close()
