"""The JSON schema of a study file, for editors that complete and check TOML (Taplo, for one).

It is kept beside the studies that come with slimfront, `studies/schema.json`, and is written anew by

    python -m slimfront.studies.settings.schema > studies/schema.json

A study file names it in its first line, `#:schema PATH/TO/schema.json`. It says types, ranges and names; what keys may
not be together, and what a user's own members take, only the command itself says.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slimfront.evaluators.scoring.cost import COSTS, LARGEST
from slimfront.spaces import presets
from slimfront.spaces.candidate import GRANULARITIES, UNCOMPRESSED_TEACHER, Augmentation, Recipe
from slimfront.spaces.criteria import METHODS, NO_METHOD
from slimfront.spaces.domain import MOST_CHOICES
from slimfront.spaces.family import FAMILIES, Axis
from slimfront.spaces.optimizers import DECAYS, OPTIMIZERS
from slimfront.spaces.policies import NO_POLICY, POLICIES
from slimfront.spaces.space import known_keys
from slimfront.studies.sampling import SAMPLERS
from slimfront.studies.settings.model import EarlyStopping, Settings
from slimfront.studies.settings.supernet import SupernetTable

FILE = Path(__file__).parent.parent / "schema.json"

_REFERENCE = {"type": "string", "pattern": ":", "description": "A user's own: FILE.py:NAME or PACKAGE.MODULE:NAME."}
_STAGE = r"^[0-9]+$"


def study_schema() -> dict[str, Any]:
    """The schema, of JSON Schema's draft 7."""
    schema = Settings.model_json_schema()
    schema.pop("$defs", None)
    properties = schema["properties"]
    properties["early_stopping"] = EarlyStopping.model_json_schema()
    properties["supernet"] = SupernetTable.model_json_schema()
    for name, part in (("recipe", Recipe), ("augmentation", Augmentation)):
        keys: dict[str, Any] = {field.name: {} for field in dataclasses.fields(part) if field.name != "epochs"}
        properties["supernet"]["properties"][name] |= {"properties": keys, "additionalProperties": False}
    space, definitions = _space()
    properties["space"] = {"description": properties["space"]["description"], **space}
    properties["sampler"] |= {"anyOf": _names(SAMPLERS.names)}
    costs = {"anyOf": _names(COSTS.names)}
    properties["cost"] |= costs
    properties["measure"]["items"] = costs
    bound = {"type": "number", "exclusiveMinimum": 0, "maximum": LARGEST}
    properties["max"] |= {"propertyNames": costs, "additionalProperties": bound}
    properties["presets"]["items"] = {"enum": list(presets)}
    schema["required"] = [name for name in schema["required"] if name != "name"]  # the file's, where it says none
    top = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "A study of slimfront"}
    return {**schema, **top, "definitions": definitions}


def text() -> str:
    """The file's text."""
    return json.dumps(study_schema(), indent=1) + "\n"


def _space() -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of [space], and of the domains in it by name: families share most of theirs."""
    axes = {f"architecture.{f.name}.{key}": axis for f in FAMILIES for key, axis in f.keys.items()}
    words = {
        "architecture.family": FAMILIES.names,
        "augmentation.policy": (NO_POLICY, *POLICIES.names),
        "recipe.optimizer": OPTIMIZERS.names,
        "recipe.decay": DECAYS.names,
    }
    for kind in GRANULARITIES:
        names = (method.name for method in METHODS if method.granularity == kind)
        words[f"pruning.{kind}.method"] = (NO_METHOD, *names)
    root = _table()
    definitions: dict[str, Any] = {}
    for key, default in known_keys().items():
        *tables, last = key.split(".")
        place = root
        for name in tables:
            place = place["properties"].setdefault(name, _table())
        if key in axes:
            values = [_axis(axes[key])]
        elif key in words:
            values = _names(words[key])
        elif key == "recipe.teacher":
            values = [{"enum": ["", UNCOMPRESSED_TEACHER, *presets]}]
        elif key == "recipe.starting_weights":
            values = [{"type": "string"}]
        else:
            values = [{"type": "boolean" if isinstance(default, bool) else "number"}]
        per_stage = axes[key].per_stage if key in axes else tables == ["bits"] and last in ("weights", "activations")
        domain = _defined(last, _domain(values), definitions)
        if per_stage:  # width.0 = 8, or "width.0" = 8 beside width = 16
            place.setdefault("patternProperties", {})[rf"^{last}\.[0-9]+$"] = domain
            stages = {"type": "object", "patternProperties": {_STAGE: domain}, "additionalProperties": False}
            domain = {"anyOf": [domain, stages]}
        if default is not None:
            domain = {"allOf": [domain], "default": default}
        place["properties"][last] = domain
    # A user's own families, policies and optimizers have tables of their own.
    for name in ("architecture", "augmentation", "recipe"):
        root["properties"][name]["additionalProperties"] = {"type": "object"}
    return root, definitions


def _defined(name: str, schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A schema by its name among the definitions; another one of that name gets another name."""
    while definitions.setdefault(name, schema) != schema:
        name += "_"
    return {"$ref": f"#/definitions/{name}"}


def _table() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "additionalProperties": False}


def _names(names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"enum": list(names)}, _REFERENCE]


def _axis(axis: Axis) -> dict[str, Any]:
    if axis.among:
        return {"enum": list(axis.among)}
    low = "exclusiveMinimum" if axis.positive else "minimum"
    return {"type": "integer" if axis.whole else "number", low: axis.low, "maximum": axis.high}


def _domain(values: list[dict[str, Any]]) -> dict[str, Any]:
    """A value, a list of values, or a range where it is a number."""
    one = values[0] if len(values) == 1 else {"anyOf": values}
    choices = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_CHOICES, "uniqueItems": True}
    found = [*values, choices]
    if _is_number(one):
        end = {"type": one.get("type", "number")} | {key: one[key] for key in one if key.endswith("imum")}
        ends = {"low": end, "high": end, "step": {"type": "number", "exclusiveMinimum": 0}, "log": {"type": "boolean"}}
        found.append({"type": "object", "properties": ends, "required": ["low", "high"], "additionalProperties": False})
    return {"anyOf": found}


def _is_number(schema: Mapping[str, Any]) -> bool:
    among = schema.get("enum", [""])
    return schema.get("type") in ("integer", "number") or all(type(value) is int for value in among)


if __name__ == "__main__":
    print(text(), end="")
