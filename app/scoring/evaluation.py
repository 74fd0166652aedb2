"""A whole challenge: which mask belongs to which reference, what every case scores, and what that comes to."""

import csv
import dataclasses
import json
import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy import stats

from .. import __version__
from ..arrays import Mask
from ..errors import InputError
from ..files import writing
from ..images import grids, headers, storage
from . import figures, metrics, segperf
from .metrics import CaseMetrics, MatchedLesion

REFERENCE_NAMES = ("ground_truth", "consensus")
PREDICTION_NAMES = (
    "new_lesions",
    "output_segmentation",
)  # what we write, and what the challenge's container writes
EXPERT = re.compile(r"expert[_-]?(\d+)", re.IGNORECASE)  # ground_truth_expert1 .. 4
PREDICTION = "prediction"  # the rater that is being evaluated

RANKED = ("f1", "dice", "sensl", "ppvl")  # of the cases with new lesions
RANKED_WITHOUT = ("false_lesions", "false_volume_mm3")  # of those without
MEASURES = tuple(field.name for field in dataclasses.fields(CaseMetrics))
CASE_FIELDS = ("case", "rater", "missing", "new_lesions", *MEASURES)
LESION_FIELDS = (
    "case",
    "rater",
    "mask",
    "number",
    "voxels",
    "volume_mm3",
    "detected",
    "overlap",
    "right_mm",
    "anterior_mm",
    "superior_mm",
)
TITLES = {
    "f1": "lesion F1",
    "dice": "Dice",
    "sensl": "SensL",
    "ppvl": "PPVL",
    "false_lesions": "false lesions",
    "false_volume_mm3": "false volume, mm³",
}

SEED = 2021
DECIMALS = 6  # of the tables, and of what is compared
RESAMPLES = 10_000  # of the cases, for the 95 % intervals

logger = logging.getLogger(__name__)

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One mask to score."""

    case: str
    rater: str  # PREDICTION, or "expert1"
    prediction: Path | None  # None: missing, taken as empty
    reference: Path


@dataclass(frozen=True)
class Lesion:
    """One row of lesions.csv."""

    mask: Literal["reference", "predicted"]
    number: int  # 1 is the mask's largest
    match: MatchedLesion
    centre_ras_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Score:
    """One mask scored."""

    job: Job
    metrics: CaseMetrics
    lesions: tuple[Lesion, ...]

    @property
    def new_lesions(self) -> bool:
        """Whether the reference holds any voxel: cases with and without are ranked apart."""
        return self.metrics.reference_volume_mm3 > 0


def find_masks(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """{case: its mask} of a folder, sorted.

    A sub-folder is a case: its mask is the one called by one of `names` (`001/ground_truth.nii.gz`), or its only image. A file in `folder` itself is
    a case too, `001.nii.gz` or `001_ground_truth.nii.gz`; where some are called by one of `names`, the others are taken for scans and left alone, as
    experts' masks always are. Raises InputError if the folder is missing, holds no mask, or leaves a choice.
    """
    masks: dict[str, Path] = {}
    for parent, paths in _images(folder).items():
        paths = [path for path in paths if not EXPERT.search(path.name)]
        named = [path for path in paths if _without_names(path, names) != _stem(path)]
        candidates = named or paths
        place = parent.relative_to(folder).as_posix().replace("/", "_")
        if place == ".":
            found = [(_without_names(path, names) or folder.resolve().name, path) for path in candidates]
        elif len(candidates) > 1:
            raise InputError(
                f"{parent}: {', '.join(path.name for path in candidates)}; wanted one mask, called {' or '.join(names)}"
            )
        else:
            found = [(place, path) for path in candidates]
        for case, path in found:
            if case in masks:
                raise InputError(f"{path}: a second mask of case {case} beside {masks[case]}; wanted one")
            masks[case] = path
    if not masks:
        raise InputError(f"{folder}: no mask in it; wanted images that end in {', '.join(headers.SUFFIXES)}")
    return dict(sorted(masks.items()))


def find_experts(folder: Path, references: dict[str, Path]) -> list[Job]:
    """Each expert's mask against the reference of its case. Raises InputError if there is none."""
    jobs = []
    case_of = {reference: case for case, reference in references.items()}
    for parent, paths in _images(folder).items():
        for path in paths:
            number = EXPERT.search(path.name)
            if number is None:
                continue
            own = [case_of[reference] for reference in case_of if reference.parent == parent]
            if parent == folder:
                stem = _without_names(Path(EXPERT.sub("", path.name)), REFERENCE_NAMES)
                own = [case for case in own if case == (stem or folder.resolve().name)]
            if not own:
                raise InputError(
                    f"{path}: an expert's mask without a reference beside it; wanted {' or '.join(REFERENCE_NAMES)}"
                )
            jobs.append(Job(own[0], f"expert{int(number[1])}", path, references[own[0]]))
    if not jobs:
        raise InputError(
            f"{folder}: no expert's mask; wanted ground_truth_expert1 and so on beside the references"
        )
    return jobs


def pair(predictions: Path, references: Path, missing_is_empty: bool = False) -> list[Job]:
    """A job for each reference, with the prediction of the same case.

    Raises InputError if no case is in both folders, or if a prediction is missing, unless `missing_is_empty`; then there is a warning.
    """
    ours, theirs = find_masks(predictions, PREDICTION_NAMES), find_masks(references, REFERENCE_NAMES)
    if not ours.keys() & theirs.keys():
        raise InputError(
            f"{predictions}: no case in common with {references}; found {_some(ours)} there and {_some(theirs)} here; wanted the same names in both"
        )
    missing = [case for case in theirs if case not in ours]
    if missing and not missing_is_empty:
        raise InputError(
            f"{predictions}: {len(missing)} of {len(theirs)} predictions are missing ({_some(missing)}); wanted one a case, or --missing empty"
        )
    if missing:
        logger.warning(
            "%s: %d of %d predictions are missing and taken as empty: %s",
            predictions,
            len(missing),
            len(theirs),
            ", ".join(missing),
        )
    extra = [case for case in ours if case not in theirs]
    if extra:
        logger.warning(
            "%s: %d predictions have no reference and are not scored: %s",
            predictions,
            len(extra),
            ", ".join(extra),
        )
    return [Job(case, PREDICTION, ours.get(case), reference) for case, reference in theirs.items()]


def score(job: Job) -> Score:
    """Score one mask. Raises InputError if a file is unusable, holds more labels than two, or is on another grid than its reference."""
    reference, grid = _read_mask(job.reference)
    if job.prediction is None:
        prediction = np.zeros_like(reference)
    else:
        prediction, own_grid = _read_mask(job.prediction)
        segperf.check_grids(job.prediction, own_grid, job.reference, grid)
    width, height, depth = grid.GetSpacing()
    spacing_mm = depth, height, width
    matches = metrics.match_lesions(prediction, reference, spacing_mm)
    lesions = [
        Lesion("reference", number, match, grids.to_ras_mm(grid, match.centre))
        for number, match in enumerate(matches.reference, start=1)
    ]
    lesions += [
        Lesion("predicted", number, match, grids.to_ras_mm(grid, match.centre))
        for number, match in enumerate(matches.predicted, start=1)
    ]
    return Score(job, metrics.case_metrics(prediction, reference, spacing_mm, matches), tuple(lesions))


def score_all(jobs: Sequence[Job], threads: int) -> Iterator[Score]:
    """Score all masks, in the order in which they are done. Threads do, since numpy and scipy let go of the interpreter; they need no /dev/shm.

    Raises one InputError that names every mask that could not be scored, after the others.
    """
    failures = []
    pool = ThreadPoolExecutor(threads)
    try:
        for done in as_completed([pool.submit(score, job) for job in jobs]):
            try:
                yield done.result()
            except InputError as error:
                failures.append(str(error))
    finally:
        pool.shutdown(cancel_futures=True)
    if failures:
        raise InputError("; ".join(sorted(failures)))


def write(scores: Iterable[Score], output: Path) -> None:
    """Write cases.csv, lesions.csv, summary.json, summary.md and, where matplotlib is installed, summary.png."""
    ordered = sorted(
        scores, key=lambda score: (score.job.rater != PREDICTION, score.job.rater, score.job.case)
    )
    summary = summarise(ordered)
    _write_table(output / "cases.csv", CASE_FIELDS, [_case_row(score) for score in ordered])
    _write_table(
        output / "lesions.csv",
        LESION_FIELDS,
        [_lesion_row(score, lesion) for score in ordered for lesion in score.lesions],
    )
    _write_text(output / "summary.json", json.dumps(_without_nan(summary), indent=1) + "\n")
    _write_text(output / "summary.md", _summary_page(summary))
    if figures.available():
        ours = [score for score in ordered if score.job.rater == PREDICTION]
        with_lesions = [score.metrics for score in ours if score.new_lesions]

        def volumes(mask: str, detected: bool) -> list[float]:
            lesions = (lesion for score in ours for lesion in score.lesions)
            return [
                lesion.match.volume_mm3
                for lesion in lesions
                if lesion.mask == mask and lesion.match.detected == detected
            ]

        figures.draw_summary(
            output / "summary.png",
            f1=[case.f1 for case in with_lesions],
            dice=[case.dice for case in with_lesions],
            found_mm3=volumes("reference", True),
            missed_mm3=volumes("reference", False),
            false_mm3=volumes("predicted", False),
        )


def summarise(scores: Sequence[Score]) -> Row:
    """What goes into summary.json: for the prediction, each expert, and all experts together, cases with and without new lesions apart.

    Each measure has mean and median over its cases with a 95 % bootstrap interval of the cases; cases where it is undefined (nan) are left out of
    that measure, and `cases` says how many remain.
    """
    raters: dict[str, list[Score]] = {}
    for score in scores:
        raters.setdefault(score.job.rater, []).append(score)
    experts = [score for score in scores if score.job.rater != PREDICTION]
    if experts:
        raters["all experts"] = experts
    return {
        "version": __version__,
        "rules": dataclasses.asdict(metrics.OFFICIAL),
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED},
        "missing": [score.job.case for score in scores if score.job.prediction is None],
        "raters": {rater: _summarise_rater(own) for rater, own in raters.items()},
    }


def read_or_score(
    folder: Path, references: Path | None, score_jobs: Callable[[Sequence[Job]], Iterable[Score]]
) -> dict[str, Row]:
    """{case: its row of cases.csv} of one method: read from an earlier evaluation's folder, or scored now from a folder of predictions.

    Raises InputError if the folder is neither, or if it must be scored and `references` is None.
    """
    earlier = folder / "cases.csv"
    if earlier.is_file():
        with earlier.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("rater") == PREDICTION]
        try:
            return {row["case"]: {measure: float(row[measure]) for measure in MEASURES} for row in rows}
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{earlier}: not a table of this version ({error}); wanted the cases.csv of an evaluation"
            ) from error
    if references is None:
        raise InputError(
            f"{folder}: no cases.csv in it; wanted an earlier evaluation, or --references to score its masks"
        )
    scores = score_jobs(pair(folder, references))
    return {
        score.job.case: {measure: round(getattr(score.metrics, measure), DECIMALS) for measure in MEASURES}
        for score in scores
    }


def compare(names: tuple[str, str], first: dict[str, Row], second: dict[str, Row], output: Path) -> None:
    """Write comparison.csv, .json, .md and .png of two methods on the same cases; differences are the second less the first.

    Raises InputError if they share no case or were scored against different references.
    """
    common = sorted(first.keys() & second.keys())
    if not common:
        raise InputError(
            f"{names[1]}: no case in common with {names[0]}; found {_some(second)} and {_some(first)}; wanted the same cases"
        )
    alone = sorted(first.keys() ^ second.keys())
    if alone:
        logger.warning(
            "%d cases are in one of the two only and are not compared: %s", len(alone), ", ".join(alone)
        )
    for case in common:
        volumes = [method[case]["reference_volume_mm3"] for method in (first, second)]
        if not math.isclose(*volumes, rel_tol=1e-5, abs_tol=1e-3):
            raise InputError(
                f"{names[1]}: case {case} was scored against {volumes[1]:g} mm3 of lesions, in {names[0]} {volumes[0]:g}; wanted one reference"
            )
    new = [case for case in common if first[case]["reference_volume_mm3"] > 0]
    none = [case for case in common if case not in new]
    rows, summary = [], {}
    for group, cases, measures in (
        ("with_new_lesions", new, RANKED),
        ("without_new_lesions", none, RANKED_WITHOUT),
    ):
        summary[group] = {
            measure: _compare_measure(*(np.array([m[c][measure] for c in cases]) for m in (first, second)))
            for measure in measures
        }
        for case in cases:
            rows += [
                _difference_row(case, measure, first[case][measure], second[case][measure])
                for measure in measures
            ]
    whole = {
        "version": __version__,
        "first": names[0],
        "second": names[1],
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED},
        **summary,
    }
    _write_table(output / "comparison.csv", ("case", "measure", "first", "second", "difference"), rows)
    _write_text(output / "comparison.json", json.dumps(_without_nan(whole), indent=1) + "\n")
    _write_text(output / "comparison.md", _comparison_page(whole))
    if figures.available():
        f1, dice = (
            [[method[case][measure] for case in new] for method in (first, second)]
            for measure in ("f1", "dice")
        )
        figures.draw_comparison(output / "comparison.png", names, (f1[0], f1[1]), (dice[0], dice[1]))


def _images(folder: Path) -> dict[Path, list[Path]]:
    """{folder: its images} of a folder and those below, sorted; hidden ones left alone."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; wanted one with masks, or with one folder a case")
    found: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.name.lower().endswith(headers.SUFFIXES) and not any(
            part.startswith(".") for part in path.relative_to(folder).parts
        ):
            found.setdefault(path.parent, []).append(path)
    return found


def _stem(path: Path) -> str:
    return path.name[: -len(headers.suffix_of(path))]


def _without_names(path: Path, names: Sequence[str]) -> str:
    """'001_ground_truth.nii.gz' to '001', 'ground_truth.nii.gz' to '', '001.nii.gz' to '001'."""
    stem = _stem(path)
    for name in names:
        rest = re.sub(rf"(?:^|[_.-]+){name}(?=$|[_.-])", "", stem, flags=re.IGNORECASE)
        if rest != stem:
            return rest.strip("_.-")
    return stem


def _some(cases: Iterable[str], shown: int = 5) -> str:
    listed = list(cases)
    return ", ".join(listed[:shown]) + (f" and {len(listed) - shown} more" if len(listed) > shown else "")


def _read_mask(path: Path) -> tuple[Mask, sitk.Image]:
    """A mask `(z, y, x)` and its grid. Raises InputError if it has no zeros, or more than one other value."""
    labels = storage.read_labels(path)
    values = sitk.GetArrayViewFromImage(labels)
    present = np.flatnonzero(np.bincount(values.ravel()))
    if present[0] != 0 or present.size > 2:
        raise InputError(
            f"{path}: {present.size} values, {_some(map(str, present))}; wanted a mask, 0 and one other value"
        )
    return values > 0, labels


def _summarise_rater(scores: Sequence[Score]) -> Row:
    new = [score.metrics for score in scores if score.new_lesions]
    none = [score.metrics for score in scores if not score.new_lesions]
    return {
        "cases": len(scores),
        "with_new_lesions": {
            "cases": len(new),
            "lesions": sum(case.reference_lesions for case in new),
            "detected_lesions": sum(case.detected_lesions for case in new),
            "missed_lesions": sum(case.missed_lesions for case in new),
            "false_lesions": sum(case.false_lesions for case in new),
            **{measure: _describe([getattr(case, measure) for case in new]) for measure in RANKED},
        },
        "without_new_lesions": {
            "cases": len(none),
            "cases_without_false_lesion": sum(case.false_lesions == 0 for case in none),
            **{measure: _describe([getattr(case, measure) for case in none]) for measure in RANKED_WITHOUT},
        },
    }


def _describe(values: Sequence[float]) -> Row:
    """Mean and median with their 95 % bootstrap intervals, of the values that are not nan."""
    known = np.array([value for value in values if not math.isnan(value)], float)
    described: Row = {"cases": known.size}
    for name, statistic in (("mean", np.mean), ("median", np.median)):
        described[name] = float(statistic(known)) if known.size else math.nan
        described[f"{name}_95"] = _interval(known, statistic)
    return described


def _interval(values: npt.NDArray[np.float64], statistic: Callable[..., Any]) -> list[float]:
    """95 % percentile bootstrap interval; each call draws the same cases."""
    if not values.size:
        return [math.nan, math.nan]
    drawn = np.random.default_rng(SEED).integers(values.size, size=(RESAMPLES, values.size))
    low, high = np.percentile(statistic(values[drawn], axis=1), [2.5, 97.5])
    return [float(low), float(high)]


def _compare_measure(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> Row:
    """Paired differences where both are defined, with a two-sided Wilcoxon signed-rank test; p is 1 where nothing differs."""
    both = np.isfinite(first) & np.isfinite(second)
    first, second = first[both], second[both]
    difference = np.round(second - first, DECIMALS)  # the test ranks every difference: one of 1e-17 is none
    p = math.nan
    if difference.size:
        p = float(stats.wilcoxon(difference).pvalue) if difference.any() else 1.0
    return {
        "cases": difference.size,
        "mean_first": float(first.mean()) if first.size else math.nan,
        "mean_second": float(second.mean()) if second.size else math.nan,
        **{
            f"difference_{name}": value
            for name, value in _describe(difference.tolist()).items()
            if name != "cases"
        },
        "wilcoxon_p": p,
    }


def _case_row(score: Score) -> Row:
    head = {
        "case": score.job.case,
        "rater": score.job.rater,
        "missing": int(score.job.prediction is None),
        "new_lesions": int(score.new_lesions),
    }
    return head | {name: _rounded(value) for name, value in dataclasses.asdict(score.metrics).items()}


def _lesion_row(score: Score, lesion: Lesion) -> Row:
    right, anterior, superior = (f"{side:.2f}" for side in lesion.centre_ras_mm)
    return {
        "case": score.job.case,
        "rater": score.job.rater,
        "mask": lesion.mask,
        "number": lesion.number,
        "voxels": lesion.match.voxels,
        "volume_mm3": _rounded(lesion.match.volume_mm3),
        "detected": int(lesion.match.detected),
        "overlap": _rounded(lesion.match.overlap),
        "right_mm": right,
        "anterior_mm": anterior,
        "superior_mm": superior,
    }


def _difference_row(case: str, measure: str, first: float, second: float) -> Row:
    values = {"first": first, "second": second, "difference": second - first}
    return {"case": case, "measure": measure} | {
        name: f"{value:z.{DECIMALS}f}" for name, value in values.items()
    }


def _rounded(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.{DECIMALS}f}"


def _without_nan(value: Any) -> Any:
    """JSON knows no nan: null."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _summary_page(summary: Row) -> str:
    lines = ["# Evaluation", ""]
    if summary["missing"]:
        lines += [f"Missing predictions, taken as empty: {', '.join(summary['missing'])}.", ""]
    for rater, part in summary["raters"].items():
        new, none = part["with_new_lesions"], part["without_new_lesions"]
        lines += [f"## {rater.capitalize()}", ""]
        lines += [
            f"{new['cases']} cases with new lesions: {new['detected_lesions']} of {new['lesions']} detected, {new['false_lesions']} false ones.",
            "",
            *_measure_table(new, RANKED),
            "",
            f"{none['cases']} cases without: {none['cases_without_false_lesion']} of them without a false lesion.",
            "",
            *_measure_table(none, RANKED_WITHOUT),
            "",
        ]
    rules = summary["rules"]
    lines += [
        f"Measures as animaSegPerfAnalyzer computes them (lesions larger than {rules['minimum_volume_mm3']:g} mm³, alpha {rules['alpha']:g}, beta "
        f"{rules['beta']:g}, gamma {rules['gamma']:g}). In brackets: 95 % bootstrap interval over cases ({RESAMPLES} resamples, seed {SEED}). "
        f"ms-new-lesions {summary['version']}.",
        "",
    ]
    return "\n".join(lines)


def _measure_table(part: Row, measures: Sequence[str]) -> list[str]:
    lines = ["| | cases | mean | median |", "|---|---|---|---|"]
    for name in measures:
        measure = part[name]
        cells = [_with_interval(measure[kind], measure[f"{kind}_95"]) for kind in ("mean", "median")]
        lines.append(f"| {TITLES[name]} | {measure['cases']} | {' | '.join(cells)} |")
    return lines


def _with_interval(value: float, interval: Sequence[float]) -> str:
    return "–" if math.isnan(value) else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _comparison_page(comparison: Row) -> str:
    lines = [
        "# Comparison",
        "",
        f"First: {comparison['first']}. Second: {comparison['second']}. Differences are the second less the first.",
        "",
    ]
    for group, title in (
        ("with_new_lesions", "Cases with new lesions"),
        ("without_new_lesions", "Cases without"),
    ):
        lines += [
            f"## {title}",
            "",
            "| | cases | first | second | mean difference | Wilcoxon p |",
            "|---|---|---|---|---|---|",
        ]
        for name, part in comparison[group].items():
            means = (f"{part[mean]:.3f}" if part["cases"] else "–" for mean in ("mean_first", "mean_second"))
            difference = _with_interval(part["difference_mean"], part["difference_mean_95"])
            p = f"{part['wilcoxon_p']:.3g}" if part["cases"] else "–"
            lines.append(f"| {TITLES[name]} | {part['cases']} | {' | '.join(means)} | {difference} | {p} |")
        lines.append("")
    lines += [
        f"In brackets: 95 % bootstrap interval over cases ({RESAMPLES} resamples, seed {SEED}). ms-new-lesions {comparison['version']}.",
        "",
    ]
    return "\n".join(lines)


def _write_table(path: Path, fields: Sequence[str], rows: Iterable[Row]) -> None:
    with writing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fields)
        table.writeheader()
        table.writerows(rows)


def _write_text(path: Path, text: str) -> None:
    with writing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
