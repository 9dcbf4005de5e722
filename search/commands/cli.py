"""The command line of slimfront: which commands there are, and how a process of one ends. `run_search.py --help`."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NoReturn

import typer
from slimfront.search.commands.failures import DONE, INTERRUPTED, fail, interrupted_once, report_error, say
from slimfront.search.commands.signatures import files, networks, own, searching, studies
from slimfront.search.commands.signatures.output import results_alone
from slimfront.search.status import STATUS
from slimfront.spaces import references
from typer.core import TyperGroup

import slimfront

COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "search": (searching.search, "search studies/cifar10.toml --hours 10 --workers 2"),
    "init": (searching.init, "init mine.toml --dataset cifar10"),
    "front": (studies.front, "front --csv trials.csv --plot front.png"),
    "studies": (studies.studies, "studies --storage sqlite:///slimfront.db"),
    "show": (studies.show, "show --trial 17"),
    "dashboard": (studies.dashboard, "dashboard --port 8080"),
    "retrain": (networks.retrain, "retrain --trial 17 --seeds 5"),
    "report": (studies.report, "report --out quick.html --slides quick-slides.html"),
    "verify": (files.verify, "verify runs/final/quick-front/DIGEST/seed-0/*.slim"),
    "export": (files.export, "export network.slim --onnx network.onnx"),
    "score": (networks.score, "score resnet20 --weight-bits 4 --activation-bits 4"),
    "compress": (own.compress, "compress my_nets.py:MyNet --weights mine.safetensors --data digits --out mine.slim"),
    "predict": (own.predict, "predict mine.slim pictures --allow my_nets.py:MyNet"),
    "sweep": (networks.sweep, "sweep --candidate resnet8 --methods han,thinet --ratios 0.5,0.7"),
    "import": (searching.import_trials, "import studies/cifar10_open.toml --source sqlite:///old.db"),
    "data": (files.data, "data cifar10 --data-dir ~/data"),
}
"""All commands in the order of the help: what each takes, and an example."""


class _Commands(TyperGroup):
    """Commands that end in a line where Ctrl-C comes, while words are read as well; typer itself ends without one."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _interrupts_told():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        with _interrupts_told(), STATUS.moving("loading"):
            return super().invoke(ctx)


@contextlib.contextmanager
def _interrupts_told() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupted:
        from slimfront.search.interrupt import AtOnce

        if isinstance(interrupted, AtOnce):  # that has said so itself
            raise typer.Exit(INTERRUPTED) from None
        fail("interrupted", INTERRUPTED)


app = typer.Typer(
    cls=_Commands,
    name="run_search.py",
    help="Searches architecture, pruning and bit-widths together for the cheapest network that clears an accuracy bar.",
    no_args_is_help=True,
    epilog="Example: python run_search.py search studies/quick.toml, then: python run_search.py front",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"slimfront {slimfront.__version__}")
        raise typer.Exit


@app.callback()
def _before(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What holds for all commands."""


for _name, (_function, _example) in COMMANDS.items():
    app.command(_name, epilog=f"Example: python run_search.py {_example}")(_function)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code. Errors that a user can cause end in one line, without a traceback."""
    try:
        words = sys.argv[1:] if arguments is None else arguments
        for_programs = "--json" in words or (words[:1] == ["predict"] and "--csv" in words)
        # What was given to another command of this process is not known to this one.
        with references.only_here(), results_alone(for_programs):
            result = app(args=arguments, standalone_mode=False)
    except typer.Exit as end:
        return int(end.exit_code)
    except (KeyboardInterrupt, typer.Abort):  # at the shell's completion, or where input ends
        say("slimfront: interrupted")
        return INTERRUPTED
    except Exception as error:
        return report_error(error)
    return result if isinstance(result, int) else DONE


def command() -> NoReturn:
    """The process of one command."""
    with interrupted_once():
        code = main()
    gc.freeze()  # what is left goes with the process: Python would look through all of torch's objects once more
    sys.exit(code)
