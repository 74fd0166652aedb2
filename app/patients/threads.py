"""Patients side by side, in threads of one process."""

import ctypes
import threading
import time
from collections.abc import Generator, Sequence
from concurrent import futures
from pathlib import Path

from ..files import clear_leftovers
from .cohort import Outcome, outcome_of, segment_case
from .segmenter import Segmenter
from .visits import Case


def in_threads(
    todo: Sequence[Case], output: Path, segmenter: Segmenter, jobs: int
) -> Generator[Outcome, None, None]:
    """Do patients, `jobs` at a time, in threads that share the networks; outcomes as they come.

    Closed early, it stops the threads.

    The compiled parts of torch, ITK and scipy let other threads run, so that one patient is prepared while
    another is in the network.
    """
    busy: set[int] = set()

    def work(case: Case) -> Outcome:
        busy.add(threading.get_ident())
        try:
            return segment_case(case, output, segmenter)
        finally:
            busy.discard(threading.get_ident())

    clear_leftovers(output)
    pool = futures.ThreadPoolExecutor(jobs)
    try:
        waiting = {pool.submit(work, case): case for case in todo}
        for future in futures.as_completed(waiting):
            yield outcome_of(waiting[future], future)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        while busy:  # more than once: Python drops an exception that meets a finalizer
            for thread in tuple(busy):
                _interrupt(thread)
            time.sleep(1)
        pool.shutdown(wait=True)
        clear_leftovers(output)


def _interrupt(thread: int) -> None:
    """Raise SystemExit in a thread at its next Python instruction, as a signal does in the main thread: open
    files and folders are cleaned up.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
