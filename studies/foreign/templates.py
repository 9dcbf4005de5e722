"""Templates whose values come from elsewhere: what is put into them is text, and means nothing there but itself.

A template is a file in the folder `templates` of the package that fills it. It holds all the words and the markup; the
code hands it plain data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from slimfront.studies.foreign.text import markdown, visible


def html_templates(package: str, filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """The HTML templates of a package. Characters that control a terminal, or the direction of writing, are spelt out.

    Args:
        package: Its name. A template that it lacks, and a value that a template lacks, is an error.
        filters: Functions that the templates may apply to values, by name.
    """
    return _environment(package, filters, lambda value: visible(value, lines=True))


def markdown_templates(package: str, filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """The Markdown templates of a package; arguments as for `html_templates`."""
    return _environment(package, filters, lambda value: Markup(markdown(value)))


def _environment(package: str, filters: Mapping[str, Callable[..., Any]], fit: Callable[[object], str]) -> Environment:
    """`fit` makes a value fit for its place; HTML is escaped after it, and Markup is left as it is."""
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else fit(value),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters
    return environment
