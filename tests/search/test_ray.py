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
from slimfront.evaluators.data.splits import search_data
from slimfront.evaluators.job import Failure, Job, Result
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.launch import launch
from slimfront.search.workers import ray as ray_workers
from slimfront.search.workers.ray import RayWorkers
from slimfront.studies.errors import StudyError
from slimfront.studies.settings import Settings
from test_faults import _job
from test_search import _options, _settings, _trials


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
    starts = [trial.starts or 1 for trial in _trials(tmp_path)]
    assert max(starts) == 2


NETS_OF_HERS = {
    "models/__init__.py": "from .small import Small\n",
    "models/small.py": """
from torch import nn
from utils import flat
class Small(nn.Module):
    def __init__(self, num_classes=10, in_channels=3, width=4):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1)
        self.fc = nn.Linear(width, num_classes)
    def forward(self, x):
        return self.fc(flat(self.conv(x)))
""",
    "utils.py": "def flat(x): return x.relu().mean((2, 3))\n",
    "main_nets.py": "from models import Small\n",
    "s.toml": """
dataset = "digits"
trials = 1
[space.architecture]
family = "main_nets.py:Small"
[space.architecture.small]
width = 4
[space.recipe]
epochs = 1
starting_weights = "mine.safetensors"
sgd.learning_rate = 1e-9
""",
}


@pytest.mark.slow
def test_a_network_with_modules_of_hers_is_trained_on_a_cluster(cluster: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from slimfront.evaluators.training.loop import accuracy
    from slimfront.spaces import references

    for name, text in NETS_OF_HERS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with references.only_here():
        references.give("main_nets.py:Small", tmp_path)
        network = references.resolve("main_nets.py:Small")(in_channels=1)
        save_file(network.state_dict(), tmp_path / "mine.safetensors")
        options = _options(tmp_path, workers=1, ray=cluster.address)
        _, summary, _ = launch(Settings.from_toml(tmp_path / "s.toml"), options)
        expected = accuracy(network, search_data("digits").validation, "cpu")
    assert summary["trials"]["complete"] == 1, summary["trials"]
    (trial,) = _trials(tmp_path)
    assert trial.accuracy == pytest.approx(expected, abs=0.01)  # with her weights: it learns nothing
    assert set(trial.code) == {
        "main_nets.py:Small",
        *(f"{path} of main_nets.py" for path in ("models/__init__.py", "models/small.py", "utils.py")),
    }
