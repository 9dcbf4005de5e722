"""A study's settings: what a `studies/*.toml` says, with the command line's changes on top."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from slimfront.spaces import CandidateError, Space, SpaceError, presets, references
from slimfront.studies.foreign.files import read_small
from slimfront.studies.foreign.text import visible
from slimfront.studies.foreign.values import LARGEST_NUMBER
from slimfront.studies.samplers.tpe import TPE
from slimfront.studies.sampling import SAMPLERS

_TEXTS = ("name", "dataset")  # keys whose text may have a colon, and names no code
LARGEST_FILE = 2**20  # bytes of a study file
_LONGEST, _LONGEST_ERROR = 100, 1000  # characters of a refused value and of a whole error that are shown


class SettingsError(ValueError):
    """Settings that cannot be: the text names the key and what is allowed."""


def _shipped(path: Path) -> Path:
    """The file; where there is none, slimfront's own of that name, such as "studies/quick.toml"."""
    own = Path(__file__).parent / path.name
    return own if path.parent == Path("studies") and not path.exists() and own.exists() else path


@dataclass(frozen=True)
class Settings:
    """Everything that a study is started with.

    Attributes:
        name: Of the study in its storage.
        dataset: Name of the data set.
        space: As written in TOML.
        bar: Accuracy that the front demands, in (0, 1].
        trials: How many trials the study has in all; None: no limit.
        hours: How long it works in all, across restarts; None: no limit.
        seed: Of sampling and of every training.
        sampler: One of `slimfront.studies.sampling.SAMPLERS`, or a user's own.
        startup_trials: Random trials before the sampler begins to learn.
        presets: Candidates that are tried first.
        max_score: Candidates above this score are not trained; None: no limit.
        image_size: Side that an image folder's pictures are resized to.
        early_stopping: Rules of early stopping (`search.early_stopping.Rules`); what is absent has its default.
    """

    name: str
    dataset: str
    space: Mapping[str, Any] = field(hash=False)
    bar: float = 0.9
    trials: int | None = None
    hours: float | None = None
    seed: int = 0
    sampler: str = TPE.name
    startup_trials: int = 10
    presets: tuple[str, ...] = ()
    max_score: float | None = None
    image_size: int | None = None
    early_stopping: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        def need(condition: bool, key: str, allowed: str) -> None:
            if not condition:
                raise SettingsError(f"{key} must be {allowed}, but got {_shown(getattr(self, key))}.")

        for key in ("name", "dataset"):
            value = getattr(self, key)
            need(isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable(), key, "a short text")
        need(0 < self.bar <= 1, "bar", "in (0, 1]")
        need(self.trials is None or self.trials >= 1, "trials", "1 or more")
        need(self.hours is None or self.hours > 0, "hours", "above 0")
        need(0 <= self.seed < 2**31, "seed", "in 0..2147483647")
        if self.sampler not in SAMPLERS:
            raise SettingsError(f"sampler: {SAMPLERS.unknown(self.sampler)}")
        need(self.startup_trials >= 1, "startup_trials", "1 or more")
        need(self.max_score is None or self.max_score > 0, "max_score", "above 0")
        need(all(name in presets for name in self.presets), "presets", "names among " + ", ".join(presets))
        self.make_space()

    def make_space(self) -> Space:
        """The space. Raises SettingsError where it cannot be."""
        try:
            return Space(self.space)
        except (SpaceError, CandidateError, references.CodeReferenceError) as error:
            raise SettingsError(f"space: {visible(error, most=_LONGEST_ERROR)}") from None

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a study file, or slimfront's own of that name; code of the user's own that it names is imported.

        Raises SettingsError naming the file and the key.
        """
        path = _shipped(path)
        try:
            written = tomllib.loads(read_small(path, LARGEST_FILE))
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror or error}.") from None
        except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError, an endless number
            raise SettingsError(f"{path} is not valid TOML: {visible(error, most=2 * _LONGEST)}.") from None
        try:
            named = references.named_in({key: value for key, value in written.items() if key not in _TEXTS})
            references.give_all(named, path.parent)
            return cls.from_dict(written, path.stem)
        except (SettingsError, references.CodeReferenceError) as error:
            raise SettingsError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, written: Mapping[str, Any], default_name: str) -> Self:
        """From tables as TOML gives them; the name may be left out."""
        kinds = {item.name: str(item.type) for item in dataclasses.fields(cls)}
        values: dict[str, Any] = {"name": default_name, **written}
        for key, value in values.items():
            if key not in kinds:
                raise SettingsError(f"{visible(key, most=_LONGEST)} is unknown (known: {', '.join(kinds)}).")
            values[key] = _typed(key, value, kinds[key])
        for key in ("dataset", "space"):
            if key not in values:
                raise SettingsError(f"{key} is missing.")
        return cls(**values)

    def changed(self, **changes: Any) -> Settings:
        """A copy with those changes that are not None."""
        return dataclasses.replace(self, **{key: value for key, value in changes.items() if value is not None})

    def identity(self) -> dict[str, Any]:
        """What must not change within a study, as plain JSON values: otherwise its trials do not compare."""
        return {
            "dataset": self.dataset,
            "image_size": self.image_size,
            "bar": self.bar,
            "seed": self.seed,
            "space": self.space,
        }


def _typed(key: str, value: Any, kind: str) -> Any:
    """`value` as the field's type, where TOML's type fits; otherwise SettingsError."""
    if kind.startswith("Mapping") and isinstance(value, Mapping):
        return value
    if kind.startswith("tuple") and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    number = not isinstance(value, bool) and isinstance(value, int | float)
    if "float" in kind and number and abs(value) <= LARGEST_NUMBER:
        return float(value)
    if kind.startswith("int") and number and isinstance(value, int):
        return value
    if kind == "str" and isinstance(value, str):
        return value
    raise SettingsError(f"{key} must be a {kind.split(' ')[0].split('[')[0].lower()}, but got {_shown(value)}.")


def _shown(value: Any) -> str:
    return visible(repr(value), most=_LONGEST)
