"""Names of files and folders for studies, which may be called anything: they stay in the folder they are made in."""

from __future__ import annotations

import hashlib
import re

from optuna.storages import BaseStorage
from slimfront.studies.errors import StudyError
from slimfront.studies.store.storage import study_names

_OTHERS = ("artifacts", "final", "sweep")  # folders of other commands beside those of studies, in runs
_LONGEST = 150  # bytes: file systems take 255, and more is put behind


def file_name(study: str) -> str:
    """A study's name as that of a file or folder: letters, digits, "_", "." and "-", and never a way out.

    >>> file_name("night 2"), file_name("../x")
    ('night_2', '.._x')
    >>> file_name("..")
    '..-5ec1f7e7'
    """
    plain = re.sub(r"[^\w.-]", "_", study)
    short = plain.encode()[:_LONGEST].decode(errors="ignore")
    if short == plain and plain.strip(".") and plain.lower() not in _OTHERS:
        return plain
    return f"{short}-{hashlib.sha256(study.encode()).hexdigest()[:8]}"


def own_file_name(study: str, storage: BaseStorage) -> str:
    """The file name of a study, which may not be there yet, unless another study of its storage has the same.

    Raises:
        StudyError: Another has: what one writes would overwrite what the other wrote.
    """
    name = file_name(study)
    for other in study_names(storage):
        if other != study and file_name(other) == name:
            both = f"Studies {study!r} and {other!r}"
            raise StudyError(f"{both} would write to the same place, {name}: say where with --out.")
    return name
