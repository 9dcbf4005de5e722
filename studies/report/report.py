"""The report: one HTML page about a study that needs no other file, reads in light and dark, and prints cleanly."""

from __future__ import annotations

from pathlib import Path

from slimfront.evaluators import outputs
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.errors import StudyError
from slimfront.studies.pictures.plots import finding, percent
from slimfront.studies.pictures.report import curves_svg, front_svg, spending_svg
from slimfront.studies.report import sections
from slimfront.studies.report.page import Markup, document, element, empty, facts, join, percent_number, table
from slimfront.studies.report.story import Story, space_rows
from slimfront.studies.report.worked import FORMULA, worked_score


def report(story: Story) -> str:
    """The page as text."""
    parts = [
        _head(story),
        _question(story),
        _picture(story),
        _front(story),
        _worked(story),
        _retrained(story),
        _data(story),
        _space(story),
        _methods(story),
        _spent(story),
        _reproduce(story),
    ]
    return document(f"{story.name} – slimfront", "report.css", join(parts, "\n"))


def write_page(page: str, path: Path) -> Path:
    """Write a page; folders that are missing are made. Raises StudyError where it cannot be written."""
    try:
        outputs.write(path, page)
    except OSError as error:
        raise StudyError(f"The page cannot be written to {path}: {error.strerror or error}.") from None
    return path


def _section(title: str, *parts: object) -> Markup:
    return element("section", element("h2", title), *parts)


def _paragraph(*parts: object, **attributes: str) -> Markup:
    return element("p", *parts, **attributes)


def _head(story: Story) -> Markup:
    trained = sum(ending.trials for ending in story.endings if ending.kind in ("complete", "stopped"))
    figures = [("networks trained", f"{trained:,}"), ("epochs", f"{story.epochs:,}")]
    if story.front and story.best is not None:
        best = story.best
        cheapest = (f"cheapest {story.axis.title}", story.axis.told(best.cost, 3))
        first = [cheapest, ("its accuracy", f"{percent_number(best.accuracy)} %")]
        figures = [*first, ("networks on the front", str(len(story.front))), *figures]
    return element(
        "header",
        _paragraph("slimfront report", class_="kind"),
        element("h1", story.name),
        _paragraph(finding(story.trials, story.bar, story.axis) + ".", class_="lead"),
        sections.key_figures(figures),
    )


def _question(story: Story) -> Markup:
    by_score = story.axis == SCORE_AXIS
    question = (
        f"Which network is the cheapest that still classifies at least {percent(story.bar)} of the images right? "
    )
    score = "the score, which adds what a network stores to what it computes:"
    cheap = f"Cheap is measured by one number, {score if by_score else f'the {story.axis.title}. '}"
    bounds = sections.bounds_told(story.bounds)
    return _section(
        "The question",
        _paragraph(question + cheap + ("" if by_score else sections.of_cost(story.axis))),
        _paragraph(bounds) if bounds else "",
        "" if by_score else _paragraph(f"Beside it stands {score}"),
        FORMULA,
        _paragraph(
            Markup(
                "<i>w</i> weights, <i>f</i> multiply-adds for one image; <i>p</i><sub>s</sub> and <i>p</i><sub>u</sub> "
                "the shares of the weights that structured and unstructured pruning remove; <i>q</i><sub>w</sub> and "
                "<i>q</i><sub>a</sub> the bits of weights and of layer inputs. The units 5.6·10<sup>6</sup> and "
                "2.8·10<sup>8</sup> are half of ResNet-18's. The score is summed layer by layer over the network as it "
                "stands, so removed filters are gone from <i>w</i> and <i>f</i> already. "
            ),
            sections.meaning(story.best.score) if story.best and story.best.score else "",
        ),
    )


def _picture(story: Story) -> Markup:
    note = (
        "Every point is a trial. The line joins the front: the networks at or above the bar that no other one beats in "
        f"both accuracy and {story.axis.title}. Trials that were stopped early are drawn where they stopped."
    )
    picture = front_svg(story.trials, story.bar, story.axis, cloud=story.cloud)
    return _section(
        f"Accuracy against {story.axis.title}",
        element("figure", Markup(picture), element("figcaption", note)),
    )


def _front(story: Story) -> Markup:
    if not story.front:
        shown = sections.front_table(story.nearest, story.axis) if story.nearest else ""
        text = f"No network reaches {percent(story.bar)} yet."
        return _section("The front", empty(text + (" The nearest:" if shown else "")), shown)
    return _section(
        "The front",
        _paragraph(
            f"{_networks(len(story.front))} at or above {percent(story.bar)}, by ascending {story.axis.title}. "
            "Accuracy is that on the validation images; test numbers come from retraining, below. The strict score "
            "adds all that the formula leaves out: biases, scales, and the masks of pruned weights."
        ),
        sections.front_table(story.front, story.axis),
        _paragraph(
            f"Hypervolume {story.hypervolume:.4g}: points above the bar times decades below "
            f"{story.axis.told(story.axis.corner)}.",
            class_="note",
        ),
    )


def _networks(count: int) -> str:
    return "One network" if count == 1 else f"{count} networks"


def _worked(story: Story) -> Markup:
    title = "The score of the cheapest network, worked out" if story.front else "The score, worked out"
    best = story.best
    made = worked_score(best) if best is not None else None
    if best is None or made is None:
        return _section(title, empty("No network with a table of its layers is there to work out."))
    return _section(
        title,
        _paragraph(
            f"Trial {best.trial.number}, {percent_number(best.accuracy)} % on the validation images. A layer's params "
            "term is its stored weights times their bits, its ops term its multiply-adds times the wider of its two "
            "widths; both over 32 bits and over the unit."
        ),
        made,
    )


def _retrained(story: Story) -> Markup:
    title = "Final numbers"
    if not story.retrained:
        command = f"python run_search.py retrain --front {story.place}"
        return _section(title, empty(join(["No network of this study was retrained yet: ", element("code", command)])))
    ranks = ""
    if story.rank_correlation is not None:
        ranks = f" Over the retrained networks the two rank alike to {story.rank_correlation:.2f} (Spearman)."
    return _section(
        title,
        _paragraph(
            "Trained again from the start on all training images, validation part included, with several seeds and a "
            "longer schedule; the last epoch counts. The test images were opened once for each seed, at the end: "
            f"{story.test_evaluations} times in all. The lower limit is that of the 95 % confidence interval of the "
            "mean (Student's t over the seeds); the gap is validation accuracy in the search minus mean test accuracy."
            + ranks
        ),
        sections.retrained_table(story.retrained, story.axis),
    )


def _data(story: Story) -> Markup:
    if not story.dataset:
        return _section("Data", empty("The study does not say which data it was run on."))
    rows = [("data set", story.dataset), ("split", sections.sentence_of_split(story))]
    if story.dataset.startswith("folder:"):
        rows.append(("pictures", sections.PICTURES))
    return _section(
        "Data", facts([*rows, ("hash of data and split", element("code", story.data_digest or "not noted"))])
    )


def _space(story: Story) -> Markup:
    rows = space_rows(story.space)
    if not rows:
        return _section("The space", empty("The study does not hold its space."))
    searched = [row for row in rows if not row[1].endswith("(fixed)")]
    fixed = ", ".join(f"{name} {value.removesuffix(' (fixed)')}" for name, value in rows if value.endswith("(fixed)"))
    return _section(
        "The space",
        _paragraph("What a trial could choose:"),
        table(("parameter", "values"), searched, words=(0, 1)),
        _paragraph(f"The same for all: {fixed}.", class_="note") if fixed else "",
    )


def _methods(story: Story) -> Markup:
    title = "Methods that the front uses"
    networks = story.front or story.nearest
    if not networks:
        return _section(title, empty("No trial has finished yet."))
    return _section(
        title, sections.methods_table(networks), element("h3", "Network by network"), sections.choices_table(networks)
    )


def _spent(story: Story) -> Markup:
    if not story.endings:
        return _section("What the search spent", empty("No trial was begun yet."))
    planned = sum(ending.planned for ending in story.endings)
    saved = f" Running all of them to their end would have taken {planned:,}." if planned > story.epochs else ""
    trials = "One trial" if len(story.trials) == 1 else f"{len(story.trials):,} trials"
    worked = f" in {sections.duration(story.seconds)}" if story.seconds else ""
    curves = curves_svg(story.trials, story.bar)
    shown = [ending for ending in story.endings if ending.epochs]
    return _section(
        "What the search spent",
        _paragraph(f"{trials} and {story.epochs:,} epochs of training{worked}.{saved}"),
        element("figure", Markup(spending_svg(shown)), element("figcaption", "Where the epochs went."))
        if shown
        else "",
        sections.spending_table(story),
        element("figure", Markup(curves), element("figcaption", "Learning curves of the front; blue: the cheapest."))
        if curves
        else "",
    )


def _reproduce(story: Story) -> Markup:
    best = story.best
    lines = [f"python run_search.py front {story.place}"]
    if story.commands:
        lines += story.commands
    elif best is not None:
        lines.append(f"python run_search.py retrain --trial {best.trial.number} {story.place}")
    lines.append(f"python run_search.py report {story.place}")
    known = dict(story.environment)
    rows: list[tuple[str, str]] = [(name, known.pop(name)) for name in ("commit", "machine", "python") if name in known]
    rows += [("libraries", ", ".join(f"{name} {version}" for name, version in known.items()))] if known else []
    rows += [("seed", str(story.seed))] if story.seed is not None else []
    return _section(
        "How to reproduce",
        _paragraph(
            "Every trial's record holds its candidate, seed, data hash, versions and curves, so each can be rebuilt."
        ),
        sections.commands(lines),
        facts(rows) if rows else empty("The records name neither versions nor commit."),
    )
