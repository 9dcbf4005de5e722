"""A page from its template, complete in itself: styles and pictures are in it, and nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from slimfront.evaluators import outputs
from slimfront.studies.errors import StudyError
from slimfront.studies.foreign.templates import html_templates
from slimfront.studies.pictures.plots import percent
from slimfront.studies.report import numbers


def page(template: str, **values: Any) -> str:
    """The page as text. Values are text and are escaped; only `Markup` is taken as HTML."""
    return _templates().get_template(template).render(values)


@cache
def _templates() -> Environment:
    functions: tuple[Callable[..., Any], ...] = (
        numbers.counted,
        numbers.decimals,
        numbers.duration,
        numbers.figures,
        numbers.number,
        numbers.percent_number,
        numbers.signed_points,
        numbers.unbroken,
    )
    filters = {function.__name__: function for function in functions}
    filters["percent"] = lambda share: numbers.unbroken(percent(share))
    return html_templates("slimfront.studies.report", filters)


def write_page(text: str, path: Path) -> Path:
    """Write a page; folders that are missing are made. Raises StudyError where it cannot be written."""
    try:
        outputs.write(path, text)
    except OSError as error:
        raise StudyError(f"The page cannot be written to {path}: {error.strerror or error}.") from None
    return path
