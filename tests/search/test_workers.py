"""Which device a slot trains on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from test_faults import _job

from search import workers
from search.ray_workers import needs_of
from search.workers import LocalProcesses


def test_each_worker_is_sent_its_own_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    sent: list[str] = []

    class Connection:
        def send(self, job: workers.Job) -> None:
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
