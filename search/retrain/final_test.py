"""The test set, once: the only way from a retrained network to its test accuracy.

Choosing by test accuracy flatters; so does looking again. A `FinalTest` therefore hands the accuracy of one network
(digest) and one seed out exactly once. The receipt is written before the network sees a test image, so that not even a
crash in between earns a second look, and it stays in the seed's folder for everybody to see.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slimfront.evaluators import outputs

RECEIPT = "test-read.json"


class TestReadError(ValueError):
    """The test set was read for this network and seed before: the text says when, and what to do."""

    __test__ = False  # not a test, whatever pytest thinks of its name


class FinalTest:
    """Hands out one test accuracy, once.

    Args:
        folder: Of the seed; it holds the receipt.
        digest: Of the candidate.
        seed: Of the training.
    """

    def __init__(self, folder: Path, digest: str, seed: int) -> None:
        self._path = folder / RECEIPT
        self._facts: dict[str, Any] = {"digest": digest, "seed": seed}

    def read(self, measure: Callable[[], float]) -> float:
        """Write the receipt, call `measure`, which shows the network the test images, and note what it said.

        Raises TestReadError where there is a receipt already; `measure` is not called then.
        """
        opened = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._path.open("x") as file:  # the one place where two processes could meet: only one creates it
                json.dump({**self._facts, "opened": opened}, file)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            raise TestReadError(
                f"The test set was read for network {self._facts['digest']}, seed {self._facts['seed']} before "
                f"({self._path}); it is read once. Only a new --out trains, and reads, anew."
            ) from None
        accuracy = measure()
        outputs.write(self._path, json.dumps({**self._facts, "opened": opened, "accuracy": accuracy}))
        return accuracy

    def known(self) -> float | None:
        """The accuracy that was handed out; None where the test set was not read, or the reading came to nothing.

        Raises TestReadError where the receipt is of another network or seed, or cannot be read.
        """
        try:
            written = json.loads(self._path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise TestReadError(f"{self._path} cannot be read; remove its folder to train this seed anew.") from None
        if not isinstance(written, dict) or any(written.get(key) != value for key, value in self._facts.items()):
            raise TestReadError(f"{self._path} belongs to another network or seed; give another --out.")
        accuracy = written.get("accuracy")
        return float(accuracy) if accuracy is not None else None


def count_reads(folder: Path) -> int:
    """How often the test set was read for the networks in `folder`, by the receipts."""
    return sum(1 for _ in folder.rglob(RECEIPT))
