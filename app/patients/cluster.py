"""A cohort on other machines: the workers of a Dask cluster that see the same files."""

import dataclasses
import json
import logging
import operator
import pkgutil
import threading
import uuid
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import InputError
from ..files import clear_leftovers
from ..pipeline import Steps
from . import cohort
from .cohort import Outcome
from .segmenter import Segmenter
from .visits import Case, Visit

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 15
MISSING = (
    "--scheduler: dask.distributed is not installed; wanted `pip install '.[cluster]'` in the "
    "folder of this program (docs/cluster.md)"
)

PROGRAM = __version__  # read on the workers, by name: an import of all that a patient needs

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Work:
    """What every worker needs to know."""

    output: Path
    weights: Path
    device: str
    threads: int | None
    steps: Steps


def on_workers(todo: Sequence[Case], work: Work, scheduler: str) -> Generator[Outcome, None, None]:
    """Give patients to the workers of a Dask cluster; outcomes as they come.

    Closed early, it takes back what is not begun.

    A patient whose worker dies is given to another. With device cuda, a patient takes one unit of a worker's
    resource GPU. Raises InputError if dask.distributed is not installed, or if no scheduler answers.
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise InputError(MISSING) from error
    for name in ("distributed", "distributed.client"):  # what it cannot mend comes out as our own one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler {scheduler}: no Dask scheduler answers; wanted an address such as "
            "tcp://10.0.0.1:8786"
        ) from error
    return _on_workers(
        client,
        todo,
        dataclasses.replace(work, output=work.output.absolute(), weights=work.weights.absolute()),
    )


def _on_workers(client: "Client", todo: Sequence[Case], work: Work) -> Generator[Outcome, None, None]:
    import distributed

    resources = {"GPU": 1} if work.device == "cuda" else None

    def fit_workers() -> set[str]:
        """Addresses of those that offer what is asked for."""
        workers = client.scheduler_info(n_workers=-1)["workers"]
        return {name for name, worker in workers.items() if worker["resources"].get("GPU") or not resources}

    fit = fit_workers()
    logger.info("%d workers", len(fit))
    if not fit:
        logger.warning(
            "the cluster has no worker%s yet; waiting for one", " with the resource GPU" if resources else ""
        )
    clear_leftovers(work.output)
    run = uuid.uuid4().hex
    # A key says nothing of the patient: it is seen in the scheduler's logs. The scheduler unpacks what it is
    # sent, so that this holds names from the standard library and text alone.
    waiting = {f"patient-{run}-{number}": case for number, case in enumerate(todo)}
    segment = (pkgutil.resolve_name, f"{__name__}:{segment_request.__name__}")

    def send(keys: list[str], able: list[str] | None = None) -> list[Any]:
        graph = {key: (operator.call, segment, __version__, _request(waiting[key], work)) for key in keys}
        return list(client.get(graph, keys, sync=False, resources=resources, workers=able))

    unable: set[str] = set()
    with client:
        ended = distributed.as_completed(send(list(waiting)), loop=client.loop)
        for future in ended:
            if future.cancelled():
                raise InputError(
                    "the Dask scheduler is gone; wanted it until the end (start again: finished "
                    "patients are skipped)"
                )
            case = waiting[future.key]
            error = future.exception()
            _check_programs(client, error)
            if isinstance(error, CannotWork):
                address, why = error.args
                unable.add(address)
                able = sorted(fit_workers() - unable)
                logger.warning("a worker cannot work (%s); %d others may", why, len(able))
                if able:  # what it was given goes to them
                    key = f"patient-{run}-{len(waiting)}"
                    waiting[key] = case
                    ended.update(send([key], able))
                else:
                    yield Outcome(case.name, None, f"{why} (on every worker)")
            elif isinstance(error, distributed.KilledWorker):
                yield Outcome(
                    case.name,
                    None,
                    "one worker after the other died of it; wanted workers with more memory (see their logs)",
                )
            else:
                yield cohort.outcome_of(case, future)
    clear_leftovers(work.output)


def _check_programs(client: "Client", error: BaseException | None) -> None:
    """Raise InputError if a patient failed because the scheduler or a worker cannot read what it is sent."""
    if isinstance(error, RuntimeError) and "deserialization of the task graph" in str(error):
        found = client.get_versions()
        there, here = (
            f"Python {packages['python']}, Dask {packages['distributed']}"
            for packages in (found["scheduler"]["packages"], found["client"]["packages"])
        )
        raise InputError(f"the Dask scheduler cannot read what it is sent: it has {there}; wanted {here}")
    if isinstance(error, ImportError | AttributeError | InputError):
        programs = client.run(pkgutil.resolve_name, f"{__name__}:PROGRAM", on_error="return")
        for address, program in sorted(programs.items()):
            if program != __version__:
                found = (
                    f"version {program}" if isinstance(program, str) else f"it cannot start it ({program})"
                )
                raise InputError(
                    f"the worker at {address} has another program: {found}; wanted "
                    f"{__package__.split('.')[0]} {__version__} in the environment that starts the workers "
                    "(docs/cluster.md)"
                ) from error


def _request(case: Case, work: Work) -> str:
    """A patient and what is to be done, as text; paths are absolute."""
    scans = {"baseline": case.baseline.absolute(), "followup": case.followup.absolute()}
    parts = {"case": {**dataclasses.asdict(case), **scans}, "work": dataclasses.asdict(work)}
    return json.dumps(parts, default=str)


def _read_request(text: str) -> tuple[Case, Work]:
    parts = json.loads(text)
    case, work = parts["case"], parts["work"]
    scans = {name: Path(case[name]) for name in ("baseline", "followup")}
    visits = None if case["visits"] is None else tuple(Visit(**visit) for visit in case["visits"])
    folders = {name: Path(work[name]) for name in ("output", "weights")}
    return Case(**{**case, **scans, "visits": visits}), Work(
        **{**work, **folders, "steps": Steps(**work["steps"])}
    )


class CannotWork(Exception):
    """A worker that can do no patient at all: its address, and why."""


_segmenters: dict[Work, Segmenter] = {}
_loading = threading.Lock()


def segment_request(program: str, request: str) -> Outcome:
    """One patient, on a worker, which loads the networks for the first and keeps them.

    Raises InputError if it was sent by another version of the program.
    """
    if program != __version__:
        raise InputError(f"sent by version {program}; wanted {__version__}")
    case, work = _read_request(request)
    with _loading:
        if work not in _segmenters:
            _segmenters.clear()
            try:
                _segmenters[work] = Segmenter.load(work.weights, work.device, work.threads, work.steps)
            except InputError as error:
                from distributed import get_worker

                raise CannotWork(get_worker().address, str(error)) from error
        segmenter = _segmenters[work]
    return cohort.segment_case(case, work.output, segmenter)
