"""What people look at while a search runs, and at its end: the dashboard's panels, the plot, the table of trials."""

from __future__ import annotations

import time
from pathlib import Path

from slimfront.search.terminal import Console
from slimfront.studies.analysis.summary import to_csv
from slimfront.studies.settings import Settings
from slimfront.studies.store.storage import one_line
from slimfront.studies.store.study import StudyStore, snapshot, study_lock

PLOT, TABLE = "front.png", "trials.csv"  # in the folder of the results
PANEL_SECONDS = 20.0  # the dashboard's panels are drawn anew at most this often,
PANEL_SHARE = 0.01  # and take at most this share of a search's time: in a long study they take seconds


class Refresh:
    """Draws.

    Args:
        store: Of the study.
        settings: Of the study.
        out: Folder of plot and table.
        console: Told when a picture cannot be drawn.
        url: The storage's.
    """

    def __init__(self, store: StudyStore, settings: Settings, out: Path, console: Console, url: str) -> None:
        self._store, self._settings, self._out = store, settings, out
        self._console, self._url = console, url
        self._due = float("-inf")

    def if_due(self) -> None:
        """Draw the panels unless that was done a moment ago."""
        begun = time.monotonic()
        if begun < self._due:
            return
        try:
            self._panels()
        except Exception as error:  # a picture must not end a search
            self._console.say(f"the dashboard's panels were not drawn: {one_line(error, self._url)}")
        ended = time.monotonic()
        self._due = ended + max(PANEL_SECONDS, (ended - begun) / PANEL_SHARE)

    def now(self) -> dict[str, str]:
        """Draw everything; returns where it lies: "plot", "csv", "storage"."""
        from slimfront.studies.pictures.plots import front_plot

        self._panels()
        study = snapshot(self._store)
        bar, ladder = self._settings.bar, self._settings.dataset == "cifar10"
        plot = front_plot(study.trials, bar, self._out / PLOT, ladder=ladder, axis=study.cost, cloud=study.cloud)
        table = to_csv(study.trials, self._out / TABLE, bar)
        return {"plot": str(plot), "csv": str(table), "storage": study.storage}

    def _panels(self) -> None:
        from slimfront.studies.dashboard.drawing import draw
        from slimfront.studies.dashboard.files import artifacts_folder

        with study_lock(self._store):  # in many pieces, which must not mix with another coordinator's
            draw(self._store, self._settings.bar, self._settings.axis, artifacts_folder(self._url))
