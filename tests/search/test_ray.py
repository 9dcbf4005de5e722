"""Evaluators on a local Ray cluster of several nodes, one of which goes away in the middle."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import stub_evaluator
from slimfront.evaluators.job import Failure, Job, Result
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.launch import launch
from slimfront.search.workers import ray as ray_workers
from slimfront.search.workers.ray import RayWorkers
from slimfront.studies.errors import StudyError
from test_faults import _job
from test_search import _options, _settings, _study


def test_without_ray_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StudyError, match=r"pip install 'slimfront\[ray\]'"):
        ray_workers.connect("auto")


def test_files_from_a_node_stay_in_their_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="leave its folder"):
        ray_workers._write(tmp_path / "job", {"../outside": b"x"})
    assert not (tmp_path / "outside").exists()


def test_a_node_that_does_not_see_the_folder_is_sent_it(tmp_path: Path) -> None:
    """The actor's own code, without a cluster."""

    def evaluate(job: Job) -> Generator[Epoch, None, Result]:
        assert job.folder is not None
        assert job.folder != tmp_path / "job"
        seen = (job.folder / "state").read_bytes()
        (job.folder / "state").write_bytes(seen + b"+")
        yield Epoch("dense", 1, 1, 1.0, 0.5, 0.0)

    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "state").write_bytes(b"old")
    actor = ray_workers.Evaluator(evaluate, None, None)
    job = Job(candidate=None, dataset="digits", seed=0, folder=folder)  # type: ignore[arg-type]
    actor.begin(job, "a mark that is not there", {"state": b"old"})
    message, files = actor.advance()
    assert isinstance(message, Epoch)
    assert files == {"state": b"old+"}
    own = actor._own
    actor.stop()
    assert own is not None
    assert not own.exists()


def test_a_node_without_the_data_set_is_handed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor's own code: what came through the object store is used, and nothing is looked for on the node."""
    from slimfront.evaluators.data import loaded
    from slimfront.evaluators.data import splits as sets
    from slimfront.search.job import evaluate_job

    monkeypatch.setattr(loaded, "_held", {})
    digits = sets.search_data("digits")
    key = loaded.search_key("digits", tmp_path / "elsewhere", None, digits.digest)

    def not_here(*arguments: object, **named: object) -> None:
        raise AssertionError("the node has no such files")

    monkeypatch.setattr(sets, "search_data", not_here)
    actor = ray_workers.Evaluator(evaluate_job, digits, key)
    changes = {"data_dir": tmp_path / "elsewhere", "data_digest": digits.digest}
    actor.begin(_job(tmp_path, **changes), "a mark that is not there", {})
    message, files = actor.advance()
    actor.stop()
    assert isinstance(message, Epoch), message
    assert any(name.endswith(".safetensors") for name in files)  # its checkpoint travels back


def slow(job: Job) -> Generator[Epoch, None, Result]:
    time.sleep(0.3)
    return (yield from stub_evaluator.evaluate(job))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'slimfront[ray]'")
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80_000_000},
    )
    yield made
    import ray

    ray.shutdown()
    made.shutdown()
    patch.undo()


@pytest.mark.slow
def test_a_node_that_goes_away_costs_no_trial(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(2)]
    tests = str(Path(__file__).parent)
    root = str(Path(__file__).parents[2])
    ray.init(
        address=cluster.address,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": f"{root}:{tests}"}},
    )
    told: list[object] = []
    original = RayWorkers.next

    def removes(self: RayWorkers, timeout: float) -> Any:
        found = original(self, timeout)
        if found is not None:
            told.append(found[1])
            if isinstance(found[1], Result) and sum(isinstance(entry, Result) for entry in told) == 3:
                cluster.remove_node(nodes[0], allow_graceful=False)
        return found

    monkeypatch.setattr(RayWorkers, "next", removes)
    options = _options(tmp_path, workers=3, ray=cluster.address)
    _, summary, _ = launch(_settings(trials=12, early_stopping={"spared": 1.0}), options, slow)
    assert summary["trials"]["complete"] == 12
    assert summary["trials"]["failed"] == 0
    deaths = [entry for entry in told if isinstance(entry, Failure)]
    assert deaths
    assert {death.reason for death in deaths} == {"worker_died"}
    starts = [trial.user_attrs.get("starts", 1) for trial in _study(tmp_path).trials]
    assert max(starts) == 2
