"""A proxy before a server, which breaks or delays connections when it is told to."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator

CHUNK = 65536


class FlakyProxy:
    """Passes bytes between `address` and the server at `behind`, both `http://127.0.0.1:PORT`.

    Attributes:
        broken: while set, connections are closed, those that are open too.
        delay_s: what each piece of an answer waits.
    """

    def __init__(self, behind: str) -> None:
        self.behind, self.broken, self.delay_s = behind, threading.Event(), 0.0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @classmethod
    @contextlib.contextmanager
    def before_moto(cls, bucket: str) -> Iterator[FlakyProxy]:
        """Before a server that speaks S3, with an empty bucket."""
        import pyarrow.fs as fs
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print every request
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        plain = {"endpoint_override": f"{host}:{port}", "scheme": "http", "region": "us-east-1"}
        keys = {"access_key": "test", "secret_key": "test"}
        fs.S3FileSystem(allow_bucket_creation=True, **plain, **keys).create_dir(bucket)
        proxy = cls(f"http://{host}:{port}")
        try:
            yield proxy
        finally:
            proxy._listening.close()
            server.stop()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        host, _, port = self.behind.removeprefix("http://").partition(":")
        with client, contextlib.suppress(OSError), socket.create_connection((host, int(port))) as server:
            threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
            self._pass_on(server, client, True)

    def _pass_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while not self.broken.is_set() and (piece := source.recv(CHUNK)):
                if is_answer:
                    time.sleep(self.delay_s)
                if self.broken.is_set():
                    break
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
