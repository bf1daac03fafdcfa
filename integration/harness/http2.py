"""An HTTP/2 client that can be made to behave oddly, and that sees how each stream and the connection really ended."""

import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Callable, Iterator

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

TIMEOUT_SECONDS = 20
FRAME_HEAD = 9
GOAWAY = 7


@dataclass
class Stream:
    """One request's answer, as far as it came."""

    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        """0 before the head is there."""
        return int(self.headers.get(":status", 0))

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended or self.reset is not None


class Http2Client:
    """A connection: with prior knowledge, or over TLS where a root of trust is given."""

    def __init__(self, port: int, root=None, window: int | None = None, takes_data: bool = True):
        raw = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        if root is not None:
            context = ssl.create_default_context(cafile=root)
            context.set_alpn_protocols(["h2"])
            raw = context.wrap_socket(raw, server_hostname="127.0.0.1")
            assert raw.selected_alpn_protocol() == "h2"
        self.socket, self.takes_data = raw, takes_data
        # What is sent is as odd as the test makes it: the library does not correct it.
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.streams: dict[int, Stream] = {}
        self.goaways: list[int] = []
        self._received = b""
        self.closed = False
        self.authority = f"127.0.0.1:{port}"
        self.h2.initiate_connection()
        if window is not None:
            self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()

    def __enter__(self) -> "Http2Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        """Sends what is to be sent."""
        try:
            self.socket.sendall(self.h2.data_to_send())
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True

    def ask(
        self, path: str, body: bytes | None = b"{}", key: str | None = None, headers=(), method: str = "POST"
    ) -> int:
        """Begins a request; without a body (`None`) its stream stays open for more. The stream's number."""
        number = self.h2.get_next_available_stream_id()
        self.streams[number] = Stream()
        given = [(":method", method), (":scheme", "http"), (":authority", self.authority), (":path", path)]
        if key is not None:
            given.append(("authorization", f"Bearer {key}"))
        self.h2.send_headers(number, [*given, *headers], end_stream=body == b"")
        self.flush()
        if body:
            self.send(number, body, end=True)
        return number

    def send(self, number: int, body: bytes, end: bool = False) -> None:
        """Sends a body as the windows allow."""
        while body:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if room == 0:
                self.read_once()
                continue
            piece, body = body[:room], body[room:]
            self.h2.send_data(number, piece, end_stream=end and not body)
            self.flush()

    def reset(self, number: int) -> None:
        """Takes a stream back (CANCEL)."""
        self.h2.reset_stream(number, error_code=8)
        self.flush()

    def go_away(self) -> None:
        """Says that no further streams will come, and nothing else: the h2 library would hold its connection for closed."""
        self.socket.sendall(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8))

    def read_once(self) -> None:
        """Reads what is there, waiting for it."""
        received = self.socket.recv(65536)
        if not received:
            self.closed = True
            return
        self._received += received
        for frame in self._frames():
            if frame[3] == GOAWAY:
                # The library would hold the connection for closed, and take no more of its streams.
                self.goaways.append(int.from_bytes(frame[FRAME_HEAD + 4 : FRAME_HEAD + 8], "big"))
                continue
            for event in self.h2.receive_data(frame):
                self._note(event)
        self.flush()

    def _frames(self) -> Iterator[bytes]:
        while len(self._received) >= FRAME_HEAD:
            length = FRAME_HEAD + int.from_bytes(self._received[:3], "big")
            if len(self._received) < length:
                return
            frame, self._received = self._received[:length], self._received[length:]
            yield frame

    def _note(self, event: object) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0, Stream())
        if isinstance(event, ResponseReceived):
            stream.headers = dict(event.headers)
        elif isinstance(event, DataReceived):
            stream.data += event.data
            if self.takes_data and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            stream.ended = True
        elif isinstance(event, StreamReset):
            stream.reset = event.error_code

    def until(self, is_so: Callable[[], bool], within: float = TIMEOUT_SECONDS) -> None:
        """Reads until it is so; fails if it is not in time, or can no longer be."""
        deadline = time.monotonic() + within
        while not is_so():
            assert not self.closed, f"the connection was closed first: {self.streams}"
            left = deadline - time.monotonic()
            assert left > 0, f"not within {within} s: {self.streams}"
            self.socket.settimeout(left)
            try:
                self.read_once()
            except TimeoutError:
                continue
            except ConnectionResetError:
                self.closed = True
        self.socket.settimeout(TIMEOUT_SECONDS)

    def answer(self, number: int, within: float = TIMEOUT_SECONDS) -> Stream:
        """The whole of an answer, however it ended."""
        self.until(lambda: self.streams[number].is_over, within)
        return self.streams[number]

    def until_closed(self, within: float = TIMEOUT_SECONDS) -> None:
        """Reads until the other side closes the connection."""
        self.until(lambda: self.closed, within)
