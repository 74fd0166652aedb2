"""What stands in the tables of an evaluation? CSV files, written, and read again in a later evaluation.

cases.csv has a row for each mask of each rater, lesions.csv a row for each lesion, calibration.csv a row for
each bin of probability of each case. Together they hold all that the summary is made from.
"""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..files import write_bytes
from .challenge import Reliability, Score, ScoredLesion
from .masks import Method, is_expert
from .metrics import CaseMetrics
from .statistics import DECIMALS

CASES, LESIONS, CALIBRATION = "cases.csv", "lesions.csv", "calibration.csv"
MEASURES = tuple(field.name for field in dataclasses.fields(CaseMetrics))
CASE_FIELDS = ("case", "rater", "missing", "new_lesions", "peak_probability", *MEASURES)
CENTRE_FIELDS = ("right_mm", "anterior_mm", "superior_mm")
LESION_FIELDS = (
    "case",
    "rater",
    "mask",
    "number",
    "voxels",
    "volume_mm3",
    "detected",
    "overlap",
    *CENTRE_FIELDS,
    "mean_probability",
)
CALIBRATION_FIELDS = ("case", "rater", "bin", "voxels", "probability_sum", "lesion_voxels")

Cells = dict[str, Any]  # {column: value} of one line of a table
Key = tuple[str, str]  # case, rater
Item = TypeVar("Item")


def write_tables(scores: Sequence[Score], output: Path) -> None:
    """Write the three tables; calibration.csv only where there are probability maps."""
    write_csv(output / CASES, CASE_FIELDS, map(_case_cells, scores))
    write_csv(output / LESIONS, LESION_FIELDS, (cells for score in scores for cells in _lesion_cells(score)))
    bins = [cells for score in scores for cells in _bin_cells(score)]
    if bins:
        write_csv(output / CALIBRATION, CALIBRATION_FIELDS, bins)


def write_csv(path: Path, fields: Sequence[str], lines: Iterable[Cells]) -> None:
    """Write a table; numbers with a fraction get `DECIMALS`, None becomes an empty cell."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, fields)
    table.writeheader()
    table.writerows({name: _as_text(value) for name, value in cells.items()} for cells in lines)
    write_bytes(text.getvalue().encode(), path)


def is_evaluation(folder: Path) -> bool:
    """Whether a folder holds the tables of an earlier evaluation."""
    return (folder / CASES).is_file()


def read_evaluations(methods: Iterable[Method], taken: Iterable[str], problems: list[str]) -> list[Score]:
    """The scores of earlier evaluations: those of their methods and of their experts.

    A method keeps its name, or gets the one that was asked for. A table that is none of ours, and a second
    method of one name, add a line to `problems`; the names of `taken` are in use already.
    """
    scores: list[Score] = []
    names = set(taken)
    for method in methods:
        try:
            own = _read_evaluation(method)
        except InputError as error:
            problems.append(str(error))
            continue
        raters = {score.rater for score in own if not is_expert(score.rater)}
        twice = ", ".join(sorted(names & raters))
        if method.asked and len(raters) > 1:
            problems.append(f"{method.folder}: {len(raters)} methods in it; wanted it without {method.name}=")
        elif twice:
            problems.append(f"{method.folder}: a second method called {twice}; wanted NAME=FOLDER")
        else:
            names |= raters
            scores += own
    return scores


def _read_evaluation(method: Method) -> list[Score]:
    folder = method.folder
    lesions = _grouped(_read(folder / LESIONS, LESION_FIELDS, _lesion))
    bins = {}
    if (folder / CALIBRATION).is_file():
        bins = _grouped(_read(folder / CALIBRATION, CALIBRATION_FIELDS, _bin))
    scores = [
        dataclasses.replace(score, lesions=tuple(lesions.get(key, ())), reliability=tuple(bins.get(key, ())))
        for key, score in _read(folder / CASES, CASE_FIELDS, _score)
    ]
    if not method.asked or len({score.rater for score in scores if not is_expert(score.rater)}) > 1:
        return scores
    return [
        score if is_expert(score.rater) else dataclasses.replace(score, rater=method.name) for score in scores
    ]


def _case_cells(score: Score) -> Cells:
    return {
        "case": score.case,
        "rater": score.rater,
        "missing": score.missing,
        "new_lesions": score.new_lesions,
        "peak_probability": score.peak_probability,
        **dataclasses.asdict(score.metrics),
    }


def _lesion_cells(score: Score) -> Iterator[Cells]:
    for lesion in score.lesions:
        cells = dataclasses.asdict(lesion)
        centre = (f"{side:.2f}" for side in cells.pop("centre_ras_mm"))
        yield {
            "case": score.case,
            "rater": score.rater,
            **cells,
            **dict(zip(CENTRE_FIELDS, centre, strict=True)),
        }


def _bin_cells(score: Score) -> Iterator[Cells]:
    for part in score.reliability:
        yield {"case": score.case, "rater": score.rater, **dataclasses.asdict(part)}


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:z.{DECIMALS}f}" if isinstance(value, float) else str(value)


def _read(
    path: Path, fields: Sequence[str], convert: Callable[[dict[str, str]], Item]
) -> list[tuple[Key, Item]]:
    """[((case, rater), what a line of the table stands for), ...]. Raises InputError for another table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            absent = [name for name in fields if name not in (table.fieldnames or ())]
            if absent:
                wanted = "wanted the table of an evaluation of this version"
                raise InputError(f"{path}: no column {', '.join(absent)}; {wanted}")
            return [((line["case"], line["rater"]), convert(line)) for line in table]
    except (OSError, TypeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read ({reason}); wanted the table of an evaluation") from error


def _grouped(items: Iterable[tuple[Key, Item]]) -> dict[Key, list[Item]]:
    groups: dict[Key, list[Item]] = {}
    for key, item in items:
        groups.setdefault(key, []).append(item)
    return groups


def _score(line: dict[str, str]) -> Score:
    """Without its lesions and its calibration, which stand in tables of their own."""
    values: dict[str, Any] = {
        field.name: int(line[field.name]) if field.type is int else float(line[field.name])
        for field in dataclasses.fields(CaseMetrics)
    }
    return Score(
        case=line["case"],
        rater=line["rater"],
        missing=line["missing"] == "1",
        metrics=CaseMetrics(**values),
        lesions=(),
        peak_probability=_probability(line["peak_probability"]),
        reliability=(),
    )


def _lesion(line: dict[str, str]) -> ScoredLesion:
    right, anterior, superior = (float(line[name]) for name in CENTRE_FIELDS)
    return ScoredLesion(
        mask="reference" if line["mask"] == "reference" else "predicted",
        number=int(line["number"]),
        voxels=int(line["voxels"]),
        volume_mm3=float(line["volume_mm3"]),
        detected=line["detected"] == "1",
        overlap=float(line["overlap"]),
        centre_ras_mm=(right, anterior, superior),
        mean_probability=_probability(line["mean_probability"]),
    )


def _bin(line: dict[str, str]) -> Reliability:
    return Reliability(
        bin=int(line["bin"]),
        voxels=int(line["voxels"]),
        probability_sum=float(line["probability_sum"]),
        lesion_voxels=int(line["lesion_voxels"]),
    )


def _probability(cell: str) -> float | None:
    return float(cell) if cell else None
