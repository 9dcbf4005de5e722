"""optuna-dashboard on a study: our panels in it, and the server.

Panels are part of the study, under fixed names, so that `optuna-dashboard URL` shows them, too: on the study's first
page, below the built-in ones. The server is optuna-dashboard's own application with one repair: its card "Best Trials"
ignores constraints when a study has several objectives (0.21), and would list cheap networks that miss the bar.
Requests reach it through `slimfront.studies.dashboard.guard`.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import optuna_dashboard
from optuna.storages import get_storage
from slimfront.evaluators.scoring.cost import CostAxis
from slimfront.evaluators.scoring.costs.score import SCORE_AXIS
from slimfront.studies.dashboard import inner
from slimfront.studies.dashboard.compression import Compressed
from slimfront.studies.dashboard.files import ArtifactFiles
from slimfront.studies.dashboard.guard import Guard
from slimfront.studies.dashboard.listening import listen
from slimfront.studies.dashboard.panels import importance_figure, spending_figure
from slimfront.studies.foreign.text import visible
from slimfront.studies.pictures.figures import curves_figure, front_figure
from slimfront.studies.store.read_only import open_existing
from slimfront.studies.store.study import StudyStore, optuna_study, read_details, snapshot

FRONT_PANEL = "slimfront-front"
CURVES_PANEL = "slimfront-curves"
SPENDING_PANEL = "slimfront-epochs"
IMPORTANCE_PANEL = "slimfront-importance"
PANELS = (FRONT_PANEL, CURVES_PANEL, SPENDING_PANEL, IMPORTANCE_PANEL)


def update_panels(store: StudyStore, bar: float, axis: CostAxis = SCORE_AXIS) -> None:
    """Draw our panels again and store them in the study; an open dashboard shows them at its next refresh.

    A panel is some ten to thirty writes: call it every minute or so while a search runs, and once at its end.

    Args:
        store: Of the study, as it was read last.
        bar: Accuracy that the front demands.
        axis: What it keeps low, in words.
    """
    read_details(store)  # curves of every trial
    trials, study = store.trials, optuna_study(store)
    figures = {
        FRONT_PANEL: front_figure(trials, bar, axis, snapshot(store).cloud),
        CURVES_PANEL: curves_figure(trials, bar),
        SPENDING_PANEL: spending_figure(trials),
        IMPORTANCE_PANEL: importance_figure(trials, bar, axis),
    }
    for panel, figure in figures.items():
        optuna_dashboard.save_plotly_graph_object(study, figure, graph_object_id=panel)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread a connection: browsers open several at once, and keep them."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, application: Any) -> None:
        super().__init__(listening.getsockname()[:2], _Quiet, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()
        self.set_app(application)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is nothing to tell of."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class _OneLine(logging.Handler):
    """Hands on the first line of what the dashboard logs; the others are its code."""

    def __init__(self, report: Callable[[str], Any]) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        lines = record.getMessage().splitlines() or [""]
        self._report(f"the dashboard: {visible(lines[0], most=300)}")


def make_dashboard(
    storage_url: str,
    port: int = 8080,
    host: str = "127.0.0.1",
    *,
    artifacts: str | None = None,
    report: Callable[[str], Any] = lambda text: None,
    listening: socket.socket | None = None,
    study_id: int | None = None,
) -> WSGIServer:
    """A server that listens already; `serve_forever` runs it. Port 0 takes any free one: see `server_port`.

    Args:
        storage_url: As for `open_storage`; the study must be there.
        port: TCP port.
        host: Address to listen on. Whoever reaches it can change and delete studies: the dashboard asks for no name.
        artifacts: Folder of the studies' artifacts, for download; None: no artifacts are shown.
        report: Told in one line what the dashboard could not do.
        listening: On `host` and `port`, if that was done before; the server closes it.
        study_id: Of the study that the first page shows; None: it lists all of them.

    Raises:
        StudyError: The storage cannot be opened, the port cannot be had, or the folder is a link.
    """
    # Behind Optuna's cache finished trials are read once, not at every refresh.
    storage = get_storage(open_existing(storage_url)[0])
    store = ArtifactFiles(Path(artifacts)) if artifacts is not None else None
    inner.repair_best_trials()
    inner.order_panels(PANELS)
    application: Any = optuna_dashboard.wsgi(storage, artifact_store=store)
    application.catchall = False  # errors are the guard's to tell of
    logger = logging.getLogger("optuna_dashboard")
    logger.handlers, logger.propagate = [_OneLine(report)], False
    if study_id is not None:
        application = _opening(application, f"/dashboard/studies/{study_id}")
    return _Server(listening or listen(host, port), Compressed(Guard(application, host, report)))


def _opening(application: Any, page: str) -> Any:
    """The same application with another first page."""

    def opened(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if environ.get("PATH_INFO") in ("", "/"):
            start_response("302 Found", [("Location", page), ("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        return application(environ, start_response)

    return opened


def serve(
    storage_url: str,
    port: int = 8080,
    host: str = "127.0.0.1",
    *,
    artifacts: str | None = None,
    report: Callable[[str], Any] = print,
    listening: socket.socket | None = None,
    study_id: int | None = None,
) -> None:
    """Run the dashboard until Ctrl-C; arguments and errors as for `make_dashboard`."""
    more: dict[str, Any] = {"artifacts": artifacts, "report": report, "listening": listening, "study_id": study_id}
    with make_dashboard(storage_url, port, host, **more) as server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
