"""Latency in ONNX Runtime: how long the exported network takes for one image on this machine."""

from __future__ import annotations

from slimfront.evaluators.scoring.cost import Cost, Subject


def _measure(subject: Subject) -> float:
    import tempfile
    from pathlib import Path

    from slimfront.evaluators.artifacts.onnx_export import export, latency

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export(subject.network, path, subject.input_shape)
        return 1000 * latency(path, subject.input_shape, batch=1).seconds_per_image


ONNX_LATENCY_MS = Cost(
    name="onnx_latency_ms",
    title="latency in ONNX Runtime",
    words="milliseconds for one image on this machine's CPU in ONNX Runtime: one thread, median of 30 runs",
    corner=1000.0,
    measure=_measure,
    unit="ms",
    note="one image, one CPU thread",
    packages=("onnx", "onnxruntime"),
)
