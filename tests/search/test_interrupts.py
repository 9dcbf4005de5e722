"""Ctrl-C: whenever it comes, as often as it comes, it costs no trial, ends in a line, and what it says can be read."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import stub_evaluator
from slimfront.evaluators.job import Failure, Job, Result
from slimfront.evaluators.training.loop import Epoch
from slimfront.search.display import Lines, LiveTable, Row
from slimfront.search.engine import STARTS, Engine
from slimfront.search.interrupt import AT_ONCE, STOPPING, AtOnce, Interrupt, Once
from slimfront.search.launch import launch
from slimfront.search.terminal import Console
from slimfront.search.workers.local import LocalProcesses
from test_engine import DEATH, DONE, Actors, Names
from test_search import _options, _settings, _study

ROOT = Path(__file__).resolve().parents[2]


class _Interrupted(Actors):
    """Workers during whose work the user does something."""

    def __init__(self, slots: int, act: Callable[[], None]) -> None:
        super().__init__(slots)
        self._act = act

    def next(self, timeout: float) -> tuple[int, Any] | None:
        if timeout:
            self._act()
        return super().next(timeout)


def _press(times: int) -> Callable[[], None]:
    def press() -> None:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)

    return press


@pytest.mark.parametrize("times", [2, 10])
def test_a_second_ctrl_c_takes_the_starts_back(times: int) -> None:
    client = Names(DONE, DONE, slots=2)
    engine = Engine(client, _Interrupted(2, _press(times)), Lines(Console(file=io.StringIO())))
    with pytest.raises(AtOnce):
        engine.run()
    assert [task.starts for task in client.tasks] == [0, 0]
    assert client.left_tasks == ["a", "b"]
    assert client.closed


def test_a_third_ctrl_c_disturbs_nothing_of_what_is_left_to_do() -> None:
    """It may come when the engine has ended, and would raise in whatever the command does then."""
    before = signal.signal(signal.SIGINT, Once())
    try:
        with pytest.raises(AtOnce), Interrupt(lambda text: None):
            _press(2)()
        _press(3)()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_worker_that_dies_while_the_search_ends_is_no_death() -> None:
    client = Names(((DEATH,),))
    outcome = Engine(client, _Interrupted(1, _press(1)), Lines(Console(file=io.StringIO()))).run()
    assert outcome.how == "interrupted"
    assert client.names() == ("", "")
    assert client.left_tasks == ["a"]


def test_what_ends_the_engine_by_an_error_is_no_death() -> None:
    def fail() -> None:
        raise OSError("the database is gone")

    client = Names(DONE)
    with pytest.raises(OSError, match="gone"):
        Engine(client, _Interrupted(1, fail), Lines(Console(file=io.StringIO()))).run()
    assert client.left_tasks == ["a"]


def test_pressed_twice_it_costs_no_trial_however_often(tmp_path: Path) -> None:
    """One more than the deaths that fail a trial."""

    def twice(job: Job) -> Generator[Epoch, None, Result]:
        yield Epoch("dense", 1, 3, 1.0, 0.5, 0.0)
        _press(2)()
        raise AssertionError("it ends at once")

    for _ in range(STARTS + 1):
        with pytest.raises(AtOnce):
            launch(_settings(trials=2), _options(tmp_path), twice)
        assert {trial.user_attrs["starts"] for trial in _study(tmp_path).trials} == {0}
    _, summary, _ = launch(_settings(trials=2), _options(tmp_path), stub_evaluator.evaluate)
    assert (summary["trials"]["complete"], summary["trials"]["failed"]) == (2, 0)


def test_an_interrupted_search_counts_what_has_finished(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def once(job: Job) -> Generator[Epoch, None, Result]:
        _press(1)()
        yield Epoch("dense", 1, 3, 1.0, 0.5, 0.0)
        raise AssertionError("it was stopped")

    outcome, summary, _ = launch(_settings(trials=5), _options(tmp_path), once)
    assert outcome.how == "interrupted"
    assert summary["trials"]["complete"] == 0
    said = capfd.readouterr().err
    assert STOPPING in said
    assert "0 of 5 trials" in said


def _last_drawn(act: Callable[[LiveTable, Interrupt], None]) -> str:
    """What a live table leaves on a terminal when it ends: all that it writes after it has erased for the last time."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120, height=30, color_system=None)
    with LiveTable(console) as table:
        table.started(0, Row("trial 3"))
        with Interrupt(table.notify) as interrupt:
            act(table, interrupt)
    return shown.getvalue().rpartition("\x1b[2K")[2]


def test_what_is_said_after_ctrl_c_stays_on_the_last_drawn() -> None:
    def once(table: LiveTable, interrupt: Interrupt) -> None:
        _press(1)()
        table.say("trial 3: left for the next start")

    assert STOPPING[:60] in _last_drawn(once)

    def twice(table: LiveTable, interrupt: Interrupt) -> None:
        with pytest.raises(AtOnce):
            _press(2)()

    assert AT_ONCE[:60] in _last_drawn(twice)


def _in_a_terminal(arguments: list[str], folder: Path, seconds: list[float]) -> tuple[int, str]:
    """Run a command in a pseudo-terminal and press Ctrl-C there after so many seconds each; exit code, what it said."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_search.py"), *arguments],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )
    os.close(theirs)
    said = b""
    for pause in (*seconds, *[2.0] * 20):  # and again, where Python lost one, as people do
        time.sleep(pause)
        if process.poll() is not None:
            break
        os.write(ours, b"\x03")
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        said += part
        if not part:
            break
    code = process.wait(60)
    os.close(ours)
    return code, said.decode(errors="replace")


@pytest.mark.parametrize("seconds", [[0.4], [1.5], [3.0, *[0.02] * 9]], ids=["at once", "early", "ten quick ones"])
def test_in_its_first_seconds_it_ends_in_a_line(tmp_path: Path, seconds: list[float]) -> None:
    """While Python imports, while the workers' helper imports, and on the way out."""
    code, said = _in_a_terminal(["search", "studies/quick.toml", "--workers", "2"], tmp_path, seconds)
    assert code == 130, said
    assert "Traceback" not in said
    assert "interrupted" in said


UNGUARDED = """
import sys
sys.path[:0] = {path!r}
import stub_evaluator
from pathlib import Path
from slimfront.search.launch import Options, launch
from slimfront.studies.settings import Settings
space = {{"architecture": {{"residual": {{"stem_width": [4, 8], "stages": 1, "width": 4, "depth": 1}}}}}}
settings = Settings(name="s", dataset="digits", space=space, trials=2)
try:
    launch(settings, Options("sqlite:///s.db", workers=2, out=Path("out"), device="cpu"), stub_evaluator.evaluate)
except ValueError as error:
    print("refused:", error)
"""


def test_a_script_without_a_guard_is_told_so_and_costs_no_trial(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED.format(path=[str(ROOT), str(Path(__file__).parent)]))
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "Traceback" not in done.stderr
    assert done.stdout.count("refused: ") == 1
    assert '__name__ == "__main__"' in done.stdout
    import optuna

    trials = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/s.db").trials
    assert {trial.state.name for trial in trials} == {"RUNNING"}
    assert {trial.user_attrs["starts"] for trial in trials} <= {0, 1} - {1}


CORES = "from slimfront.search.workers.cores import usable_cores; print(usable_cores())"


def test_a_containers_quota_is_kept_to(tmp_path: Path) -> None:
    """In a mount namespace of its own, whose control group allows one core; needs the right to make one."""
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    inside = f"mount --bind {tmp_path} /sys/fs/cgroup && exec {sys.executable} -c '{CORES}'"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", inside], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()[:100]}")
    assert done.stdout.strip() == "1"


def test_a_failure_is_still_a_failure() -> None:
    bug = Failure("error", "IndexError")
    client = Names(((bug,),))
    Engine(client, _Interrupted(1, _press(1)), Lines(Console(file=io.StringIO()))).run()
    assert client.names() == ("", "a")


def test_workers_do_not_hear_ctrl_c() -> None:
    from test_engine import Play, look

    workers = LocalProcesses(1, look)
    try:
        for process in workers.process_ids:
            status = Path(f"/proc/{process}/status").read_text().splitlines()  # from its first moment, not only soon
            blocked = int(next(line.split()[1] for line in status if line.startswith("SigBlk")), 16)
            assert blocked & 1 << signal.SIGINT - 1
            assert blocked & 1 << signal.SIGTERM - 1
            os.kill(process, signal.SIGINT)
        workers.submit(0, Play(()))
        told: Any = workers.next(60)
    finally:
        workers.close()
    assert not isinstance(told[1], Failure)


def test_a_program_that_closes_no_workers_ends(tmp_path: Path) -> None:
    script = tmp_path / "left.py"
    script.write_text(
        "from slimfront.search.workers.local import LocalProcesses\n"
        "if __name__ == '__main__':\n"
        "    workers = LocalProcesses(1, iter)\n"
        "    print(*workers.process_ids)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, env=environment, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().isdecimal()
