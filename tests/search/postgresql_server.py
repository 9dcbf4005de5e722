"""A PostgreSQL server of the tests' own: Debian's binaries, a new folder, a Unix socket, no network."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path


def binaries() -> Path | None:
    """Folder of initdb and postgres; Debian keeps them outside of the search path. None: not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    other = shutil.which("initdb")
    return Path(other).resolve().parent if other else None


class Server:
    """A server that can be stopped and started; `url` is what a search is given."""

    def __init__(self) -> None:
        place = binaries()
        assert place is not None
        self._binaries = place
        # Not under pytest's folder: its name is too long for a socket, and closed to other users.
        self.folder = Path(tempfile.mkdtemp(prefix="slimfront-pg-"))
        self._user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        data = str(self.folder / "data")
        self._run("initdb", "-D", data, "-A", "trust", "-U", "tester", "-N", "--no-instructions", "-E", "UTF8")
        settings = (
            f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\nfsync = off\nshared_buffers = 16MB\n"
        )
        configuration = self.folder / "data" / "postgresql.conf"
        configuration.write_text(configuration.read_text() + settings)
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        before = ["runuser", "-u", self._user, "--"] if self._user is not None else []
        command = [*before, str(self._binaries / program), *arguments]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)

    def start(self) -> None:
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def create(self, database: str) -> str:
        """Make a database; returns its URL, with a password that no output may show."""
        self._run("createdb", "-h", str(self.folder), "-U", "tester", database)
        return f"postgresql://tester:hunter2@/{database}?host={self.folder}"

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
