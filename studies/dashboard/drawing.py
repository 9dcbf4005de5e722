"""Panels and pages of studies, drawn where they are not up to date; while the dashboard is served, in a thread.

Reading and drawing a study of thousands of trials takes half a minute, and a search leaves its study drawn: so a mark
in the study says for how many trials that was done.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState
from slimfront.evaluators.scoring.cost import CostAxis
from slimfront.studies.dashboard.server import update_panels
from slimfront.studies.dashboard.trial_pages import update_pages
from slimfront.studies.foreign import values
from slimfront.studies.store.storage import one_line
from slimfront.studies.store.study import StudyStore, cost_of, snapshot

MARK = "drawn"  # the study's attribute: {"trials": that had ended, "latest": with a page, "drawing": DRAWING}
DRAWING = 2  # raised where panels or pages change
LATEST_PAGES = 20  # trials that get a page of their own when the dashboard opens, besides the front
_PATIENCE = 10.0  # seconds that a panel which is being written is waited for
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def draw(store: StudyStore, bar: float, axis: CostAxis, folder: Path, *, latest: int = 0) -> None:
    """Draw a study's panels, and pages for the front's trials and the `latest` ones, and mark that they are drawn."""
    ended = sum(trial.state.is_over for trial in store.trials)
    update_panels(store, bar, axis)
    update_pages(store, bar, folder, latest=latest)
    store.attributes.set(MARK, {"trials": ended, "latest": latest, "drawing": DRAWING})


def is_drawn(storage: RDBStorage, study: Study, *, latest: int = 0) -> bool:
    """Whether nothing has ended since the study was drawn; reads no trial."""
    mark = values.mapping(study.user_attrs.get(MARK))
    ended = storage.get_n_trials(storage.get_study_id_from_name(study.study_name), _ENDED)
    drawn, pages = (values.whole(mark.get(key)) for key in ("trials", "latest"))
    return mark.get("drawing") == DRAWING and drawn == ended and (pages or 0) >= latest


def draw_what_is_not(storage: RDBStorage, studies: Sequence[Study], folder: Path, stop: Callable[[], bool]) -> None:
    """Draw those studies that are not up to date, until `stop` says so."""
    for study in studies:
        if stop():
            return
        if not is_drawn(storage, study, latest=LATEST_PAGES):
            store = StudyStore(storage, study.study_name)
            draw(store, snapshot(store).bar, cost_of(store), folder, latest=LATEST_PAGES)


@contextlib.contextmanager
def drawing(
    storage: RDBStorage, studies: Sequence[Study], folder: Path, report: Callable[[str], Any]
) -> Iterator[None]:
    """Within it studies are drawn in a thread; what cannot be drawn is reported, and shown as it was."""
    ending = threading.Event()

    def run() -> None:
        try:
            draw_what_is_not(storage, studies, folder, ending.is_set)
        except Exception as error:  # a picture must not end the dashboard
            report(f"the dashboard's panels were not drawn: {one_line(error, str(storage.url))}")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(_PATIENCE)
