"""What stands between a browser and the dashboard: whom it answers, what may change something, what a page may do.

The dashboard knows no users; whoever reaches it may do everything. A page of another site must not reach it through the
user's browser, and nothing that came with a study may act in its name:

* It answers to its own names only. A site can let its name point to this machine (DNS rebinding), and then its pages
  may read and write here; but the browser still sends that site's name as Host.
* What changes something is refused when it comes from a page of another origin (cross-site request forgery).
* Files of a study are shown, never run: they come with types that no browser executes, in a sandbox.
* Cells of the table that it offers for download are no formulas.
"""

from __future__ import annotations

import contextlib
import csv
import io
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit
from wsgiref.headers import Headers

from optuna.artifacts.exceptions import ArtifactNotFound
from slimfront.studies.foreign.text import csv_cell, visible

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERY_ADDRESS = ("", "0.0.0.0", "::")
READING = ("GET", "HEAD", "OPTIONS")  # methods that change nothing

# Types that a browser shows without running anything in them. SVG may hold scripts, which the sandbox switches off.
_SHOWN = re.compile(r"(image|audio|video|font|model)/[\w.+-]+|text/(plain|csv)|application/json")
_PAGE_POLICY = "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; frame-src 'none'; object-src 'none'"
_FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LARGEST_CELL = 2**31 - 1  # characters that are read: cells are cut when they are written

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Guard:
    """A WSGI application around the dashboard's.

    Args:
        application: The dashboard's.
        host: Address that the server listens on, as it was given.
        report: Told in one line what went wrong inside of the dashboard.
    """

    def __init__(self, application: Application, host: str, report: Callable[[str], Any] = lambda text: None) -> None:
        self._application, self._report = application, report
        self._names, self._any_address = own_names(host), host in EVERY_ADDRESS

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """See PEP 3333."""
        refusal = self._refusal(environ)
        if refusal is not None:
            return _answer(start_response, "403 Forbidden", refusal)
        try:
            status, headers, body = _called(self._application, environ)
        except ArtifactNotFound:
            return _answer(start_response, "404 Not Found", "There is no such file.")
        except Exception as error:  # a study that the dashboard cannot show must not fill the terminal with its code
            told = f"the dashboard could not show {environ.get('PATH_INFO')}: {type(error).__name__}: {error}"
            self._report(visible(told, most=300))
            return _answer(start_response, "500 Internal Server Error", "The dashboard cannot show this.")
        _harden(str(environ.get("PATH_INFO", "")), headers)
        start_response(status, headers.items())
        return body

    def _refusal(self, environ: Environ) -> str | None:
        """Why a request is not answered; None: it is."""
        header = str(environ.get("HTTP_HOST", ""))
        if not self._is_own(host_name(header)):
            return (
                f"This dashboard does not answer to the name {visible(header, most=100)!r}. "
                "If that is a name of this machine, start it with --host and that name."
            )
        if environ.get("REQUEST_METHOD") not in READING and not is_same_origin(environ):
            return "What changes a study is accepted from the dashboard's own pages only, not from other sites."
        return None

    def _is_own(self, name: str | None) -> bool:
        if name is None:
            return False
        if name in self._names:
            return True
        # An address cannot be pointed elsewhere, as a name can.
        return self._any_address and _is_address(name)


def own_names(host: str) -> frozenset[str]:
    """Names of a server that listens on `host`: those of the loopback, `host`, and beyond it the machine's own."""
    names = {*LOOPBACK, host.lower()}
    if host.lower() not in LOOPBACK:
        names.add(socket.gethostname().lower())
    return frozenset(names - {""})


def host_name(header: str) -> str | None:
    """The name in a Host header, without port and brackets, in lower case; None where it is none.

    >>> host_name("LocalHost:8080"), host_name("[::1]:8080"), host_name("a b"), host_name("127.0.0.1@evil")
    ('localhost', '::1', None, None)
    """
    found = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+?)\.?)(?::\d{1,5})?", header.lower())
    return (found[1] or found[2]) if found else None


def is_same_origin(environ: Environ) -> bool:
    """Whether a request comes from a page of the server itself, or from no page at all.

    Every browser names the origin of what changes something; programs, who do as they like anyway, need not.
    """
    host = _authority(str(environ.get("HTTP_HOST", "")))
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None:
        return _authority_of(str(origin)) == host
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        return site in ("same-origin", "none")
    referrer = environ.get("HTTP_REFERER")
    return referrer is None or _authority_of(str(referrer)) == host


def _authority_of(url: str) -> str | None:
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in ("http", "https"):
            return _authority(parts.netloc, parts.scheme)
    return None


def _authority(text: str, scheme: str = "http") -> str:
    return text.lower().removesuffix(":443" if scheme == "https" else ":80")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _answer(start_response: Callable[..., Any], status: str, text: str) -> Iterable[bytes]:
    headers = Headers([("Content-Type", "text/plain; charset=utf-8")])
    _harden("", headers)
    start_response(status, headers.items())
    return [f"slimfront: {text}\n".encode()]


def _called(application: Application, environ: Environ) -> tuple[str, Headers, Iterable[bytes]]:
    """Status, headers and body of the application's answer; a table's cells are made safe."""
    told: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
        told[:] = [status, Headers(list(headers))]
        return lambda data: None  # bottle does not use it

    body = application(environ, start)
    status, headers = told
    if (headers.get("Content-Type") or "").startswith("text/csv") and str(environ.get("PATH_INFO")).startswith("/csv/"):
        body = [safe_table(b"".join(body).decode()).encode()]
        headers["Content-Length"] = str(len(body[0]))
    return str(status), headers, body


def safe_table(text: str) -> str:
    """A CSV file's text with every cell as `csv_cell` gives it."""
    csv.field_size_limit(_LARGEST_CELL)
    made = io.StringIO()
    writer = csv.writer(made)
    for row in csv.reader(io.StringIO(text, newline="")):
        writer.writerow([csv_cell(cell) for cell in row])
    return made.getvalue()


def _harden(path: str, headers: Headers) -> None:
    del headers["Access-Control-Allow-Origin"]  # the dashboard lets every site read the artifacts
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if path.startswith("/artifacts/"):
        headers["Content-Security-Policy"] = _FILE_POLICY
        kind = (headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if not _SHOWN.fullmatch(kind):
            headers["Content-Type"] = "application/octet-stream"
    else:
        headers.add_header("Content-Security-Policy", _PAGE_POLICY)  # beside the dashboard's own: both hold
