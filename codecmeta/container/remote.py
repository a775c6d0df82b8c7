"""A video behind an http(s) address, read in ranges over one connection that is kept open.

Only the bytes that are needed are asked for. What a server does wrong is said in one line: no ranges, another length or
version in the middle, silence, hanging up. Redirects are followed within http and https, never from https to http.
Proxies and credentials in the address are not used.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic
from typing import Any
from urllib.parse import urljoin, urlsplit

from codecmeta.container.blob import Blob
from codecmeta.errors import VideoError
from codecmeta.version import __version__

TIMEOUT = 20.0
"""Seconds in which a server must begin to answer, and then send each further `STEP`."""

STEP = 1 << 18
"""Bytes."""

_REDIRECTS = 5
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_LOST = (http.client.HTTPException, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)


def is_address(text: str) -> bool:
    """Whether a string asks for the network by its scheme."""
    return text[:8].lower().startswith(("http://", "https://"))


@contextmanager
def remote(address: str, timeout: float = TIMEOUT) -> Iterator[Blob]:
    """The bytes behind an address, as long as the block lasts. timeout: see `TIMEOUT`.

    Raises VideoError for an address that does not answer with a range.
    """
    ranges = _Ranges(address, timeout)
    try:
        ranges.get(0, 1 << 16)
        blob = Blob(address, ranges.size, ranges.get, remote=True)
        ranges.hand_over(blob)
        yield blob
    finally:
        ranges.close()


class _Ranges:
    """A connection, and what the first answer said of the file."""

    def __init__(self, address: str, timeout: float) -> None:
        self.address, self.timeout = address, timeout
        self.size, self.version = -1, ""
        self._url = _checked(address, address)
        self._connection: http.client.HTTPConnection | None = None
        self._lock = Lock()
        self._head = b""

    def hand_over(self, blob: Blob) -> None:
        """What came with the first answer need not be asked for again."""
        blob.take(self._head)
        self._head = b""

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def get(self, start: int, stop: int) -> bytes:
        """The bytes of a range; of the first one as many as there are. Raises VideoError."""
        with self._lock:
            for again in (True, False):
                kept = self._connection is not None
                try:
                    return self._get(start, stop)
                except _LOST as error:
                    self.close()
                    if not again or not (kept or isinstance(error, http.client.IncompleteRead)):
                        raise self._error(f"the server hangs up ({_said(error)})") from error
                except TimeoutError as error:
                    self.close()
                    raise self._error(f"the server is silent or slow: nothing for {self.timeout:g} s") from error
                except OSError as error:
                    self.close()
                    raise self._error(f"cannot be reached ({_said(error)})") from error
                except VideoError:
                    self.close()
                    raise
        raise AssertionError

    def _get(self, start: int, stop: int) -> bytes:
        answer = self._ask(start, stop)
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if answer.status != 206 or found is None:
            raise self._error("the server does not serve ranges of the file; download it and pass the path")
        first, last, size = (int(number) for number in found.groups())
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        if self.size < 0:
            self.size, self.version = size, version
        if (size, version) != (self.size, self.version):
            raise self._error("the file changed while it was read; try again")
        stop = min(stop, size)
        if (first, last) != (start, stop - 1):
            raise self._error(f"asked for bytes {start} to {stop - 1}, the server sent {first} to {last}")
        data = self._body(answer, stop - start)
        if not start and not self._head:
            self._head = data
        return data

    def _ask(self, start: int, stop: int) -> http.client.HTTPResponse:
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity", "User-Agent": _AGENT}
        for _ in range(_REDIRECTS):
            parts = urlsplit(self._url)
            if self._connection is None:
                self._connection = _connection(parts, self.timeout)
            if self._connection.sock is not None:
                self._connection.sock.settimeout(self.timeout)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            self._connection.request("GET", target, headers=headers)
            answer = self._connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308):
                self._url = _checked(urljoin(self._url, answer.headers.get("Location", "")), self.address, self._url)
                self.close()
                continue
            if answer.status >= 400:
                raise self._error(f"the server says {answer.status} {answer.reason}")
            return answer
        raise self._error("the server redirects in a circle")

    def _body(self, answer: http.client.HTTPResponse, size: int) -> bytes:
        """The bytes of an answer, each `STEP` of them within the time allowed, however small the parts they come in."""
        data = bytearray()
        sock = self._connection.sock if self._connection is not None else None
        until, due = monotonic() + self.timeout, STEP
        while len(data) < size:
            left = until - monotonic()
            if left <= 0:
                raise TimeoutError
            if sock is not None:
                sock.settimeout(left)
            part = answer.read1(min(size - len(data), STEP))
            if not part:
                raise http.client.IncompleteRead(bytes(data), size - len(data))
            data += part
            if len(data) >= due:
                until, due = monotonic() + self.timeout, len(data) + STEP
        answer.read()  # nothing is left; the connection is free for the next question
        return bytes(data)

    def _error(self, what: str) -> VideoError:
        return VideoError(f"{self.address}: {what}")


_AGENT = f"codecmeta/{__version__}"


def _connection(parts: Any, timeout: float) -> http.client.HTTPConnection:
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.netloc, timeout=timeout)
    return http.client.HTTPConnection(parts.netloc, timeout=timeout)


def _checked(url: str, address: str, before: str = "") -> str:
    """An address that may be asked. before: the one that redirects to it. Raises VideoError."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https") or (scheme == "http" and urlsplit(before).scheme.lower() == "https"):
        raise VideoError(f"{address}: the server redirects to {scheme or 'nowhere'}, which is not followed")
    if parts.username or parts.password:
        raise VideoError(f"{parts.hostname}: credentials in an address are not sent; download the file")
    try:
        known = bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or any(ord(letter) < 33 or ord(letter) > 126 for letter in url):
        raise VideoError(f"{address}: no address; spaces and letters beyond ASCII are written with %")
    return parts._replace(scheme=scheme, fragment="").geturl()


def _said(error: BaseException) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return f"after {len(error.partial)} of {len(error.partial) + (error.expected or 0)} bytes"
    return str(error) or type(error).__name__
