"""The one error of this package that a user can cause."""

from __future__ import annotations


class StudyError(ValueError):
    """A study, storage, sampler or file that cannot be used: one line that says what, where and what to do."""
