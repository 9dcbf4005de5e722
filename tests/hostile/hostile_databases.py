"""Databases that somebody made to harm whoever reads them.

CONTENT spoils what stands in a study whose tables are in order; a database can take all of it at once. DAMAGE spoils
the database itself, one way each. Add a function to either, and the campaign takes it along.
"""

from __future__ import annotations

import copy
import json
import random
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hostile_values import NUMBERS, TEXTS, changed, nested, value
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from slimfront.spaces import Candidate
from slimfront.studies.details import CurvePoint, Details
from slimfront.studies.record import TrialRecord
from slimfront.studies.settings import Settings
from slimfront.studies.store.constraint import system_attributes
from slimfront.studies.store.storage import create_or_load

TRIALS = 16


@dataclass
class Target:
    """A database that is being spoiled.

    Attributes:
        path: Its file.
        connection: To it.
        drawn: Where chance comes from.
        secrets: Files of the user that nothing may come out of.
    """

    path: Path
    connection: sqlite3.Connection
    drawn: random.Random
    secrets: tuple[Path, ...]

    def trials(self, most: int = 3) -> list[int]:
        """Ids of some trials."""
        known = [row[0] for row in self.connection.execute("SELECT trial_id FROM trials ORDER BY trial_id")]
        return self.drawn.sample(known, min(most, len(known)))

    def set(self, trial: int, key: str, content: Any, table: str = "trial_user_attributes") -> None:
        """Write an attribute as JSON, or as it is where it is bytes."""
        text = content.decode() if isinstance(content, bytes) else json.dumps(content)
        owner, key = table.partition("_")[0] + "_id", storable(key)
        self.connection.execute(f'DELETE FROM {table} WHERE {owner} = ? AND "key" = ?', (trial, key))
        self.connection.execute(
            f'INSERT INTO {table} ({owner}, "key", value_json) VALUES (?, ?, ?)', (trial, key, text)
        )

    def attributes(self, trial: int) -> dict[str, Any]:
        """User attributes of a trial."""
        rows = self.connection.execute(
            'SELECT "key", value_json FROM trial_user_attributes WHERE trial_id = ?', (trial,)
        )
        return {key: json.loads(text) for key, text in rows}


def storable(text: str) -> str:
    """Without halves of surrogate pairs, which SQLite does not take outside of JSON."""
    return text.encode(errors="replace").decode()


Case = Callable[[Target], None]


def artifacts_attribute(target: Target) -> None:
    """Files of the user, as those that a trial left."""
    paths = [str(path) for path in target.secrets] + [f"../private/{path.name}" for path in target.secrets]
    for trial in target.trials(TRIALS):
        target.set(trial, "artifacts", [*paths, *(f"file://{path}" for path in target.secrets), "link-to-secret"])


def spoilt_attributes(target: Target) -> None:
    """Every attribute of ours, somewhere, holds something else."""
    keys = sorted({key for trial in target.trials(TRIALS) for key in target.attributes(trial)})
    for key in keys:
        for trial in target.trials(2):
            known = target.attributes(trial).get(key, {})
            target.set(trial, key, changed({"a": known}, target.drawn).get("a"))


def texts_everywhere(target: Target) -> None:
    """Texts of the right type, with the wrong meaning."""
    for trial in target.trials(8):
        text = target.drawn.choice(TEXTS)
        known = target.attributes(trial)
        for key in ("digest", "reason", "text", "preset", "imported_from", "owner"):
            target.set(trial, key, text)
        target.set(trial, "data", {"name": text, "digest": text})
        target.set(trial, "run", {"device": text, "machine": text, text: text})
        layers = known.get("layers")
        if isinstance(layers, dict) and isinstance(layers.get("name"), list):
            target.set(trial, "layers", {**layers, "name": [text] * len(layers["name"])})


def unknown_attributes(target: Target) -> None:
    """Attributes that nobody knows, under names of all kinds."""
    for trial in target.trials():
        for _ in range(10):
            target.set(trial, target.drawn.choice(TEXTS)[:500] or "none", value(target.drawn))


def parameters(target: Target) -> None:
    """Names, domains and values of parameters."""
    domains = [
        {"name": "FloatDistribution", "attributes": {"low": 0.0, "high": 1e308, "log": False, "step": None}},
        {"name": "FloatDistribution", "attributes": {"low": 1e-9, "high": 1.0, "log": True, "step": None}},
        {"name": "IntDistribution", "attributes": {"low": 0, "high": 10**300, "log": False, "step": 1}},
        {"name": "CategoricalDistribution", "attributes": {"choices": [*TEXTS[:20], None, True, 10**30]}},
        {"name": "CategoricalDistribution", "attributes": {"choices": list(range(5000))}},
        {"name": "CategoricalDistribution", "attributes": {"choices": [nested(3), {"a": 1}]}},
    ]
    for trial in target.trials(TRIALS):
        for text in target.drawn.sample(TEXTS, 8):
            domain = target.drawn.choice(domains)
            # Of a choice that is none Optuna itself reads nothing: that is DAMAGE.
            numbers = [0, 1, -1, 0.5] if "choices" in domain["attributes"] else [0, 1, -1, 0.5, 1e308, 7]
            row = (trial, storable(text), target.drawn.choice(numbers), json.dumps(domain))
            target.connection.execute(
                "INSERT OR IGNORE INTO trial_params (trial_id, param_name, param_value, distribution_json) "
                "VALUES (?, ?, ?, ?)",
                row,
            )


def values(target: Target) -> None:
    """Accuracies and scores that are none."""
    for trial in target.trials(4):
        number = target.drawn.choice([1e308, -1e308, -1.0, 99.5, 0.0, 5e-324])
        objective = target.drawn.choice([0, 1])
        kind = target.drawn.choice(["FINITE", "INF_POS", "INF_NEG"])
        told = number if kind == "FINITE" else None
        target.connection.execute(
            "UPDATE trial_values SET value = ?, value_type = ? WHERE trial_id = ? AND objective = ?",
            (told, kind, trial, objective),
        )


def study_attributes(target: Target) -> None:
    """What a study says of itself."""
    rows = target.connection.execute("SELECT study_id FROM studies").fetchall()
    for (study,) in rows:
        identity = {
            "dataset": target.drawn.choice(["digits", f"folder:{target.secrets[0].parent}", *TEXTS]),
            "image_size": target.drawn.choice(NUMBERS),
            "bar": target.drawn.choice([0.5, 0.9, *NUMBERS, *TEXTS]),
            "seed": target.drawn.choice(NUMBERS),
            "space": value(target.drawn),
            "data": target.drawn.choice(TEXTS),
        }
        content = target.drawn.choice([identity, value(target.drawn)])
        target.set(study, "identity", content, "study_user_attributes")
        target.set(study, "seconds_worked", value(target.drawn), "study_user_attributes")


def notes_and_pictures(target: Target) -> None:
    """Notes, pictures and files that the dashboard shows."""
    (study,) = target.connection.execute("SELECT study_id FROM studies").fetchone()
    for trial in target.trials():
        text = "\n\n".join(text for text in TEXTS if len(text) < 200)
        target.set(study, f"dashboard:{trial}:note_ver", 1, "study_system_attributes")
        target.set(study, f"dashboard:{trial}:note_str:0", text, "study_system_attributes")
        for name in (*(path.name for path in target.secrets), "../private/secret.txt", str(uuid.uuid4())):
            kind = target.drawn.choice(["text/html", "text/javascript", "image/svg+xml", "text/plain"])
            meta = {"artifact_id": name, "filename": target.drawn.choice(TEXTS), "mimetype": kind, "encoding": None}
            key = f"dashboard:artifacts:{trial}:{name}"
            target.set(study, key, json.dumps(meta), "study_system_attributes")
    figure = {
        "data": [{"type": "scatter", "x": [1, 2], "y": [1, 2], "name": "<b onclick='window.pwned=1'>a</b>"}],
        "layout": {
            "title": {"text": "<a href='javascript:window.pwned=1'>title</a><script>window.pwned=1</script>"},
            "images": [{"source": "http://127.0.0.1:9/leak.png"}],
        },
    }
    target.set(study, "dashboard:plot_data:hostile:0", json.dumps(figure), "study_system_attributes")


CONTENT: tuple[Case, ...] = (
    artifacts_attribute,
    spoilt_attributes,
    texts_everywhere,
    unknown_attributes,
    parameters,
    values,
    study_attributes,
    notes_and_pictures,
)


def _sql(statement: str) -> Case:
    def spoil(target: Target) -> None:
        target.connection.executescript(statement)

    return spoil


def _endless_view(target: Target) -> None:
    target.connection.executescript(
        """
        ALTER TABLE studies RENAME TO kept;
        CREATE VIEW studies AS WITH RECURSIVE n(study_id) AS (SELECT 1 UNION ALL SELECT study_id + 1 FROM n)
        SELECT study_id, 'a' || study_id AS study_name FROM n;
        """
    )


def _swelling_column(target: Target) -> None:
    target.connection.executescript(
        """
        ALTER TABLE study_user_attributes RENAME TO kept;
        CREATE TABLE study_user_attributes (
            study_user_attribute_id INTEGER PRIMARY KEY, study_id INTEGER, "key" TEXT,
            value_json TEXT GENERATED ALWAYS AS (hex(zeroblob(50000000)))
        );
        INSERT INTO study_user_attributes (study_id, "key") VALUES (1, 'identity');
        """
    )


def _deep_attribute(target: Target) -> None:
    for trial in target.trials():
        target.set(trial, "account", b"[" * 100_000 + b"]" * 100_000)


def _broken_attribute(target: Target) -> None:
    for trial in target.trials():
        target.set(trial, "digest", b"{not json")


def _cut_off(target: Target) -> None:
    _rewrite(target, lambda data: data[: target.drawn.randrange(100, len(data))])


def _flipped(target: Target) -> None:
    def flip(data: bytes) -> bytes:
        changed_data = bytearray(data)
        for _ in range(200):
            changed_data[target.drawn.randrange(100, len(data))] ^= 1 << target.drawn.randrange(8)
        return bytes(changed_data)

    _rewrite(target, flip)


def _no_database(target: Target) -> None:
    _rewrite(target, lambda data: b"name,value\n=1+1,2\n" * 100)


def _rewrite(target: Target, change: Callable[[bytes], bytes]) -> None:
    target.connection.commit()
    target.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    target.connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    target.connection.close()
    target.path.write_bytes(change(target.path.read_bytes()))


_ANY = "WHERE trial_id = (SELECT max(trial_id) FROM trials)"
DAMAGE: Mapping[str, Case] = {
    "endless view": _endless_view,
    "swelling column": _swelling_column,
    "trigger": _sql("CREATE TRIGGER t AFTER INSERT ON study_system_attributes BEGIN DELETE FROM trials; END"),
    "deep attribute": _deep_attribute,
    "broken attribute": _broken_attribute,
    "unknown state": _sql(f"UPDATE trials SET state = 'OWNED' {_ANY}"),
    "no number": _sql(f"UPDATE trials SET number = 'x' {_ANY}"),
    "no date": _sql(f"UPDATE trials SET datetime_start = 'yesterday' {_ANY}"),
    "first date": _sql(f"UPDATE trials SET datetime_start = '0001-01-01 00:00:00' {_ANY}"),
    "no value": _sql("UPDATE trial_values SET value = 'much'"),
    "missing value": _sql("UPDATE trial_values SET value = NULL"),
    "unknown direction": _sql("UPDATE study_directions SET direction = 'SIDEWAYS'"),
    "no direction": _sql("DELETE FROM study_directions"),
    "many directions": _sql("INSERT INTO study_directions (direction, study_id, objective) VALUES ('MINIMIZE', 1, 7)"),
    "no choice": _sql(
        """UPDATE trial_params SET param_value = 1e308, distribution_json =
        '{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2]}}'"""
    ),
    "no domain": _sql("UPDATE trial_params SET distribution_json = 'nothing'"),
    "unknown domain": _sql("""UPDATE trial_params SET distribution_json = '{"name": "os", "attributes": {}}'"""),
    "no bytes of text": _sql("UPDATE studies SET study_name = CAST(x'ff00fe' AS TEXT)"),
    "other version": _sql("UPDATE version_info SET schema_version = 99, library_version = char(27) || '[2J'"),
    "table gone": _sql("DROP TABLE trial_values"),
    "column gone": _sql("ALTER TABLE trial_user_attributes RENAME COLUMN value_json TO other"),
    "cut off": _cut_off,
    "flipped": _flipped,
    "no database": _no_database,
}


def honest(path: Path, settings: Settings, data_digest: str, name: str = "theirs", seed: int = 0) -> None:
    """A study as a search of ours leaves it, with made-up results."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = create_or_load(optuna.storages.RDBStorage(f"sqlite:///{path}"), name)
    study.set_user_attr("identity", {**settings.identity(), "data": data_digest})
    drawn, space = random.Random(seed), settings.make_space()
    shadow = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed))
    made = []
    for number in range(TRIALS):
        asked = shadow.ask({"note": FloatDistribution(0, 1)})
        candidate = space.sample(asked)
        state = TrialState.COMPLETE if number % 4 else TrialState.PRUNED
        accuracy, score = round(drawn.uniform(0.5, 1.0), 4), drawn.uniform(0.001, 0.1)
        made.append(
            optuna.create_trial(
                state=state,
                values=[accuracy, score] if state == TrialState.COMPLETE else None,
                params=asked.params,
                distributions=asked.distributions,
                user_attrs=_attributes(candidate, accuracy, score, settings, data_digest),
                system_attrs=system_attributes(accuracy, settings.bar),
            )
        )
    study.add_trials(made)


def _attributes(
    candidate: Candidate, accuracy: float, score: float, settings: Settings, data_digest: str
) -> dict[str, Any]:
    layer = {"kind": "conv", "weights": 432, "stored_weights": 400, "macs": 4_000, "strict_bits": 9_000}
    layers = [{"name": name, **layer, "weight_bits": 4, "activation_bits": 8} for name in ("stem.conv", "classifier")]
    parts = {"score": score, "score_params": score / 4, "score_ops": 3 * score / 4, "strict_score": score}
    epochs = candidate.recipe.epochs
    curve = tuple(CurvePoint("dense", n, epochs, 1 / n, accuracy, 0.1) for n in range(1, epochs + 1))
    environment = {"python": "3.11", "machine": "a machine", "commit": "unknown"}
    record = TrialRecord.begin(
        0,
        candidate,
        seed=settings.seed,
        dataset=settings.dataset,
        data_digest=data_digest,
        accuracy=accuracy,
        totals={"parameters": 900, "weights": 864, "stored_weights": 800, "macs": 8_000, **parts},
        phases=({"stage": "dense", "accuracy": accuracy},),
        seconds=1.5,
        device="cpu",
        threads=1,
        reason="below_bar",
        bound=0.7,
        load=lambda: Details(curve, tuple(layers), environment),
    )
    names = ("nominal_p_s", "p_s", "nominal_p_u", "p_u", "score", "nominal_formula")
    beside = {"notes": ["a remark"], "account": dict.fromkeys(names, 0.25), "dense_of": 0, "starts": 1}
    return copy.deepcopy(record.to_attributes() | beside)


def spoil(path: Path, cases: tuple[Case, ...], seed: int, secrets: tuple[Path, ...]) -> None:
    """Do all that to a database; a seed does the same each time."""
    connection = sqlite3.connect(path)
    connection.text_factory = lambda data: data.decode(errors="surrogateescape")
    target = Target(path, connection, random.Random(seed), secrets)
    for case in cases:
        case(target)
    try:
        connection.commit()
        connection.close()
    except sqlite3.ProgrammingError:  # a case has closed it
        pass
