"""The files that the dashboard offers for download: one folder, flat, in which every file has a random name.

Which file belongs to which trial stands in the database, and a database may come from anybody. So a name in it leads to
a regular file of this folder or nowhere, and neither the folder nor a file in it may be a link.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import uuid
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound
from slimfront.studies.errors import StudyError
from slimfront.studies.store.urls import storage_files

_IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ArtifactFiles:
    """An artifact store of Optuna (`optuna.artifacts`) that stays in its folder.

    Args:
        folder: Made, where it is missing, by the first file that is written.

    Raises:
        StudyError: The folder is a link, or there is something else of that name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        check_folder(folder)

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The file's contents. Raises ArtifactNotFound."""
        return self._regular(artifact_id).open("rb")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write a new file. Raises FileExistsError, and ArtifactNotFound for a name that none can have."""
        path = self._path(artifact_id)
        self._folder.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            shutil.copyfileobj(content_body, file)

    def remove(self, artifact_id: str) -> None:
        """Remove a file. One that is not there, or that is not ours, is no error: it is not offered any more."""
        try:
            self._regular(artifact_id).unlink(missing_ok=True)
        except ArtifactNotFound:
            return

    def _path(self, artifact_id: object) -> Path:
        if not isinstance(artifact_id, str) or not _IDENTIFIER.fullmatch(artifact_id) or self._folder.is_symlink():
            raise ArtifactNotFound("There is no such file.")
        return self._folder / artifact_id

    def _regular(self, artifact_id: object) -> Path:
        path = self._path(artifact_id)
        try:
            regular = stat.S_ISREG(path.lstat().st_mode)
        except OSError:
            regular = False
        if not regular:
            raise ArtifactNotFound("There is no such file.")
        return path


def artifacts_folder(url: str) -> Path:
    """Where the files of a storage's trials lie: beside an SQLite file (`a.db`: `a.artifacts`), else runs/artifacts."""
    path = next(iter(storage_files(url).values()), None)
    if path is None:
        return Path("runs") / "artifacts"
    return (Path(os.path.realpath(path)) if path.is_symlink() else path).with_suffix(".artifacts")


def check_folder(folder: Path) -> None:
    """Refuse a folder that would lead somewhere else: for those who will write there hours later.

    Raises:
        StudyError: It is a link, or something else than a folder.
    """
    if folder.is_symlink():
        raise StudyError(f"{folder} is a link; files of a study are kept beside it: move the folder itself there.")
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder} is not a folder, but files of the study are to be kept there: move it away.")


def new_identifier() -> str:
    """A name for a new file."""
    return str(uuid.uuid4())
