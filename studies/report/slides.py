"""Slides for a talk of seven minutes: one HTML page, a slide a page when printed (to PDF, say)."""

from __future__ import annotations

from collections.abc import Sequence

from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.pictures.plots import finding, percent
from slimfront.studies.pictures.report import front_svg, spending_svg
from slimfront.studies.report import methods_used, sections
from slimfront.studies.report.page import Markup, document, element, empty, facts, join, percent_number
from slimfront.studies.report.story import Network, Story, space_rows
from slimfront.studies.report.worked import FORMULA, worked_sum

MOST_ROWS = 7  # of a table on a slide
MOST_COMMANDS = 3
MOST_FINAL = 5  # of the last slide's, which says more below


def slides(story: Story) -> str:
    """The page as text: eight slides of 1,280 by 720 pixels."""
    made = [
        _title(story),
        _question(story),
        _setting(story),
        _picture(story),
        _front(story),
        _worked(story),
        _spent(story),
        _final(story),
    ]
    pages = [
        element(
            "section",
            *parts,
            element("span", f"{story.name} · slimfront", class_="source"),
            element("span", f"{index} / {len(made)}", class_="number-of"),
            class_="slide title" if index == 1 else "slide",
        )
        for index, parts in enumerate(made, start=1)
    ]
    return document(f"{story.name} – slides", "slides.css", join(pages, "\n"))


def _title(story: Story) -> list[Markup]:
    figures = [("trials", f"{len(story.trials):,}"), ("epochs of training", f"{story.epochs:,}")]
    if story.front and story.best is not None:
        first = [
            (f"cheapest {story.axis.title}", story.axis.told(story.best.cost, 3)),
            ("accuracy", f"{percent_number(story.best.accuracy)} %"),
        ]
        figures = [*first, *figures]
    return [
        element("p", "Cheapest networks above a bar", class_="kind"),
        element("h1", story.name),
        element("p", finding(story.trials, story.bar, story.axis) + ".", class_="lead"),
        sections.key_figures(figures),
    ]


def _question(story: Story) -> list[Markup]:
    by = () if story.axis == SCORE_AXIS else (element("p", f"Cheap in: {sections.of_cost(story.axis)}"),)
    return [
        element("h2", f"Which network is the cheapest at {percent(story.bar)} or more?"),
        *by,
        FORMULA,
        element(
            "ul",
            element("li", "The first term is what the network stores: weights w, at their bits, without pruned ones."),
            element("li", "The second is what it computes: multiply-adds f, at the wider of the two operands."),
            element("li", "1.99 is ResNet-18 in half precision. Lower is better."),
            element("li", "Measured layer by layer on the network as it stands, by two counters that must agree."),
        ),
        element(
            "p", "One weight costs as much as 50 multiply-adds: in small networks the operations decide.", class_="note"
        ),
    ]


def _setting(story: Story) -> list[Markup]:
    rows = space_rows(story.space)
    searched = [name for name, value in rows if not value.endswith("(fixed)")]
    networks = story.front or story.nearest
    methods = list(dict.fromkeys(method.name for method in methods_used.used(n.candidate for n in networks)))
    pairs = [
        ("data", story.dataset or "not noted"),
        ("split", sections.sentence_of_split(story)),
        ("space", f"{len(searched)} parameters: {_kinds(searched)}" if searched else "not noted"),
        ("search", f"accuracy up, {story.axis.title} down, accuracy at or above the bar as a constraint"),
        *([("bounds", sections.bounds_told(story.bounds))] if story.bounds else []),
        ("on the front", ", ".join(methods) if methods else "no trial has finished yet"),
    ]
    return [element("h2", "What was searched, and on what"), facts(pairs)]


def _kinds(names: Sequence[str]) -> str:
    counts: dict[str, int] = {}
    for name in names:
        counts[name.split(".")[0]] = counts.get(name.split(".")[0], 0) + 1
    return ", ".join(f"{kind} {count}" for kind, count in counts.items())


def _picture(story: Story) -> list[Markup]:
    title = element("h2", finding(story.trials, story.bar, story.axis))
    return [title, element("figure", Markup(front_svg(story.trials, story.bar, story.axis, height=3.75)))]


def _front(story: Story) -> list[Markup]:
    networks = story.front or story.nearest
    if not networks:
        return [element("h2", "The front"), empty("No trial has finished yet.")]
    chosen, left_out = _some(networks)
    title = "The front" if story.front else f"Nothing reaches {percent(story.bar)} yet; the nearest"
    note = f"{left_out} more in between are in the report. " if left_out else ""
    return [
        element("h2", title),
        sections.front_table(chosen, story.axis, long=False),
        element("p", note + "Accuracy on validation images. W, A: bits of weights and of layer inputs.", class_="note"),
    ]


def _some(networks: Sequence[Network]) -> tuple[list[Network], int]:
    """At most MOST_ROWS, evenly spread, the first and the last among them; and how many were left out."""
    if len(networks) <= MOST_ROWS:
        return list(networks), 0
    places = {round(i * (len(networks) - 1) / (MOST_ROWS - 1)) for i in range(MOST_ROWS)}
    return [networks[place] for place in sorted(places)], len(networks) - len(places)


def _worked(story: Story) -> list[Markup]:
    best = story.best
    if best is None or not best.layers:
        return [element("h2", "The score, worked out"), empty("No network is there to work out.")]
    candidate = best.candidate
    pairs = [
        ("network", methods_used.shape(candidate)),
        ("training", methods_used.training(candidate)),
        ("augmentation", methods_used.augmentation(candidate)),
        ("pruning", methods_used.pruning(candidate)),
        ("bits", methods_used.bits(candidate)),
    ]
    return [
        element("h2", f"The {'cheapest' if story.front else 'nearest'} network, worked out: trial {best.trial.number}"),
        facts(pairs),
        element("pre", worked_sum(best), class_="sum"),
        element("p", sections.meaning(best.score) if best.score else "", class_="note"),
    ]


def _spent(story: Story) -> list[Markup]:
    shown = [ending for ending in story.endings if ending.epochs]
    if not shown:
        return [element("h2", "What the search spent"), empty("No trial was trained yet.")]
    planned = sum(ending.planned for ending in story.endings)
    worked = f" in {sections.duration(story.seconds)}" if story.seconds else ""
    saved = (
        f", {100 * (1 - story.epochs / planned):.0f} % less than without early stopping"
        if planned > story.epochs
        else ""
    )
    return [
        element("h2", f"{len(story.trials):,} trials, {story.epochs:,} epochs of training{worked}{saved}"),
        element("figure", Markup(spending_svg(shown))),
    ]


def _final(story: Story) -> list[Markup]:
    title = element("h2", "Final numbers: all training images, one test a seed")
    if story.retrained:
        chosen = list(story.retrained)[:MOST_FINAL]
        ranks = ""
        if story.rank_correlation is not None:
            ranks = f" Search and test rank the networks alike to {story.rank_correlation:.2f} (Spearman)."
        left_out = len(story.retrained) - len(chosen)
        more = f" {left_out} more are in the report." if left_out else ""
        note = f"The test set was read {story.test_evaluations} times, once for each seed.{ranks}{more}"
        shown = [sections.retrained_table(chosen, story.axis), element("p", note, class_="note")]
    else:
        shown = [empty("No network was retrained yet.")]
    retraining = story.commands[:MOST_COMMANDS] or [f"python run_search.py retrain --front {story.place}"]
    lines = [*retraining, f"python run_search.py report {story.place}"]
    return [title, *shown, element("h3", "To reproduce"), sections.commands(lines)]
