"""File size: bytes of the artifact that holds the network, without what it says of its origin."""

from __future__ import annotations

from slimfront.evaluators.scoring.cost import Cost, Subject


def _measure(subject: Subject) -> float:
    from slimfront.evaluators.artifacts.artifact import to_bytes

    return len(to_bytes(subject.network, subject.input_shape))


FILE_BYTES = Cost(
    name="file_bytes",
    title="file size",
    words="bytes of the artifact (.slim): packed weights, scales, structure; what it says of its origin is left out",
    corner=22_340_000,  # 11.17 M weights of ResNet-18 in half precision
    measure=_measure,
    unit="bytes",
)
