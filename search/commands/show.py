"""What the reading commands do: gather and print. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from slimfront.evaluators import outputs
from slimfront.evaluators.scoring.cost import CostAxis, in_figures
from slimfront.search.terminal import Console
from slimfront.spaces import Candidate, CandidateError, Pruning, presets, references
from slimfront.spaces.candidate import BIT_WIDTHS
from slimfront.studies.foreign.files import read_small
from slimfront.studies.report.page import counted, percent_number  # never rounds up: 89.996 % must not pass for 90

if TYPE_CHECKING:
    from slimfront.search.launch import Options
    from slimfront.studies.settings import Settings

LARGEST_CANDIDATE = 2**20  # bytes of a candidate's JSON file
LATEST_PAGES = 20  # trials that get a page of their own when the dashboard opens, besides the front
INPUT_SHAPE, CLASSES = (3, 32, 32), 10  # of CIFAR-10, which the score is defined on


def front_of(
    storage: str, name: str | None, bar: float | None, csv: Path | None, plot: Path | None, importance: bool = False
) -> tuple[dict[str, Any], dict[str, str]]:
    """Summary of a study, and the files that were asked for; with `importance` also which parameters matter."""
    from slimfront.studies.pictures.files import check_picture
    from slimfront.studies.store.identity import bar_of
    from slimfront.studies.store.read_only import open_for_reading
    from slimfront.studies.store.storage import storage_files
    from slimfront.studies.store.study import find_study, snapshot
    from slimfront.studies.summary import summary, to_csv

    outputs.check({"--csv": csv, "--plot": plot}, storage_files(storage))
    outputs.check_ending("--csv", csv, (".csv", ".txt"), "comma-separated values")
    check_picture("--plot", plot)
    study = snapshot(find_study(open_for_reading(storage), name))
    bar = bar_of(study.name, study.identity, bar)
    files = {"storage": study.storage}
    if csv is not None:
        files["csv"] = str(to_csv(study.trials, csv, bar))
    if plot is not None:
        from slimfront.studies.pictures.plots import front_plot

        ladder = study.identity.get("dataset") == "cifar10"
        drawn = front_plot(study.trials, bar, plot, ladder=ladder, axis=study.cost, cloud=study.cloud)
        files["plot"] = str(drawn)
    told = summary(study, bar)
    if importance:
        from slimfront.studies.analysis.importance import importances

        found = importances(study.trials, bar)
        key = "cost" if "objective" in told else "score"
        told["importance"] = {
            "among": found.among,
            "parameters": {name: {"accuracy": a, key: b} for name, (a, b) in found.shares.items()},
        }
    return told, files


def print_plan(settings: Settings, options: Options, as_json: bool) -> None:
    """The plan of a study's hours: lines, or one JSON object."""
    from slimfront.search.supernet.plan import lines
    from slimfront.search.supernet.planning import plan_only

    plan = plan_only(settings, options)
    print(json.dumps(plan.to_dict(), indent=2) if as_json else "\n".join(lines(plan)))


def print_front(summary: dict[str, Any], files: dict[str, str]) -> None:
    """The front as a table; where it is empty, that, and the nearest trials."""

    counts = summary["trials"]
    networks = summary["front"] or summary["nearest"]
    bar = f"{percent_number(summary['bar'])}%"
    objective = summary.get("objective")
    keys = {"score": "score", "params term": "score_params", "ops term": "score_ops", "strict score": "strict_score"}
    if objective is not None:
        keys = {CostAxis(**objective).head: "cost", "score": "score", "strict score": "strict_score"}
    beside = dict.fromkeys(name for row in networks for name in row.get("costs", ()) if name not in row)
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 100 + 20 * len(beside))  # a file or pipe has no width to cut numbers at
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in ("trial", "accuracy", *keys, *beside, "digest"):
        table.add_column(column, justify="left" if column == "digest" else "right", no_wrap=True)
    for row in networks:
        numbers = [row.get(key) for key in keys.values()] + [row.get("costs", {}).get(name) for name in beside]
        cells = ["" if number is None else in_figures(number) for number in numbers]
        table.add_row(str(row["trial"]), f"{percent_number(row['accuracy'])}%", *cells, str(row["digest"] or ""))
    console.print()
    if summary["front"]:
        console.print(f"The front of {summary['study']}: {counted(len(networks), 'network')} at or above {bar}")
    elif networks:
        console.print(f"No trial of {summary['study']} reaches {bar}. The nearest:")
    else:
        console.print(f"No trial of {summary['study']} is complete yet.")
    if networks:
        console.print(table)
    words = {"pruned": "stopped early", "running": "running or left for the next start"}
    told = ", ".join(f"{number} {words.get(state, state)}" for state, number in counts.items() if number)
    console.print(f"trials: {told or 'none'}; hypervolume {summary['hypervolume']:.4g} points x decades")
    for line in remarks(summary):
        console.print(line, soft_wrap=True)
    if "importance" in summary:
        title = "score" if objective is None else objective["title"]
        _print_importance(console, summary["importance"], title)
    for what, where in files.items():
        console.print(f"{what}: {where}", soft_wrap=True, highlight=False)


def _print_importance(console: Console, importance: dict[str, Any], title: str) -> None:
    """Shares of the differences that each parameter explains, a column for each objective."""
    if not importance["parameters"]:
        console.print("Which parameters matter is known from ten complete trials on.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    table.add_column("parameter", no_wrap=True)
    for column in ("of accuracy", f"of {title}"):
        table.add_column(column, justify="right")
    for name, shares in importance["parameters"].items():
        table.add_row(name, *(f"{share:.0%}" for share in shares.values()))
    console.print(f"What explains the differences {importance['among']}:", soft_wrap=True)
    console.print(table)


def remarks(summary: dict[str, Any]) -> list[str]:
    """How early stopping fared, and where the front lies on bounds of the space."""
    from slimfront.studies.analysis.bounds import Edge
    from slimfront.studies.analysis.false_stops import FalseStops

    told = summary["early_stopping"]
    stops = FalseStops(told["stopped"], told["spared"], told["false"], told["hypervolume_lost"])
    return [str(stops), *(str(Edge(**edge)) for edge in summary["edges"])]


def open_dashboard(storage: str, name: str | None, host: str, port: int) -> None:
    """Draw the panels anew and serve optuna-dashboard until interrupted; studies of other programs stay as they are.

    Raises:
        StudyError: There is no such study, or none that is slimfront's.
    """
    from slimfront.studies.dashboard.files import artifacts_folder, check_folder
    from slimfront.studies.dashboard.server import serve, update_panels
    from slimfront.studies.dashboard.trial_pages import update_pages
    from slimfront.studies.store.read_only import open_existing
    from slimfront.studies.store.storage import load_study, own_studies
    from slimfront.studies.store.study import StudyStore, cost_of, snapshot

    folder = artifacts_folder(storage)
    check_folder(folder)
    opened, writable = open_existing(storage)
    studies, others = own_studies(opened) if name is None else ([load_study(opened, name)], [])
    if others:
        Console(stderr=True).say(f"not slimfront's, and left as they are: {', '.join(map(repr, others))}")
    if writable:
        folder.mkdir(parents=True, exist_ok=True)
    else:
        Console(stderr=True).say("The storage is only read: panels and notes are as they were last drawn.")
    for found in studies if writable else ():
        store = StudyStore(opened, found.study_name)
        bar = snapshot(store).bar
        update_panels(store, bar, cost_of(store))
        update_pages(store, bar, folder, latest=LATEST_PAGES)
    serve(storage, port=port, host=host, artifacts=str(folder), report=Console().say)


def candidate_file(text: str | None) -> Path | None:
    """The file that a candidate is read from; None: it is a preset, or none is given."""
    return None if text is None or text in presets else Path(text)


def read_candidate(text: str) -> Candidate:
    """A preset by name, or a candidate's JSON file. Raises CandidateError."""
    if text in presets:
        return presets[text]
    path = Path(text)
    if not path.is_file():
        raise CandidateError(f"{text!r} is neither a preset ({', '.join(presets)}) nor a file.")
    try:
        written = read_small(path, LARGEST_CANDIDATE)
    except UnicodeDecodeError:
        raise CandidateError(f"{path} is not a text file.") from None
    except OSError as error:
        raise CandidateError(f"{path} is no candidate: {error.strerror or error}.") from None
    try:
        candidate = Candidate.from_json(written)
    except CandidateError as error:
        raise CandidateError(f"{path}: {error}") from None
    references.check_given(candidate.to_dict())
    from slimfront.models.network import LARGEST_NETWORK, count_weights

    most = count_weights(candidate.architecture, CLASSES, INPUT_SHAPE[0])
    if most > LARGEST_NETWORK:
        raise CandidateError(f"{path}: its network has {most:,} weights; {LARGEST_NETWORK:,} are allowed.")
    return candidate


def score_of(
    candidate: str, weight_bits: int | None, activation_bits: int | None, structured: float, unstructured: float
) -> dict[str, Any]:
    """What `score` prints: the measured score on 3x32x32 images and ten classes, and the closed formula beside it."""
    import dataclasses

    from slimfront.evaluators.scoring.expected import expected_score
    from slimfront.evaluators.scoring.score import formula

    chosen = read_candidate(candidate)
    given = (weight_bits, weight_bits if activation_bits is None else activation_bits)
    own = (max(chosen.bits.weights), max(chosen.bits.activations))
    bits = (own[0] if given[0] is None else given[0], own[1] if given[1] is None else given[1])
    for option, value in (("--weight-bits", bits[0]), ("--activation-bits", bits[1])):
        if value not in BIT_WIDTHS:
            raise CandidateError(f"{option} must be one of {', '.join(map(str, BIT_WIDTHS))}, but got {value}.")
    overridden = None if given == (None, None) else bits
    measured = expected_score(chosen, INPUT_SHAPE, CLASSES, overridden)
    unpruned = measured
    if chosen.pruning != Pruning():
        unpruned = expected_score(dataclasses.replace(chosen, pruning=Pruning()), INPUT_SHAPE, CLASSES)
    closed = formula(unpruned.weights, unpruned.macs, structured, unstructured, *bits)
    return {"digest": chosen.digest, **measured.to_dict(), "formula": closed}


def print_score(result: dict[str, Any]) -> None:
    """The score layer by layer, and what it adds up to."""
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("layer", "kind", "weights", "stored", "MACs", "bits w/a"):
        table.add_column(column, justify="left" if column in ("layer", "kind") else "right")
    for layer in result["layers"]:
        table.add_row(
            layer["name"],
            layer["kind"],
            f"{layer['weights']:,}",
            f"{layer['stored_weights']:,}",
            f"{layer['macs']:,}",
            f"{layer['weight_bits']}/{layer['activation_bits']}",
        )
    console.print(table)
    console.print(
        f"{result['parameters']:,} parameters, {result['weights']:,} weights, {result['macs']:,} multiply-adds an image"
    )
    params, ops = result["score_params"], result["score_ops"]
    console.print(f"score {result['score']:.6g} = params term {params:.6g} + ops term {ops:.6g}")
    console.print(f"strict score {result['strict_score']:.6g}; closed formula {result['formula']:.6g}")


def source_of(name: str, data_dir: Path | None, image_size: int | None) -> dict[str, Any]:
    """What `data` prints: where a data set lies, where it came from, what was checked."""
    from dataclasses import asdict

    from slimfront.evaluators.data.splits import DataError, check_image_size, check_name, fetch

    if image_size is not None:
        check_name(name)
        try:
            check_image_size(name, image_size)
        except DataError as error:
            raise DataError(f"--image-size {image_size}: {error}") from None
    say = Console(stderr=True).say
    found = fetch(name, data_dir=data_dir, image_size=image_size, progress=say)
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(found).items()}


def print_source(found: dict[str, Any]) -> None:
    """One line a fact."""
    console = Console()
    for key, value in found.items():
        for line in value if key == "notes" else [value]:
            console.print(f"{key.replace('_', ' ')}: {line}", highlight=False, soft_wrap=True)


def run_sweep(candidate: Candidate, *, methods: list[str] | None, ratios: str | None, **other: Any) -> dict[str, Any]:
    """Run `slimfront.search.sweep.run.sweep`; `ratios` as the command line gives them."""
    from slimfront.evaluators.data.splits import notes_of
    from slimfront.search.launch import Options, resources
    from slimfront.search.sweep import run as sweeps
    from slimfront.search.sweep.journal import JOURNAL
    from slimfront.search.sweep.results import FILES
    from slimfront.studies.store.storage import typed_command

    outputs.check_outside_data("--out", other["out"], other["dataset"])
    outputs.check_folder("--out", other["out"], (*FILES, JOURNAL), {"the candidate": candidate_file(other["name"])})

    references.give_all(references.named_in(methods), Path())  # named here, and so allowed
    try:
        numbers = sweeps.DEFAULT_RATIOS if ratios is None else tuple(float(word) for word in ratios.split(","))
    except ValueError:
        raise CandidateError(f"--ratios must be numbers with commas between, but got {ratios!r}.") from None
    if not all(0 < number < 1 for number in numbers):
        raise CandidateError(f"--ratios must be shares between 0 and 1, such as 0.5, but got {ratios!r}.")
    other["device"] = resources(Options(storage="", workers=1, device=other["device"]))[0]
    for note in notes_of(other["dataset"]):
        Console(stderr=True).say(f"{other['dataset']}: {note}")
    return sweeps.sweep(candidate, methods=methods, ratios=numbers, command=typed_command(), **other)


def print_sweep(summary: dict[str, Any], out: Path) -> None:
    """Accuracy by method and ratio, after retraining where there was any."""
    console = Console()
    points = [point for point in summary["points"] if point["retrained"]] or summary["points"]
    ratios = sorted({point["ratio"] for point in points})
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method")
    for ratio in ratios:
        table.add_column(f"{ratio:g}", justify="right")
    for method in dict.fromkeys(point["method"] for point in points):
        found = {point["ratio"]: point["accuracy"] for point in points if point["method"] == method}
        table.add_row(method, *(f"{percent_number(found[ratio])}%" if ratio in found else "" for ratio in ratios))
    console.print(table)
    console.print(f"tables and pictures: {out}", soft_wrap=True, highlight=False)
