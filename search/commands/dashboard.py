"""What `dashboard` does: serve optuna-dashboard on a study, with our panels and pages in it."""

from __future__ import annotations

from typing import Any

from slimfront.search.commands.next_steps import command, say_next
from slimfront.search.status import STATUS
from slimfront.search.terminal import Console
from slimfront.studies.dashboard.files import artifacts_folder, check_folder
from slimfront.studies.dashboard.guard import LOOPBACK
from slimfront.studies.dashboard.listening import address_of, listen

# Nothing is read or drawn, nor imported that takes seconds, before the page's address is said.


def open_dashboard(storage: str, name: str | None, host: str, port: int) -> None:
    """Serve optuna-dashboard until interrupted, opened at the study; meanwhile what is not up to date is drawn.

    Where the storage holds several studies and none is named, it opens at their list, and all of them are drawn.
    Studies of other programs stay as they are.

    Raises:
        StudyError: The port cannot be had, or there is no such study, or none that is slimfront's.
    """
    console, others = Console(), Console(stderr=True)
    with listen(host, port) as listening:
        address = address_of(host, listening)
        STATUS.doing(f"opening {address}")
        from slimfront.studies.store.read_only import open_existing
        from slimfront.studies.store.storage import load_study, own_studies

        folder = artifacts_folder(storage)
        check_folder(folder)
        opened, writable = open_existing(storage)
        studies, foreign = own_studies(opened) if name is None else ([load_study(opened, name)], [])
        if foreign:
            others.say(f"not slimfront's, and left as they are: {', '.join(map(repr, foreign))}")
        if writable:
            folder.mkdir(parents=True, exist_ok=True)
        else:
            others.say("The storage is only read: panels and notes are as they were last drawn.")
        first = opened.get_study_id_from_name(studies[0].study_name) if len(studies) == 1 else None
        console.say(f"Dashboard: {address}  (Ctrl-C ends it)")
        if host not in LOOPBACK:
            console.say(f"Everyone who can reach {host} can change and delete the studies: there is no password.")
        from slimfront.studies.dashboard.drawing import drawing
        from slimfront.studies.dashboard.server import serve

        more: dict[str, Any] = {"artifacts": str(folder), "listening": listening, "study_id": first}
        with STATUS.still(), drawing(opened, studies if writable else [], folder, others.say):
            serve(storage, port, host, report=console.say, **more)
    if studies:
        say_next(command("front", storage=storage, name=studies[0].study_name))
