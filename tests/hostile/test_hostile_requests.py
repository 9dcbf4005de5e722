"""The dashboard answers to its own names, and lets only its own pages change something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostile_server import Dashboard, dashboard
from slimfront.studies.dashboard.guard import Guard, host_name, is_same_origin, own_names


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, honest_database: bytes) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("asked")
    (folder / "s.db").write_bytes(honest_database)
    with dashboard(folder / "s.db", folder) as running:
        yield running


def _studies(server: Dashboard) -> list[str]:
    return [study["study_name"] for study in server.json("/api/studies")["study_summaries"]]


NEW = {"study_name": "new", "directions": ["maximize"]}
FOREIGN = (
    "evil.example",
    "evil.example:8080",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "",
    "169.254.169.254",
)


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_of_another_site_is_not_answered(server: Dashboard, host: str) -> None:
    for path in ("/api/studies", "/dashboard", "/csv/1", "/static/bundle.js"):
        reply = server.ask(path, Host=host)
        assert reply.status == 403
        assert b"theirs" not in reply.body
    assert server.ask("/api/studies", "POST", NEW, Host=host).status == 403
    assert _studies(server) == ["theirs"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{port}", "127.0.0.1:{port}", "[::1]:{port}", "localhost."])
def test_its_own_names_are_answered(server: Dashboard, host: str) -> None:
    assert server.ask("/api/studies", Host=host.format(port=server.port)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Referer": "http://evil.example/page"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/studies"), ("DELETE", "/api/studies/1"), ("PUT", "/api/studies/1/note")]
)
def test_pages_of_other_sites_change_nothing(
    server: Dashboard, headers: dict[str, str], method: str, path: str
) -> None:
    sent = {name: text.format(port=server.port) for name, text in headers.items()}
    assert server.ask(path, method, {**NEW, "version": 1, "body": "mine"}, **sent).status == 403
    assert _studies(server) == ["theirs"]
    assert server.json("/api/studies/1?after=0")["note"]["body"] != "mine"


def test_its_own_pages_and_programs_change_what_they_like(server: Dashboard) -> None:
    own = {"Origin": server.address, "Sec_Fetch_Site": "same-origin"}
    assert server.ask("/api/studies", "POST", NEW, **own).status == 201
    assert _studies(server) == ["theirs", "new"]
    assert server.ask("/api/studies/2", "DELETE", {}).status == 204
    assert _studies(server) == ["theirs"]


def test_pages_are_not_framed_and_say_what_they_may_load(server: Dashboard) -> None:
    headers = server.ask("/dashboard").headers
    assert headers["x-frame-options"] == "DENY"
    assert "script-src 'self'" in headers["content-security-policy"]
    assert server.ask("/api/studies/999?after=0").status == 404
    assert server.ask("/artifacts/1/00000000-0000-0000-0000-000000000000").status == 404


def test_other_names_are_a_matter_of_the_host_option() -> None:
    assert "evil.example" not in own_names("127.0.0.1")
    assert "192.168.1.5" in own_names("192.168.1.5")
    assert "gpu7.example" in own_names("GPU7.example")
    asked: list[str] = []

    def answered(host: str, listening: str) -> bool:
        guard = Guard(lambda environ, start: [start("200 OK", []), b""][1:], listening)
        list(guard({"HTTP_HOST": host, "REQUEST_METHOD": "GET"}, lambda status, headers: asked.append(status)))
        return asked[-1].startswith("200")

    assert answered("192.168.1.5:8080", "0.0.0.0")  # an address cannot be pointed elsewhere
    assert not answered("evil.example", "0.0.0.0")
    assert answered("gpu7.example:8080", "gpu7.example")
    assert not answered("192.168.1.5", "127.0.0.1")


@pytest.mark.parametrize(
    "header", ["a b", "127.0.0.1@evil", "localhost,evil.example", "local\x00host", "[::1", "a:b:c", "/"]
)
def test_a_host_that_is_no_name_is_none(header: str) -> None:
    assert host_name(header) is None


def test_ports_that_go_without_saying() -> None:
    assert is_same_origin({"HTTP_HOST": "localhost", "HTTP_ORIGIN": "http://localhost:80"})
    assert is_same_origin({"HTTP_HOST": "localhost:80", "HTTP_ORIGIN": "http://localhost"})
    assert not is_same_origin({"HTTP_HOST": "localhost:8080", "HTTP_ORIGIN": "http://localhost"})
    assert is_same_origin({"HTTP_HOST": "localhost:8080"})
