"""What `report` does: gather a study's story and write it as a page, as slides, or both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimfront.evaluators import outputs
from slimfront.search.commands.next_steps import command, say_next
from slimfront.search.terminal import Console

if TYPE_CHECKING:
    from slimfront.studies.report.story import Story


def write_report(
    storage: str, name: str | None, bar: float | None, out: Path | None, slides: Path | None, retrained: list[Path]
) -> dict[str, Any]:
    """Write what was asked for; returns what `report` prints as JSON.

    Args:
        storage: URL of the study's storage.
        name: Of the study; None where there is only one.
        bar: Instead of the study's own.
        out: The page; None: NAME.html, unless only slides are asked for.
        slides: The slides; None: none.
        retrained: Summaries of retraining, files or their folders; none: those in runs/final that belong to the study.

    Raises:
        StudyError: The study or a summary is not there, or a file cannot be written.
        OutputError: A page would overwrite the storage, a summary or the other page.
    """
    from slimfront.studies.report.final_numbers import find_summaries
    from slimfront.studies.report.page import write_page
    from slimfront.studies.report.report import report
    from slimfront.studies.report.slides import slides as make_slides
    from slimfront.studies.store.storage import storage_files

    summaries = [path / "summary.json" if path.is_dir() else path for path in retrained] or find_summaries()
    inputs = storage_files(storage) | {f"the summary {path}": path for path in summaries}
    outputs.check({"--out": out, "--slides": slides}, inputs)
    for option, path in (("--out", out), ("--slides", slides)):
        outputs.check_ending(option, path, (".html", ".htm"), "a page of HTML, which a browser prints as PDF")
    story, own_name, networks = _gather(storage, name, bar, summaries)
    if out is None and slides is None:
        out = Path(own_name + ".html")
        outputs.check({"the report": out}, inputs)
    written = {}
    if out is not None:
        written["report"] = str(write_page(report(story), out))
    if slides is not None:
        written["slides"] = str(write_page(make_slides(story), slides))
    told = {"study": story.name, "storage": story.storage, "on_front": networks, "retrained": len(story.retrained)}
    return {**told, **written}


def _gather(storage: str, name: str | None, bar: float | None, summaries: list[Path]) -> tuple[Story, str, int]:
    """A study's story, what a file of its own is called, and how many networks are on its front by its own bar.

    The storage is closed by then, whatever comes of them.
    """
    from slimfront.studies.errors import StudyError
    from slimfront.studies.front import front
    from slimfront.studies.report.story import gather
    from slimfront.studies.store.names import own_file_name
    from slimfront.studies.store.read_only import open_for_reading
    from slimfront.studies.store.study import find_study, snapshot

    opened = open_for_reading(storage)
    study = snapshot(find_study(opened, name))
    try:
        networks = len(front(study.trials, study.bar))
    except StudyError:  # its bar is none; `bar` is what counts here
        networks = 0
    return gather(study, bar, summaries), own_file_name(study.name, opened), networks


def print_written(written: dict[str, Any], storage: str) -> None:
    """Where the pages lie; `storage` is the study's URL as typed."""
    console = Console()
    for what in ("report", "slides"):
        if what in written:
            console.print(f"{what}: {written[what]}", soft_wrap=True, highlight=False)
    if not written["retrained"]:
        console.print("no retrained network was found for this study; `retrain` gives its final numbers")
        words = ["retrain", "--front", "--seeds", "5"] if written["on_front"] else ["front"]
        say_next(command(*words, storage=storage, name=written["study"]))
        return
    say_next(command("dashboard", storage=storage, name=written["study"]))
