"""Answers of the dashboard, compressed on their way: a study of thousands of trials repeats itself in every one."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.headers import Headers

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

SMALLEST = 4096  # bytes of an answer that is compressed
_LEVEL = 4  # of 9: what the higher ones save, they cost in waiting
_TEXT = re.compile(r"text/|application/(json|javascript)")


class Compressed:
    """A WSGI application whose text is sent as gzip (RFC 1952) to whoever accepts that."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """See PEP 3333."""
        told: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
            told[:] = [status, Headers(list(headers))]
            return lambda data: None  # nothing behind it uses this

        body = self._application(environ, start)
        status, headers = told
        if _is_text(headers):
            headers.add_header("Vary", "Accept-Encoding")
            if accepts_gzip(str(environ.get("HTTP_ACCEPT_ENCODING", ""))) and environ.get("REQUEST_METHOD") == "GET":
                whole = b"".join(body)
                body = [whole]
                if len(whole) >= SMALLEST and status.startswith("200"):
                    body = [gzip.compress(whole, _LEVEL, mtime=0)]
                    headers["Content-Encoding"] = "gzip"
                headers["Content-Length"] = str(len(body[0]))
        start_response(status, headers.items())
        return body


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header (RFC 9110, 12.5.3) allows gzip.

    >>> accepts_gzip("deflate, gzip;q=0.5"), accepts_gzip("gzip;q=0, *"), accepts_gzip("*"), accepts_gzip("")
    (True, False, True, False)
    """
    asked = {}
    for part in header.lower().split(","):
        name, _, weight = part.partition(";")
        asked[name.strip()] = not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight)
    return asked.get("gzip", asked.get("*", False))


def _is_text(headers: Headers) -> bool:
    return bool(_TEXT.match(headers.get("Content-Type") or "")) and "Content-Encoding" not in headers
