"""Whom the dashboard answers, and what it hands out: the parts of the guard by themselves."""

from __future__ import annotations

import csv
import io

import pytest
from slimfront.studies.dashboard.guard import Guard, host_name, is_same_origin, own_names, safe_table


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


def test_a_table_is_the_same_but_for_formulas() -> None:
    plain = 'Number,State,"a, b"\r\n0,COMPLETE,-1.5\r\n'
    assert safe_table(plain) == plain
    (row,) = csv.reader(io.StringIO(safe_table('"=1+1","a\nb",' + "x" * 200_000 + "\r\n")))
    assert row[:2] == ["'=1+1", r"a\nb"]
    assert len(row[2]) == 32_767
