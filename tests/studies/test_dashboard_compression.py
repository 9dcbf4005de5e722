"""The dashboard's answers are compressed for whoever accepts that, and are the same for everybody."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from slimfront.studies.dashboard.compression import SMALLEST, Compressed, accepts_gzip

LARGE = json.dumps([{"name": "residual.width", "choices": [8, 16, 24]}] * 5000).encode()


def _ask(body: bytes, kind: str, *, accepted: str = "gzip, deflate", **other: str) -> tuple[dict[str, str], bytes]:
    """Headers and body of an application's answer, as a browser gets them."""
    told: list[Any] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(environ.get("status", "200 OK"), [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body[:10], body[10:]]

    environ = {"REQUEST_METHOD": "GET", "HTTP_ACCEPT_ENCODING": accepted} | other
    sent = b"".join(Compressed(application)(environ, lambda status, headers: told.append(dict(headers))))
    assert int(told[0]["Content-Length"]) == len(sent)
    return told[0], sent


def test_a_large_answer_is_a_small_part_of_itself() -> None:
    headers, sent = _ask(LARGE, "application/json")
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(sent) == LARGE
    assert len(sent) < len(LARGE) / 20


@pytest.mark.parametrize(
    ("body", "kind", "other"),
    [
        (LARGE, "image/png", {}),
        (LARGE, "application/octet-stream", {}),
        (b"x" * (SMALLEST - 1), "text/html", {}),
        (LARGE, "application/json", {"accepted": ""}),
        (LARGE, "application/json", {"accepted": "gzip;q=0, br"}),
        (LARGE, "application/json", {"status": "404 Not Found"}),
        (LARGE, "application/json", {"REQUEST_METHOD": "POST"}),
    ],
)
def test_others_are_sent_as_they_are(body: bytes, kind: str, other: dict[str, str]) -> None:
    headers, sent = _ask(body, kind, **other)
    assert "Content-Encoding" not in headers
    assert sent == body


@pytest.mark.parametrize(
    ("header", "accepted"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("GZIP", True), ("*", True), ("gzip;q=0, *", False), ("br", False)],
)
def test_what_a_browser_accepts(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
