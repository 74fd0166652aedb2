"""A cohort killed at random instants: what lies in its output is whole, and nothing lies elsewhere.

Every run is a fork of this process, which has imported all that it needs and knows the results of the
method: a kill costs a second, most of it within files. One kill in twenty meets the method itself.
"""

import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from app import machine, phantom, pipeline
from app.cli import cohort, main  # noqa: F401  imported here, so that no fork must
from app.config import OperatingPoint
from app.files import BEING_MADE_S, PREFIX, clear_up
from app.images import grids, storage
from app.patients import following, threads  # noqa: F401
from app.pipeline import Networks, Result, Steps
from benchmarks import stand_in

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TIMED = ("run.json", "report.html", "index.html", "summary.csv")  # hold seconds, which differ
WHOLE = {"run.json": b"}\n", "report.html": b"</html>", "index.html": b"</html>", "summary.csv": b"\n"}
SPACING_MM = 5.0
STEPS = Steps("none", "never", fast=True)
CONFIG = replace(stand_in.COARSE, point=OperatingPoint(threshold=0.6, minimum_volume_mm3=2000))  # few marks
# what the system is asked to do with files: a run is killed as it asks for one of these below its output or
# its temporary folder
ON_FILES = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree"}
PATIENCE_S = 600  # for one run; a machine may be busy


@dataclass(frozen=True)
class Run:
    """The folders of a cohort, and how it is begun."""

    folder: Path
    output: Path
    results: dict[float, Result]  # of the method, by the sum of the follow-up's voxels

    def command(self) -> list[str]:
        paths = {"--input": self.scans, "--output": self.output, "--weights": self.weights}
        chosen = ["--preprocessing", STEPS.preprocessing, "--register", STEPS.register, "--fast"]
        chosen += ["--threads", "1"]
        return ["run", *chosen, *(str(word) for pair in paths.items() for word in pair)]

    @property
    def scans(self) -> Path:
        return self.folder / "scans"

    @property
    def weights(self) -> Path:
        return self.folder / "weights"

    @property
    def temporary(self) -> Path:
        return self.folder / "temporary"

    @property
    def said(self) -> Path:
        return self.folder / "said"

    @property
    def asked(self) -> Path:
        """Of a run that came to its end: how often it asked something of files."""
        return self.folder / "asked"

    def left(self) -> set[Path]:
        """What lies aside, next to results and in the temporary folder."""
        return {path for place in (self.output, self.temporary) for path in place.rglob(f"{PREFIX}*")}

    def segment(self, _baseline: sitk.Image, followup: sitk.Image, *_others: object) -> Result:
        """Instead of `pipeline.segment`: what it found when this process began."""
        result = self.results[float(grids.array(followup).sum())]
        for words in result.warnings:
            logging.getLogger("app").warning(words)
        return result

    def start(self, number: int = 0, at: int = 0, remembered: bool = True) -> int:
        """The id of a process that runs the cohort and, at the `at`-th request on files, sends itself the
        signal `number`.

        Unless the method's results are `remembered`, it finds them itself.
        """

        def work() -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
            asked = _count_requests((str(self.output), str(self.temporary)), number, at)
            os.environ["TMPDIR"] = str(self.temporary)
            tempfile.tempdir = None
            if remembered:
                pipeline.segment = self.segment
            try:
                main.main(self.command(), prog_name="ms-new-lesions")
            except SystemExit as left:
                if left.code == 0:
                    self.asked.write_text(str(asked()))
                raise

        return _forked(work, self.said)


def many(kills: int, first: int, folder: Path, say: Callable[[str], None]) -> list[str]:
    """What was wrong after so many kills, and at the end, when the cohort was left to finish; it says how
    far it is.

    Half of them come by the clock, half as files are written. A run that ends before its kill counts for
    none.
    """
    run = Run(folder, folder / "output", _write(folder / "scans", folder / "weights"))
    run.temporary.mkdir()
    whole, seconds, asked = _undisturbed(Run(folder, folder / "whole", run.results))
    scans = _bytes(run.scans)
    rng = np.random.default_rng(first)
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    while (kill := counts.total()) < kills:
        number = SIGNALS[kill % len(SIGNALS)]
        left = run.left()
        by_clock = bool(rng.integers(2))
        wait, at = float(rng.uniform(0, seconds)), int(rng.integers(1, asked + 1))
        process = run.start(number, 0 if by_clock else at, remembered=kill % 20 != 0)
        if by_clock:
            time.sleep(wait)
            os.kill(process, number)  # it has not been waited for: the number is still its own
        words = f"kill {kill}, {number.name} {f'after {wait:.2f} s' if by_clock else f'at request {at}'}"
        problems = _problems(run, _ended(process), number, whole)
        if number != signal.SIGKILL and (more := run.left() - left):
            problems.append(f"left aside: {more}")
        if _bytes(run.scans) != scans:
            return [*wrong, f"{words}: the scans are not what they were"]
        if run.asked.is_file():  # it had come to its end
            run.asked.unlink()
            shutil.rmtree(run.output)
        else:
            counts[f"{number.name} {'by the clock' if by_clock else 'at a request on files'}"] += 1
        wrong += [f"{words}: {problem}" for problem in problems]
        say(f"{counts.total()} kills, {len(wrong)} wrong")
    say("\n".join(f"{count:5} {name}" for name, count in sorted(counts.items())))
    for path in run.left():  # a minute later: until then a folder without a lock may be a living process's
        long_ago = time.time() - 2 * BEING_MADE_S
        os.utime(path, (long_ago, long_ago))
    again = _ended(run.start())
    if again != 0 or run.left() or {**_bytes(run.output), **_timed(whole)} != whole:
        wrong.append(
            f"the cohort did not finish as without kills: {again}, {run.left()}, {run.said.read_text()}"
        )
    return wrong


def _problems(run: Run, code: int | None, number: signal.Signals, whole: dict[str, bytes]) -> list[str]:
    """What is wrong with a run that has ended with this code, maybe by a signal."""
    if code is None:
        return [f"no end in {PATIENCE_S} s"]
    problems = _broken(run.output, whole)
    if code not in (0, -number, 128 + number, 1 if number == signal.SIGINT else 0):
        problems.append(f"exit code {code}: {run.said.read_text(errors='replace')[-1500:]}")
    said = run.said.read_text(errors="replace")
    if "Traceback" in said:
        problems.append(said[-1500:])
    return problems


def _write(scans: Path, weights: Path) -> dict[float, Result]:
    """Two patients in coarse voxels without skulls, the shipped brain network, and an untrained one for
    lesions. What is found with them, by the sum of the follow-up's voxels.
    """
    machine.use_threads(1)
    weights.mkdir()
    networks = Networks.load(stand_in.write_weights(weights, CONFIG), machine.choose_device("cpu"))
    results = {}
    for name, seed in (("01", 0), ("02", 1)):
        patient = phantom.make_phantom(seed, SPACING_MM)
        after = grids.array(patient.followup) * grids.array(patient.brain)
        before = after * (1 - 0.4 * grids.array(patient.new_lesions))
        paths = [scans / name / f"{time}.nii.gz" for time in ("time01", "time02")]
        for values, path in zip((before, after), paths, strict=True):
            storage.write(grids.like(values, patient.followup), path)
        baseline, followup = (storage.read(path) for path in paths)
        found = pipeline.segment(baseline, followup, networks, None, STEPS)
        results[float(grids.array(followup).sum())] = found
    return results


def _undisturbed(run: Run) -> tuple[dict[str, bytes], float, int]:
    """The files of a run without a kill, how many seconds it took, and how often it asked something of
    files.
    """
    started = time.monotonic()
    code = _ended(run.start())
    assert code == 0, run.said.read_text()
    asked = int(run.asked.read_text())
    run.asked.unlink()
    return _bytes(run.output), time.monotonic() - started, asked


def _count_requests(below: tuple[str, ...], number: int, at: int) -> Callable[[], int]:
    """Count from now on what this process asks of files below these folders; the `at`-th time, it gets the
    signal `number`.
    """
    counted = 0

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal counted
        if event in ON_FILES and str(arguments[0]).startswith(below):
            counted += 1
            if counted == at:
                os.kill(os.getpid(), number)

    sys.addaudithook(hear)
    return lambda: counted


def _forked(work: Callable[[], None], said: Path) -> int:
    """The id of a process that does some work, and says what it says to a file."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        with said.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        work()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except KeyboardInterrupt:  # before the command line was there to take it
        code = 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001  a traceback is what is looked for
        traceback.print_exc()
    finally:
        clear_up()  # as Python does at the end of a program
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(process: int) -> int | None:
    """Its exit code, below 0 if a signal ended it; None, and its end, if it does not come to one."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def _timed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {place: content for place, content in files.items() if Path(place).name in TIMED}


def _broken(output: Path, whole: dict[str, bytes]) -> list[str]:
    """What lies under a result's name and is not that result; records of patients without their results."""
    found = _bytes(output)
    problems = [f"{place}: not a result" for place in found.keys() - whole.keys() - {".run"}]
    for place in found.keys() & whole.keys():
        name = Path(place).name
        same = (
            found[place].rstrip(b"\n").endswith(WHOLE[name].rstrip(b"\n"))
            if name in TIMED
            else (found[place] == whole[place])
        )
        if not same:
            problems.append(f"{place} is not whole")
    for record in output.glob("*/run.json"):
        patient = f"{record.parent.name}/"
        problems += [
            f"a record, but no {place}" for place in whole if place.startswith(patient) and place not in found
        ]
    return problems


def _bytes(folder: Path) -> dict[str, bytes]:
    """{place: content} of every file below a folder but for what lies aside."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(PREFIX) for part in path.relative_to(folder).parts)
    }
