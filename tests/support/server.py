"""A server on this machine that counts what is asked of it, and may do wrong."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

BEHAVIOURS = (
    "right",
    *("no ranges", "slow", "trickle", "hangs up", "hangs up once", "changes", "other bytes"),
    *("elsewhere", "to a file", "missing", "in a circle", "closes"),
)
"""What a server may do with every question but the first, or with all of them."""


class Served:
    """A file behind an address. asked: the ranges, (start, stop). sent: bytes of the file."""

    def __init__(self, path: Path, behaviour: str = "right") -> None:
        assert behaviour in BEHAVIOURS
        self.path, self.behaviour = path, behaviour
        self.asked: list[tuple[int, int]] = []
        self.sent = self.connections = 0
        self.url = ""


@contextmanager
def served(path: Path, behaviour: str = "right") -> Iterator[Served]:
    """Serve one file while the block lasts."""
    found = Served(path, behaviour)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            found.connections += 1
            super().setup()

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            _answer(self, found)

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client that hung up

    server = Server(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/{path.name}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def _answer(handler: Any, served: Served) -> None:
    behaviour, size = served.behaviour, served.path.stat().st_size
    if behaviour == "missing":
        handler.send_error(404)
        return
    target = {"elsewhere": "ftp://127.0.0.1/x.mp4", "to a file": f"file://{served.path}", "in a circle": handler.path}
    if behaviour in target:
        handler.send_response(302)
        handler.send_header("Location", target[behaviour])
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    asked = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
    if behaviour == "no ranges" or asked is None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(size))
        handler.end_headers()
        handler.wfile.write(served.path.read_bytes())
        return
    start, stop = int(asked[1]), min(int(asked[2]) + 1, size)
    served.asked.append((start, stop))
    later = len(served.asked) > 1
    if behaviour == "slow" and later:
        sleep(2)
    shift = int(behaviour == "other bytes" and later)
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start + shift}-{stop - 1 + shift}/{size}")
    handler.send_header("Content-Length", str(stop - start))
    handler.send_header("ETag", f'"{len(served.asked) if behaviour == "changes" else 0}"')
    if behaviour == "closes":
        handler.send_header("Connection", "close")
    handler.end_headers()
    with served.path.open("rb") as file:
        file.seek(start)
        data = file.read(stop - start)
    if later and (behaviour == "hangs up" or (behaviour == "hangs up once" and len(served.asked) == 2)):
        data = data[: len(data) // 2]
        handler.close_connection = True
    if behaviour == "trickle" and later:
        for at in range(0, len(data), 8):
            handler.wfile.write(data[at : at + 8])
            handler.wfile.flush()
            sleep(0.05)
        return
    handler.wfile.write(data)
    handler.wfile.flush()
    served.sent += len(data)
    if handler.close_connection:
        handler.connection.shutdown(2)
