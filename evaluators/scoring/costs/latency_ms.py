"""Latency: how long the network takes for one image on this machine, as slimfront itself runs it."""

from __future__ import annotations

from slimfront.evaluators.scoring.cost import Cost, Subject


def _measure(subject: Subject) -> float:
    import torch
    from slimfront.evaluators.scoring.counting import one_thread
    from slimfront.evaluators.scoring.timing import median_seconds, some_images
    from slimfront.models.layout import layout_of

    network = subject.network.to(memory_format=layout_of(subject.network)).eval()
    image = some_images(subject.input_shape).contiguous(memory_format=torch.channels_last)
    with one_thread(), torch.inference_mode():
        return 1000 * median_seconds(lambda: network(image)).seconds


LATENCY_MS = Cost(
    name="latency_ms",
    title="latency",
    words="milliseconds for one image on this machine's CPU in slimfront's own runtime: one thread, median of 30 runs",
    corner=1000.0,
    measure=_measure,
    unit="ms",
    note="one image, one CPU thread",
)
