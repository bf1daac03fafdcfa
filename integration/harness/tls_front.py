"""TLS in front of a plain port, offering HTTP/2 as AWS does: bytes go through as they are."""

import asyncio
import contextlib
import ssl
import threading

from .certificates import Issued


class TlsFront:
    """A port of its own on the loopback interface, until it is stopped."""

    def __init__(self, port: int, issued: Issued, protocols: tuple[str, ...] = ("h2",)):
        self._behind, self._protocols = port, protocols
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(issued.certificate, issued.key)
        self._context.set_alpn_protocols(list(protocols))
        self._loop, self._ready = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Closes the port and all connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
            await asyncio.gather(self._pump(reader, behind_writer), self._pump(behind_reader, writer))

    @staticmethod
    async def _pump(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            while chunk := await source.read(65536):
                to.write(chunk)
                await to.drain()
        to.close()
