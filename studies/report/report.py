"""The report: one HTML page about a study that needs no other file, reads in light and dark, and prints cleanly.

Its words stand in `templates/report.html`; here is what they are filled with.
"""

from __future__ import annotations

from markupsafe import Markup
from slimfront.studies.pictures.plots import finding
from slimfront.studies.pictures.report import curves_svg, front_svg, spending_svg
from slimfront.studies.report import methods_used
from slimfront.studies.report.page import page
from slimfront.studies.report.story import Story, parameters
from slimfront.studies.report.worked import worked_rows, worked_sum


def report(story: Story) -> str:
    """The page as text."""
    best = story.best
    trained = [ending for ending in story.endings if ending.epochs]
    curves = curves_svg(story.trials, story.bar)
    return page(
        "report.html",
        story=story,
        finding=finding(story.trials, story.bar, story.axis),
        front_picture=Markup(front_svg(story.trials, story.bar, story.axis)),
        spending_picture=Markup(spending_svg(trained)) if trained else None,
        curves_picture=Markup(curves) if curves else None,
        worked_rows=worked_rows(best.layers) if best and best.layers else None,
        worked_sum=worked_sum(best) if best and best.layers else None,
        parameters=parameters(story.space),
        methods=methods_used.used(network.candidate for network in story.shown),
        commands=_commands(story),
        provenance=_provenance(story),
    )


def _commands(story: Story) -> list[str]:
    """The shell commands that show the front, give its final numbers and write this page."""
    retraining = list(story.commands)
    if not retraining and story.best is not None:
        retraining = [f"python run_search.py retrain --trial {story.best.trial.number} {story.place}"]
    return [f"python run_search.py front {story.place}", *retraining, f"python run_search.py report {story.place}"]


def _provenance(story: Story) -> dict[str, str]:
    """Commit, machine, versions and seed, as far as they are known."""
    known = dict(story.environment)
    found: dict[str, str] = {name: known.pop(name) for name in ("commit", "machine", "python") if name in known}
    if known:
        found["libraries"] = ", ".join(f"{name} {version}" for name, version in known.items())
    if story.seed is not None:
        found["seed"] = str(story.seed)
    return found
