"""Files of a study stay in their folder, and nothing that a database names leads out of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound
from slimfront.studies.dashboard.files import ArtifactFiles, new_identifier
from slimfront.studies.errors import StudyError


def test_what_is_written_can_be_read_and_removed(tmp_path: Path) -> None:
    files = ArtifactFiles(tmp_path / "new" / "a.artifacts")
    name = new_identifier()
    files.write(name, io.BytesIO(b"content"))
    with files.open_reader(name) as file:
        assert file.read() == b"content"
    with pytest.raises(FileExistsError):
        files.write(name, io.BytesIO(b"other"))
    files.remove(name)
    files.remove(name)
    with pytest.raises(ArtifactNotFound):
        files.open_reader(name)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "secret", "", ".", "..", "0" * 36, None, 7])
def test_other_names_lead_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    files = ArtifactFiles(tmp_path)
    for act in (files.open_reader, lambda name: files.write(name, io.BytesIO(b"x"))):
        with pytest.raises(ArtifactNotFound):
            act(name)
    files.remove(name)
    assert (tmp_path / "secret").read_text() == "secret"


def test_links_and_folders_are_no_files_of_a_study(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    files = ArtifactFiles(tmp_path / "a.artifacts")
    (tmp_path / "a.artifacts").mkdir()
    link, folder = new_identifier(), new_identifier()
    (tmp_path / "a.artifacts" / link).symlink_to(secret)
    (tmp_path / "a.artifacts" / folder).mkdir()
    for name in (link, folder):
        with pytest.raises(ArtifactNotFound):
            files.open_reader(name)
        files.remove(name)
    with pytest.raises(FileExistsError):
        files.write(link, io.BytesIO(b"x"))
    assert secret.read_text() == "secret"


def test_a_folder_that_is_a_link_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    for name, words in (("link", "is a link"), ("file", "is not a folder")):
        with pytest.raises(StudyError, match=words):
            ArtifactFiles(tmp_path / name)
