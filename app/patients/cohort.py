"""A cohort: who is in it, who is finished, how the others are done side by side, and what came out."""

import csv
import dataclasses
import logging
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputError, as_text, in_roles, refused_by_system
from ..files import check_apart, check_free, write_bytes, writing
from ..images.scan import Scan
from ..results import index, record
from ..results.outputs import Outputs
from ..results.record import Record
from . import bids, cases
from .segmenter import Segmenter
from .visits import Case, Pairs

SUMMARY = "summary.csv"
SUMMARY_FIELDS = (
    *("patient", "status", "verdict", "new_lesions", "volume_ml", "vanished", "possible"),
    *("smallest_found_mm3", "seconds", "warnings", "problem"),
)
GONE = "its results were removed while others were done; wanted an output folder that nobody else changes"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How one patient ended."""

    patient: str
    record: Record | None  # None: failed
    problem: str = ""  # why it failed, in one line without paths
    skipped: bool = False  # it was finished before, with the same program, weights, settings and scans

    def in_words(self) -> str:
        """'2 new lesions, 0.07 ml, 85 s'."""
        if self.record is None:
            return f"failed: {self.problem}"
        count = self.record.new_lesions
        found = f"{count} new lesion{'' if count == 1 else 's'}, {self.record.volume_ml:.2f} ml"
        return (
            f"{found}, finished before"
            if self.skipped
            else f"{found}, {sum(self.record.seconds.values()):.0f} s"
        )


def find(source: Path, output: Path, pairs: Pairs = "consecutive") -> tuple[list[Case], list[InputError]]:
    """Every pair of a table, a BIDS data set or a folder, sorted by name, and what could not be paired.

    Raises InputError if the source is missing, holds nobody, or is the output.
    """
    check_other_folder(source, output)
    if source.is_file() and source.suffix.lower() in cases.TABLES:
        return cases.read_table(source, pairs)
    if bids.is_bids(source):
        return bids.find_cases(source, pairs)
    return cases.find_cases(source, output, pairs)


def check_other_folder(source: Path, output: Path) -> None:
    """Raise InputError if results were to lie among the scans."""
    if source.resolve() == output.resolve():
        raise InputError(f"{output}: the input folder itself; wanted another one for the results")


def outputs_of(case: Case, output: Path) -> Outputs:
    """Where a patient's results go: a folder of its own, or where BIDS has them."""
    if case.bids is None:
        return Outputs.in_folder(output / case.name, case.followed)
    return Outputs.in_bids(output / case.bids, case.followed)


def check_output(found: Sequence[Case], source: Path, output: Path) -> None:
    """Raise InputError, before any work is done, if a result would take the place of a scan, of the table
    or of what is no result.
    """
    summary, index_page = output / SUMMARY, output / "index.html"
    results = [path for case in found for path in outputs_of(case, output).wanted().values()]
    scans = [path for case in found for path in (case.baseline, case.followup)]
    check_apart([*results, summary, index_page], [*scans, source])
    check_free([summary, index_page], ours=_is_summary(summary))


def _is_summary(path: Path) -> bool:
    header = ",".join(SUMMARY_FIELDS[:2]).encode()  # later versions have more
    try:
        with path.open("rb") as file:
            return file.read(len(header)) == header
    except OSError:
        return False


def confirmed(outcomes: Sequence[Outcome], found: Sequence[Case], output: Path) -> list[Outcome]:
    """The outcomes; a patient that was done and whose results are there no longer has failed."""
    wanted = {case.name: outputs_of(case, output).wanted().values() for case in found}
    return [
        dataclasses.replace(outcome, record=None, problem=GONE)
        if outcome.record is not None and not all(path.is_file() for path in wanted[outcome.patient])
        else outcome
        for outcome in outcomes
    ]


def segment_case(case: Case, output: Path, segmenter: Segmenter) -> Outcome:
    """Do one patient, unless it is finished, and remove results of anything else.

    All files are written aside and then renamed, run.json last.
    """
    outputs = outputs_of(case, output)
    wanted = outputs.wanted()
    words = {str(case.baseline): "baseline", str(case.followup): "follow-up", str(output): "output"}
    words |= {str(path): path.name for path in wanted.values()}
    try:
        scans = Scan.find(case.baseline), Scan.find(case.followup)
        before = record.read_record(wanted["record"])
        if (
            before is not None
            and before.task == segmenter.task(*scans)
            and all(path.is_file() for path in wanted.values())
        ):
            return Outcome(case.name, before, skipped=True)
        outputs.check()
        _remove(outputs)
        segmenter.segment_files(*scans, outputs, doubt=case.doubt, aside=output)
        return Outcome(case.name, record.read_record(wanted["record"]))
    except (InputError, OSError) as error:
        if isinstance(error, OSError) and str(error.filename) not in words:  # none of the patient's files
            raise
        with suppress(InputError):
            _remove(outputs)
        said = error if isinstance(error, InputError) else refused_by_system(error)
        return _failed(case, said, words)


def _failed(case: Case, error: InputError, words: Mapping[str, str]) -> Outcome:
    return Outcome(case.name, None, in_roles(str(error).splitlines()[0], words))


def _remove(outputs: Outputs) -> None:
    """Remove earlier results; the record, by which they are known, goes last.

    Raises InputError if files are there that no record tells of, or that another user owns.
    """
    wanted = outputs.wanted()
    check_free(wanted.values(), ours=record.is_record(wanted["record"]))
    for path in wanted.values():
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"{path}: an earlier result that cannot be removed ({error.strerror}); "
                "wanted a folder with write permission"
            ) from error


class Future(Protocol):
    """A patient's work, here or on another machine."""

    def exception(self) -> BaseException | None: ...
    def result(self) -> Any: ...


def outcome_of(case: Case, future: Future) -> Outcome:
    """What came of a patient's work. An error that nobody foresaw must not stop the other patients."""
    error = future.exception()
    if error is None:
        outcome: Outcome = future.result()
        return outcome
    last = traceback.extract_tb(error.__traceback__)[-1]
    problem = (
        f"unexpected {type(error).__name__} in {Path(last.filename).name}, line {last.lineno}; "
        "please report this line, which quotes nothing of the scans"
    )
    logger.error("%s: %s", case.name, problem)
    return Outcome(case.name, None, problem)


def write_summary(outcomes: Sequence[Outcome], path: Path) -> None:
    """One row a patient that has ended, sorted by name."""
    with writing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, SUMMARY_FIELDS)
        table.writeheader()
        table.writerows(_row(outcome) for outcome in sorted(outcomes, key=lambda outcome: outcome.patient))


def _row(outcome: Outcome) -> dict[str, object]:
    done = outcome.record
    if done is None:
        return {"patient": outcome.patient, "status": "failed", "problem": as_text(outcome.problem)}
    return {
        "patient": outcome.patient,
        "status": "done",
        "verdict": done.comparison["verdict"],
        "new_lesions": done.new_lesions,
        "volume_ml": f"{done.volume_ml:.3f}",
        "vanished": done.lesions["vanished"],
        "possible": done.lesions["possible"],
        "smallest_found_mm3": record.smallest_found_mm3(done),
        "seconds": f"{sum(done.seconds.values()):.1f}",
        "warnings": as_text("; ".join(done.warnings)),
    }


def write_index(
    outcomes: Sequence[Outcome],
    todo: Sequence[Case],
    output: Path,
    followed: Mapping[str, Path] | None = None,
) -> None:
    """index.html: a row a pair that has ended, sorted by name, with a link to its page.

    `followed` are the pages of lesions through all visits, by patient.
    """
    outputs = {case.name: outputs_of(case, output) for case in todo}
    owners = {case.name: case.patient for case in todo}
    rows = []
    for outcome in sorted(outcomes, key=lambda outcome: outcome.patient):
        written = outputs[outcome.patient]
        links = [
            path.relative_to(output).as_posix() if path is not None and outcome.record is not None else None
            for path in (written.report, written.thumbnails)
        ]
        rows.append(index.Row(outcome.patient, outcome.record, outcome.problem, *links))
    pages = {patient: path.relative_to(output).as_posix() for patient, path in (followed or {}).items()}
    patients = len({owners[outcome.patient] for outcome in outcomes})
    write_bytes(index.page(rows, patients, pages).encode(), output / "index.html")


def time_left_s(outcomes: Sequence[Outcome], patients: int, elapsed_s: float) -> float | None:
    """Seconds until all patients have ended, if the rest take as long as those done in this run.

    None before the first was done.
    """
    done = sum(not outcome.skipped for outcome in outcomes)
    return elapsed_s / done * (patients - len(outcomes)) if done else None


def in_words(seconds: float) -> str:
    """'45 s', '12 min', '3 h 20 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
