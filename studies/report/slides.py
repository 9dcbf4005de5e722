"""Slides for a talk of seven minutes: one HTML page, a slide a page when printed (to PDF, say).

Their words stand in `templates/slides.html`; here is what they are filled with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from markupsafe import Markup
from slimfront.studies.pictures.plots import finding
from slimfront.studies.pictures.report import front_svg, spending_svg
from slimfront.studies.report import methods_used
from slimfront.studies.report.page import page
from slimfront.studies.report.story import Network, Story, parameters
from slimfront.studies.report.worked import worked_sum

MOST_ROWS = 7  # of a table on a slide
MOST_COMMANDS = 2
MOST_FINAL = 5  # of the last slide's, which says more below


def slides(story: Story) -> str:
    """The page as text: eight slides of 1,280 by 720 pixels."""
    best = story.best
    trained = [ending for ending in story.endings if ending.epochs]
    methods = methods_used.used(network.candidate for network in story.shown)
    searched = [parameter.name for parameter in parameters(story.space) if not parameter.fixed]
    retraining = story.commands[:MOST_COMMANDS] or (f"python run_search.py retrain --front {story.place}",)
    return page(
        "slides.html",
        story=story,
        finding=finding(story.trials, story.bar, story.axis),
        front_picture=Markup(front_svg(story.trials, story.bar, story.axis, height=3.75)),
        spending_picture=Markup(spending_svg(trained)) if trained else None,
        worked_sum=worked_sum(best) if best and best.layers else None,
        networks=evenly_spread(story.shown, MOST_ROWS),
        retrained=story.retrained[:MOST_FINAL],
        searched=len(searched),
        kinds=Counter(name.split(".")[0] for name in searched),
        methods=list(dict.fromkeys(method.name for method in methods)),
        commands=[*retraining, f"python run_search.py report {story.place}"],
    )


def evenly_spread(networks: Sequence[Network], most: int) -> list[Network]:
    """At most so many of them, the first and the last among these."""
    if len(networks) <= most:
        return list(networks)
    return [networks[round(i * (len(networks) - 1) / (most - 1))] for i in range(most)]
