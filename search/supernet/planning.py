"""The plan of a search with a supernet: made from what this machine does, shown, and kept to."""

from __future__ import annotations

from slimfront.evaluators.supernet.sharing import Sharing
from slimfront.evaluators.training.loop import TrainingError
from slimfront.search.launch import Options, resources
from slimfront.search.scheduling.clock import StudyClock
from slimfront.search.supernet.pace import Pace
from slimfront.search.supernet.plan import Plan, divide
from slimfront.search.supernet.preparation import PhaseCircumstances
from slimfront.search.supernet.rates import lengths_of, work_of
from slimfront.search.terminal import Console
from slimfront.search.workers.cores import usable_cores
from slimfront.spaces import SpaceError
from slimfront.studies.errors import StudyError
from slimfront.studies.settings import Settings
from slimfront.studies.settings.supernet import sharing_of


def pace_for(
    settings: Settings, sharing: Sharing, given: PhaseCircumstances, workers: int, clock: StudyClock
) -> Pace | None:
    """The plan of the hours that are left, to be kept to; None: the study has no limit, or hardly any time left.

    Raises:
        StudyError: The hours are too few for a single trial, of a study that begins.
    """
    if settings.hours is None:
        return None
    begun = clock.seconds
    work = work_of(settings, sharing, given, workers)
    try:
        plan = divide(settings.hours * 3600 - begun, work, given.threads)
    except StudyError:
        if begun < 60:
            raise
        return None
    lengths = lengths_of(settings.make_space(), sharing)
    return Pace(clock, plan, begun, work.short * workers / lengths[0], lengths, work)


def plan_only(settings: Settings, options: Options) -> Plan:
    """The plan of a whole study as it would be made now; nothing is trained, and no study is begun.

    Raises:
        StudyError: There is no table [supernet], no limit in hours, or nothing to share.
    """
    from slimfront.evaluators.data.splits import search_data

    if settings.supernet is None or settings.hours is None:
        raise StudyError("--dry-run shows the plan of a study with a table [supernet], and with --hours.")
    try:
        sharing = sharing_of(settings.make_space(), settings.supernet)
    except SpaceError as error:
        raise StudyError(f"--dry-run: there is no supernet to plan for: {error}") from None
    device, workers, threads = resources(options)
    say = Console(stderr=True).say
    data = search_data(settings.dataset, data_dir=options.data_dir, image_size=settings.image_size, progress=say)
    given = PhaseCircumstances(data, settings.seed, device, min(workers * threads, usable_cores()))
    try:
        return divide(settings.hours * 3600, work_of(settings, sharing, given, workers), given.threads)
    except TrainingError as error:
        raise StudyError(str(error)) from None
