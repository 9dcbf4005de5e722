"""One trial in a worker process: the data set, read once a process, and the phases of its candidate."""

from __future__ import annotations

from collections.abc import Generator

from slimfront.evaluators.job import Job, Result
from slimfront.evaluators.training.loop import Epoch


def evaluate_job(job: Job) -> Generator[Epoch, None, Result]:
    """Train and compress `job.candidate`; the counterpart for final numbers is `search.retrain.job.retrain_job`."""
    import torch
    from slimfront.evaluators.data import loaded
    from slimfront.evaluators.pipeline import evaluate
    from slimfront.evaluators.training.allocator import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(job.threads)
    data = loaded.search_data(job.dataset, job.data_dir, job.image_size, job.data_digest)
    return (yield from evaluate(job, data))
