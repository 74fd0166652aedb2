"""A cohort on other machines: the workers of a Dask cluster that see the same files."""

import dataclasses
import logging
import threading
import uuid
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import clear_leftovers
from ..pipeline import Steps
from . import cohort
from .cohort import Outcome
from .segmenter import Segmenter
from .visits import Case

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 15
MISSING = (
    "--scheduler: dask.distributed is not installed; wanted `pip install '.[cluster]'` in the "
    "folder of this program (docs/cluster.md)"
)

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
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    logger.info("%d workers", len(workers))
    if not any(worker["resources"].get("GPU") or not resources for worker in workers):
        logger.warning(
            "the cluster has no worker%s yet; waiting for one", " with the resource GPU" if resources else ""
        )
    clear_leftovers(work.output)
    run = uuid.uuid4().hex
    # a key says nothing of the patient: it is seen in the scheduler's logs
    waiting = {
        client.submit(
            _segment, _absolute(case), work, key=f"patient-{run}-{number}", pure=False, resources=resources
        ): case
        for number, case in enumerate(todo)
    }
    with client:
        for future in distributed.as_completed(waiting, loop=client.loop):
            if future.cancelled():
                raise InputError(
                    "the Dask scheduler is gone; wanted it until the end (start again: finished "
                    "patients are skipped)"
                )
            case = waiting[future]
            if isinstance(future.exception(), distributed.KilledWorker):
                yield Outcome(
                    case.name,
                    None,
                    "one worker after the other died of it; wanted workers with more memory (see their logs)",
                )
            else:
                yield cohort.outcome_of(case, future)
    clear_leftovers(work.output)


def _absolute(case: Case) -> Case:
    return dataclasses.replace(case, baseline=case.baseline.absolute(), followup=case.followup.absolute())


_segmenters: dict[Work, Segmenter] = {}
_loading = threading.Lock()


def _segment(case: Case, work: Work) -> Outcome:
    """One patient, on a worker, which loads the networks for the first and keeps them."""
    with _loading:
        if work not in _segmenters:
            _segmenters.clear()
            try:
                _segmenters[work] = Segmenter.load(work.weights, work.device, work.threads, work.steps)
            except InputError as error:
                return Outcome(case.name, None, f"{error} (on the worker)")
        segmenter = _segmenters[work]
    return cohort.segment_case(case, work.output, segmenter)
