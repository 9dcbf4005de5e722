"""Imported once by the process that workers are forked from, because importing torch takes seconds.

Nothing is imported in it that starts threads or opens anything: a fork would copy those.
"""

from __future__ import annotations

import os

import slimfront.evaluators.data.splits
import slimfront.evaluators.pipeline  # noqa: F401

IMPORTED_BY = os.getpid()
"""The process that imported this: in a worker another one, or the worker had to import all of it by itself."""
