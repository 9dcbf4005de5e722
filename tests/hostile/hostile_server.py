"""The dashboard in a process of its own, as a user starts it, and ways to ask it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 60.0  # that an answer may take on a busy machine


@dataclass(frozen=True)
class Reply:
    """An answer of the server."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Dashboard:
    """A server that runs.

    Attributes:
        port: Its port on 127.0.0.1.
        errors: What it writes to standard error, and what it says.
    """

    port: int
    errors: Path

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Reply:
        """One request, with Host and other headers as given (`Origin=...`)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        content = None if body is None else json.dumps(body)
        sent = {"Host": f"127.0.0.1:{self.port}", "Content-Type": "application/json"} | headers
        connection.putrequest(method, path, skip_host=True)
        for name, text in sent.items():
            connection.putheader(name.replace("_", "-"), text)
        if content is not None:
            connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(None if content is None else content.encode())
        answer = connection.getresponse()
        told: dict[str, str] = {}
        for key, value in answer.getheaders():
            told[key.lower()] = f"{told[key.lower()]}, {value}" if key.lower() in told else value
        found = Reply(answer.status, told, answer.read())
        connection.close()
        return found

    def json(self, path: str) -> Any:
        """The JSON at a path."""
        reply = self.ask(path)
        assert reply.status == 200, (path, reply)
        return json.loads(reply.body)


@contextmanager
def dashboard(database: Path, folder: Path) -> Iterator[Dashboard]:
    """`run_search.py dashboard` on a database, started in a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    errors = folder / "dashboard.txt"
    command = [sys.executable, str(ROOT / "run_search.py"), "dashboard"]
    command += ["--storage", f"sqlite:///{database}", "--port", str(port)]
    with errors.open("w") as said:
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # it says where it is as soon as it listens
            assert line.startswith("Dashboard: "), (line, errors.read_text())
            yield Dashboard(port, errors)
        finally:
            process.terminate()
            process.wait(SECONDS)
