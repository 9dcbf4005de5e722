from __future__ import annotations

import json
import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
import plotly.graph_objects as go
import pytest
from made_trials import add_trials, made_trial
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from slimfront.search.commands.cli import main
from slimfront.search.commands.dashboard import open_dashboard
from slimfront.studies.dashboard.drawing import draw_what_is_not
from slimfront.studies.dashboard.server import (
    FRONT_PANEL,
    PANELS,
    make_dashboard,
    update_panels,
)
from slimfront.studies.errors import StudyError
from slimfront.studies.front import front
from slimfront.studies.store.records import read_trials
from slimfront.studies.store.storage import create_or_load, open_storage
from slimfront.studies.store.study import StudyStore
from test_plots import many


def panels(study: optuna.Study) -> dict[str, Any]:
    stored = study._storage.get_study_system_attrs(study._study_id)
    return {name: json.loads(text) for name, text in get_plotly_graph_objects(stored).items()}


def draw(folder: Path, bar: float) -> None:
    update_panels(StudyStore(open_storage(f"sqlite:///{folder}/a.db"), "a"), bar)


def test_panels_are_replaced_and_not_piled_up(tmp_path: Path) -> None:
    study = create_or_load(open_storage(f"sqlite:///{tmp_path}/a.db"), "a")
    add_trials(study, many(60))
    draw(tmp_path, 0.9)
    assert set(panels(study)) == set(PANELS)
    draw(tmp_path, 0.99)  # nothing feasible: a shorter figure must leave nothing of the longer one
    (line,) = [trace for trace in panels(study)[FRONT_PANEL]["data"] if trace["name"] == "front"]
    assert line["customdata"] == []
    add_trials(study, [made_trial(60, 0.999, 0.01)])
    draw(tmp_path, 0.99)
    (line,) = [trace for trace in panels(study)[FRONT_PANEL]["data"] if trace["name"] == "front"]
    assert line["customdata"] == [60]


def test_panels_of_a_study_without_trials(tmp_path: Path) -> None:
    study = create_or_load(open_storage(f"sqlite:///{tmp_path}/a.db"), "a")
    draw(tmp_path, 0.9)
    assert panels(study)[FRONT_PANEL]["layout"]["title"]["text"] == "No trial has finished yet"


@contextmanager
def running(url: str, **options: Any) -> Iterator[str]:
    with make_dashboard(url, 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


def test_best_trials_of_the_served_dashboard_are_the_front(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    study = create_or_load(open_storage(url), "a")
    add_trials(study, [made_trial(0, 0.95, 0.1), made_trial(1, 0.5, 0.001), made_trial(2, 0.92, 0.05)])
    with running(url) as address:
        shown = fetch(f"{address}/api/studies/{study._study_id}?after=0")
        assert [trial["number"] for trial in shown["best_trials"]] == [0, 2]
        assert {trial.number for trial in front(read_trials(study), 0.9)} == {0, 2}
        constraints = [trial["constraints"][0] <= 0 for trial in shown["trials"]]
        assert constraints == [True, False, True]
        assert shown["objective_names"][0].startswith("accuracy")
        add_trials(study, [made_trial(3, 0.91, 0.01)])
        assert fetch(f"{address}/api/studies")["study_summaries"][0]["study_name"] == "a"


def test_panels_of_the_served_dashboard_begin_with_the_front(tmp_path: Path) -> None:
    study = create_or_load(open_storage(f"sqlite:///{tmp_path}/a.db"), "a")
    draw(tmp_path, 0.9)
    optuna_dashboard.save_plotly_graph_object(study, go.Figure(), graph_object_id="a-user-s-own")
    with running(f"sqlite:///{tmp_path}/a.db") as address:
        shown = fetch(f"{address}/api/studies/{study._study_id}?after=0")
    assert [panel["id"] for panel in shown["plotly_graph_objects"]] == [*PANELS, "a-user-s-own"]


def test_artifacts_are_offered_only_with_a_folder(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    create_or_load(open_storage(url), "a")
    (tmp_path / "artifacts").mkdir()
    with running(url) as address:
        assert not fetch(f"{address}/api/meta")["artifact_is_available"]
    with running(url, artifacts=str(tmp_path / "artifacts")) as address:
        assert fetch(f"{address}/api/meta")["artifact_is_available"]


def test_a_taken_port_and_a_missing_storage_are_one_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    with pytest.raises(StudyError, match="run a search first"):
        make_dashboard(url)
    create_or_load(open_storage(url), "a")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StudyError, match="is taken: choose another with --port"):
            make_dashboard(url, taken.getsockname()[1])
    with pytest.raises(StudyError, match="Port 99999"):
        make_dashboard(url, 99999)


def test_it_says_where_it_is_and_ends_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    create_or_load(open_storage(url), "a")

    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("slimfront.studies.dashboard.server._Server.serve_forever", interrupted)
    open_dashboard(url, None, "127.0.0.1", 0)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Dashboard: http://127.0.0.1:")
    assert said[1:] == [f"next: python run_search.py front --name a --storage {url}"]
    open_dashboard(url, None, "0.0.0.0", 0)
    assert "no password" in capsys.readouterr().out


def test_it_listens_and_says_where_before_a_trial_is_read_or_a_picture_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever opens the page by then waits for it, and is not refused."""
    url = f"sqlite:///{tmp_path}/a.db"
    add_trials(create_or_load(open_storage(url), "a"), [made_trial(0, 0.91, 0.02)])
    monkeypatch.setattr("slimfront.studies.store.study.StudyStore", None)  # which reads every trial

    def drawing(*_: object) -> None:
        address = re.search(r"Dashboard: http://([\d.]+):(\d+)/", capsys.readouterr().out)
        assert address is not None
        with socket.create_connection((address[1], int(address[2])), timeout=5):
            raise StudyError("as far as this")

    monkeypatch.setattr("slimfront.studies.dashboard.drawing.drawing", drawing)
    with pytest.raises(StudyError, match="as far as this"):
        open_dashboard(url, None, "127.0.0.1", 0)


def test_it_opens_at_the_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    study = create_or_load(open_storage(url), "a")
    with running(url, study_id=study._study_id) as address, urllib.request.urlopen(address) as page:
        assert page.url == f"{address}/dashboard/studies/{study._study_id}"
        assert page.status == 200


@pytest.mark.parametrize("host", ["", " "])
def test_an_empty_host_is_refused(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It would mean every address."""
    assert main(["dashboard", "--host", host]) == 2
    said = capsys.readouterr()
    assert "--host must name an address" in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_a_study_that_is_drawn_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/a.db")
    study = create_or_load(storage, "a")
    add_trials(study, [made_trial(0, 0.91, 0.02)])
    draw_what_is_not(storage, [study], tmp_path, lambda: False)
    drawn = storage.get_study_system_attrs(study._study_id)
    assert any(key.startswith("dashboard:plot_data") for key in drawn)
    with monkeypatch.context() as patch:
        patch.setattr("slimfront.studies.dashboard.drawing.StudyStore", None)  # which reads every trial
        draw_what_is_not(storage, [study], tmp_path, lambda: False)
    add_trials(study, [made_trial(1, 0.95, 0.01)])
    draw_what_is_not(storage, [study], tmp_path, lambda: False)
    assert storage.get_study_system_attrs(study._study_id) != drawn
