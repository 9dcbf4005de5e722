"""Which device a slot trains on."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path

import pytest
import stub_evaluator
import torch
from slimfront.evaluators.job import Job
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.workers import local as workers
from slimfront.search.workers.local import LocalProcesses
from slimfront.search.workers.ray import Evaluator, needs_of
from slimfront.spaces import references
from test_faults import _job


def test_each_worker_is_sent_its_own_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    sent: list[str] = []

    class Connection:
        def send(self, job: Job) -> None:
            sent.append(job.device)

    pool = LocalProcesses.__new__(LocalProcesses)
    pool._slots = [workers._Slot(None, Connection()) for _ in range(3)]  # type: ignore[arg-type]
    for slot in range(3):
        pool.submit(slot, dataclasses.replace(_job(tmp_path), device="cuda"))
    assert sent == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.parametrize(
    ("slots", "gpus", "share"), [(1, 1.0, 1.0), (2, 4.0, 1.0), (4, 2.0, 0.5), (8, 3.0, 0.3333), (5, 1.0, 0.2)]
)
def test_on_a_cluster_slots_share_gpus_where_they_outnumber_them(slots: int, gpus: float, share: float) -> None:
    assert needs_of(slots, gpus, 1) == {"num_gpus": share}
    assert needs_of(slots, 0.0, 2) == {"num_cpus": 2}


def test_workers_are_heard_in_turns() -> None:
    """Where the coordinator is slower than its workers, the first must not keep it from the last."""
    pool = LocalProcesses.__new__(LocalProcesses)
    pool.slots, pool._heard = 3, 2
    theirs = []
    pool._slots = []
    for _ in range(3):
        ours, other = multiprocessing.Pipe()
        theirs.append(other)
        pool._slots.append(workers._Slot(None, ours, busy=True))  # type: ignore[arg-type]
    for epoch in (1, 2):
        for slot, connection in enumerate(theirs):
            if (slot, epoch) != (1, 2):
                connection.send(Epoch("dense", epoch, 2, 1.0, 0.5, 0.0))
    heard = [found[0] for found in (pool.next(1.0) for _ in range(5)) if found is not None]
    assert heard == [0, 1, 2, 0, 2]


def test_workers_import_what_the_user_gave_and_refuse_what_has_changed_since(tmp_path: Path) -> None:
    """The code of a local process and of a cluster's actor, in this process."""
    (tmp_path / "given_to_workers.py").write_text("thing = 1\n")
    with references.only_here():
        references.give("given_to_workers.py:thing", tmp_path)
        handed = references.handed_out()
    with references.only_here():
        assert workers._refused(handed) is None
        assert references.resolve("given_to_workers.py:thing") == 1
    with references.only_here():
        Evaluator(stub_evaluator.evaluate, None, None, handed)
        assert references.resolve("given_to_workers.py:thing") == 1
    (tmp_path / "given_to_workers.py").write_text("thing = 2\n")
    with references.only_here():
        refused = workers._refused(handed)
        assert refused is not None
        assert "has changed" in refused.text
        with pytest.raises(references.CodeReferenceError, match="has changed"):
            Evaluator(stub_evaluator.evaluate, None, None, handed)
