"""What `dashboard` does: serve optuna-dashboard on a study, with our panels and pages in it."""

from __future__ import annotations

from slimfront.search.terminal import Console

LATEST_PAGES = 20  # trials that get a page of their own when the dashboard opens, besides the front


def open_dashboard(storage: str, name: str | None, host: str, port: int) -> None:
    """Draw the panels anew and serve optuna-dashboard until interrupted; studies of other programs stay as they are.

    Raises:
        StudyError: There is no such study, or none that is slimfront's.
    """
    from slimfront.studies.dashboard.files import artifacts_folder, check_folder
    from slimfront.studies.dashboard.server import serve, update_panels
    from slimfront.studies.dashboard.trial_pages import update_pages
    from slimfront.studies.store.read_only import open_existing
    from slimfront.studies.store.storage import load_study, own_studies
    from slimfront.studies.store.study import StudyStore, cost_of, snapshot

    folder = artifacts_folder(storage)
    check_folder(folder)
    opened, writable = open_existing(storage)
    studies, others = own_studies(opened) if name is None else ([load_study(opened, name)], [])
    if others:
        Console(stderr=True).say(f"not slimfront's, and left as they are: {', '.join(map(repr, others))}")
    if writable:
        folder.mkdir(parents=True, exist_ok=True)
    else:
        Console(stderr=True).say("The storage is only read: panels and notes are as they were last drawn.")
    for found in studies if writable else ():
        store = StudyStore(opened, found.study_name)
        bar = snapshot(store).bar
        update_panels(store, bar, cost_of(store))
        update_pages(store, bar, folder, latest=LATEST_PAGES)
    serve(storage, port=port, host=host, artifacts=str(folder), report=Console().say)
