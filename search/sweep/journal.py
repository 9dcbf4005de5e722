"""The journal of a sweep: a file with a line of JSON for each finished piece, and the settings that they belong to."""

from __future__ import annotations

from typing import Any

from slimfront.search.json_lines import append_line, read_lines
from slimfront.search.sweep.tasks import Row, Setting
from slimfront.spaces import references

JOURNAL = "journal.jsonl"


class SweepError(ValueError):
    """A sweep that cannot be: the text says what, where, and what to do."""


class Journal:
    """The finished pieces of a sweep.

    Args:
        setting: Of the sweep; its folder holds the file.
        data_digest: Of the data set.
        taken: Whether the dense network was given instead of trained.

    Attributes:
        rows: What each finished piece gave, by its name.

    Raises:
        SweepError: The folder holds a sweep with other settings.
    """

    def __init__(self, setting: Setting, data_digest: str, taken: bool) -> None:
        self._path = setting.out / JOURNAL
        identity = {
            "architecture": setting.candidate.architecture.to_dict(),
            "augmentation": setting.candidate.augmentation.to_dict(),
            "recipe": setting.recipe.to_dict(),
            "dataset": setting.dataset,
            "data_digest": data_digest,
            "seed": setting.seed,
            "retrain_epochs": setting.retrain_epochs,
            "dense_taken": taken,
        }
        code = references.sources(setting.candidate.to_dict())
        if code:
            identity["code"] = code
        found = read_lines(self._path)
        if not found:
            append_line(self._path, {"settings": identity})
        elif (old := _with_modules(found[0].get("settings") or {}, code)) != identity:
            other = next((key for key in identity if old.get(key) != identity[key]), "settings")
            raise SweepError(f"{setting.out} holds a sweep with another {other}: choose another folder.")
        self.rows: dict[str, list[Row]] = {line["piece"]: line["rows"] for line in found if "piece" in line}

    def check_sources(self) -> None:
        """Raise SweepError where there are points of a user's own method that was given, with another source."""
        for row in (row for rows in self.rows.values() for row in rows):
            for name, source in row.get("code", {}).items():
                if references.sources([name]).get(name, source) != source:
                    raise SweepError(
                        f"{name} has changed since {self._path.parent} was begun: choose another folder or name."
                    )

    def add(self, piece: str, rows: list[Row]) -> None:
        """Note a finished piece; it is on the disk when this returns."""
        append_line(self._path, {"piece": piece, "rows": rows})
        self.rows[piece] = rows


def _with_modules(old: dict[str, Any], code: dict[str, str]) -> dict[str, Any]:
    """Earlier settings with what they may lack: the modules that a user's code imports."""
    return {**old, "code": code | old["code"]} if code and "code" in old else old
