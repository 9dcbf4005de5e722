"""optuna-dashboard on a study: our panels in it, and the server.

Panels are part of the study, under fixed names, so that `optuna-dashboard URL` shows them, too: on the study's first
page, below the built-in ones. The server is optuna-dashboard's own application with one repair: its card "Best Trials"
ignores constraints when a study has several objectives (0.21), and would list cheap networks that miss the bar.
"""

from __future__ import annotations

import contextlib
import errno
import socketserver
from collections.abc import Callable, Sequence
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna_dashboard
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import get_storage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial
from optuna_dashboard import _app
from slimfront.studies.dashboard.panels import importance_figure, spending_figure
from slimfront.studies.errors import StudyError
from slimfront.studies.pictures.figures import curves_figure, front_figure
from slimfront.studies.record import TrialRecord
from slimfront.studies.store.read_only import open_existing

FRONT_PANEL = "slimfront-front"
CURVES_PANEL = "slimfront-curves"
SPENDING_PANEL = "slimfront-epochs"
IMPORTANCE_PANEL = "slimfront-importance"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def update_panels(study: Study, trials: Sequence[TrialRecord], bar: float) -> None:
    """Draw our panels again and store them in the study; an open dashboard shows them at its next refresh.

    A panel is some ten to thirty writes: call it every minute or so while a search runs, and once at its end.

    Args:
        study: That the panels are written to.
        trials: All of its trials.
        bar: Accuracy that the front demands.
    """
    figures = {
        FRONT_PANEL: front_figure(trials, bar),
        CURVES_PANEL: curves_figure(trials, bar),
        SPENDING_PANEL: spending_figure(trials),
        IMPORTANCE_PANEL: importance_figure(trials, bar),
    }
    for panel, figure in figures.items():
        optuna_dashboard.save_plotly_graph_object(study, figure, graph_object_id=panel)


def help_text(url: str) -> str:
    """What to tell a user who starts the dashboard."""
    return f"Dashboard: {url}  (Ctrl-C ends it)"


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread a connection: browsers open several at once, and keep them."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def make_dashboard(
    storage_url: str, port: int = 8080, host: str = "127.0.0.1", *, artifacts: str | None = None
) -> WSGIServer:
    """A server that listens already; `serve_forever` runs it. Port 0 takes any free one: see `server_port`.

    Args:
        storage_url: As for `open_storage`; the study must be there.
        port: TCP port.
        host: Address to listen on. Whoever reaches it can change and delete studies: the dashboard asks for no name.
        artifacts: Folder of the studies' artifacts, for download; None: no artifacts are shown.

    Raises:
        StudyError: The storage cannot be opened, or the port cannot be had.
    """
    # Behind Optuna's cache finished trials are read once, not at every refresh.
    storage = get_storage(open_existing(storage_url)[0])
    store = FileSystemArtifactStore(artifacts) if artifacts is not None else None
    _repair_best_trials()
    application = optuna_dashboard.wsgi(storage, artifact_store=store)
    try:
        return make_server(host, port, application, server_class=_Server, handler_class=_Quiet)
    except (OSError, OverflowError) as error:
        busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "is taken: choose another with --port" if busy else f"cannot be had: {error}"
        raise StudyError(f"Port {port} on {host} {reason}.") from None


def serve(
    storage_url: str,
    port: int = 8080,
    host: str = "127.0.0.1",
    *,
    artifacts: str | None = None,
    report: Callable[[str], Any] = print,
) -> None:
    """Run the dashboard until Ctrl-C.

    Args:
        storage_url: As for `make_dashboard`, like `port`, `host` and `artifacts`.
        report: Called with each line for the user.

    Raises:
        StudyError: As `make_dashboard`.
    """
    with make_dashboard(storage_url, port, host, artifacts=artifacts) as server:
        report(help_text(f"http://{host}:{server.server_port}/"))
        if host not in LOOPBACK:
            report(f"Everyone who can reach {host} can change and delete the studies: there is no password.")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _repair_best_trials() -> None:
    """Let the dashboard's "Best Trials" see constraints; where a later version has no such function, do nothing."""
    original = getattr(_app, "get_pareto_front_trials", None)
    if original is None or getattr(original, "sees_constraints", False):
        return

    def feasible_front(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
        feasible = [trial for trial in trials if all(value <= 0 for value in trial.constraints.values())]
        best: list[FrozenTrial] = original(trials=feasible, directions=directions)
        return best

    feasible_front.sees_constraints = True  # type: ignore[attr-defined]
    _app.get_pareto_front_trials = feasible_front
