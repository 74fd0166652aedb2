"""Which mask is scored against which reference? Folders to jobs, and files to arrays.

A rater is whoever drew the masks that are scored: a method, or an expert ("expert1").
"""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..arrays import Array, Mask
from ..errors import InputError, is_formula
from ..folders import walk
from ..images import grids, headers, storage
from . import segperf

REFERENCE_NAMES = ("ground_truth", "consensus")
PREDICTION_NAMES = ("new_lesions", "output_segmentation")  # ours, and the challenge container's
PROBABILITY_NAMES = ("probability", "probseg")  # ours, and BIDS's
ALL_EXPERTS = "all experts"  # scored together
EXPERT = re.compile(r"expert[_-]?(\d+)", re.IGNORECASE)  # ground_truth_expert1 .. 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Method:
    """One folder of predictions, or of an earlier evaluation, and what to call it."""

    name: str
    folder: Path
    asked: bool = False  # the name was given; otherwise it is the folder's own


@dataclass(frozen=True)
class Job:
    """One mask to score."""

    case: str
    rater: str
    prediction: Path | None  # None: missing, taken as empty
    reference: Path
    probability: Path | None = None  # None: not given


def name_methods(texts: Iterable[str]) -> list[Method]:
    """`NAME=FOLDER`, or `FOLDER` alone, which goes by the folder's own name.

    Raises InputError if two methods share a name, or if one is called like an expert.
    """
    methods: dict[str, Method] = {}
    for text in texts:
        name, _, folder = text.partition("=")
        asked = bool(folder) and "/" not in name and not Path(text).is_dir()
        if not asked:
            name, folder = Path(text).resolve().name, text
        if name in methods:
            raise InputError(
                f"{text}: a second method called {name} beside {methods[name].folder}; wanted NAME=FOLDER"
            )
        if is_formula(name):
            raise InputError(
                f"{text}: {name} is what a spreadsheet takes for a formula; wanted NAME=FOLDER, "
                "the name with a letter or digit first"
            )
        if is_expert(name) or name == ALL_EXPERTS:
            raise InputError(f"{text}: {name} is what an expert is called; wanted NAME=FOLDER")
        methods[name] = Method(name, Path(folder), asked)
    return list(methods.values())


def is_expert(rater: str) -> bool:
    """Whether a rater is an expert rather than a method."""
    return EXPERT.fullmatch(rater) is not None


def find_jobs(
    methods: Sequence[Method],
    references: Path,
    experts: bool,
    missing_is_empty: bool,
    problems: list[str],
) -> list[Job]:
    """A job for each mask of each method, and of each expert if `experts`.

    What cannot be scored adds a line to `problems`. Raises InputError if there are no references.
    """
    wanted = find_masks(references, REFERENCE_NAMES, problems)
    jobs: list[Job] = []
    for method in methods:
        try:
            jobs += find_predictions(method, wanted, missing_is_empty, problems)
        except InputError as error:
            problems.append(str(error))
    if experts:
        try:
            jobs += find_experts(references, wanted, problems)
        except InputError as error:
            problems.append(str(error))
    return jobs


def in_words(problems: Sequence[str]) -> str:
    """Problems as one message: the only one, or their number and a line for each."""
    if len(problems) == 1:
        return problems[0]
    return "\n  ".join([f"{len(problems)} problems with the masks:", *sorted(problems)])


def find_masks(folder: Path, names: Sequence[str], problems: list[str]) -> dict[str, Path]:
    """{case: its mask} of a folder, sorted.

    A sub-folder is a case. Its mask is the one called by one of `names` (`001/ground_truth.nii.gz`), or its
    only image. A file in `folder` itself is a case too: `001.nii.gz` or `001_ground_truth.nii.gz`. Where some
    files are called by one of `names`, the others are taken for scans and left alone. Experts' masks and
    probability maps are always left alone.

    Each case that leaves a choice adds a line to `problems`. Raises InputError if the folder is missing or
    holds no mask.
    """
    masks: dict[str, Path] = {}
    for parent, paths in _images(folder).items():
        paths = [path for path in paths if not (EXPERT.search(path.name) or _is_probability(path))]
        candidates = [path for path in paths if _without_names(path, names) != _stem(path)] or paths
        place = _place(parent, folder)
        if place and len(candidates) > 1:
            listed = ", ".join(path.name for path in candidates)
            problems.append(f"{parent}: {listed}; wanted one mask, called {' or '.join(names)}")
            continue
        for path in candidates:
            case = place or _without_names(path, names) or folder.resolve().name
            if is_formula(case):
                problems.append(
                    f"{path}: a case would be called {case}, which a spreadsheet takes for a formula; "
                    "wanted a name that begins with a letter or digit"
                )
            elif case in masks:
                problems.append(f"{path}: a second mask of case {case} beside {masks[case]}; wanted one")
            else:
                masks[case] = path
    if not masks:
        raise InputError(f"{folder}: no mask in it; wanted images that end in {', '.join(headers.SUFFIXES)}")
    return dict(sorted(masks.items()))


def find_probabilities(folder: Path) -> dict[str, Path]:
    """{case: its probability map} of a method: `001/probability.nii.gz` or `001_probability.nii.gz`."""
    maps = {}
    for parent, paths in _images(folder).items():
        for path in filter(_is_probability, paths):
            case = _place(parent, folder) or _without_names(path, PROBABILITY_NAMES)
            maps[case or folder.resolve().name] = path
    return maps


def find_experts(folder: Path, references: dict[str, Path], problems: list[str]) -> list[Job]:
    """Each expert's mask against the reference of its case.

    A mask without a reference adds a line to `problems`. Raises InputError if there is no expert's mask.
    """
    jobs, found = [], 0
    for parent, paths in _images(folder).items():
        for path in paths:
            number = EXPERT.search(path.name)
            if number is None:
                continue
            found += 1
            case = _place(parent, folder)
            if not case:
                stem = _without_names(Path(EXPERT.sub("", path.name)), REFERENCE_NAMES)
                case = stem or folder.resolve().name
            if case in references:
                jobs.append(Job(case, f"expert{int(number[1])}", path, references[case]))
            else:
                wanted = " or ".join(REFERENCE_NAMES)
                problems.append(f"{path}: an expert's mask without a reference beside it; wanted {wanted}")
    if not found:
        raise InputError(
            f"{folder}: no expert's mask; wanted ground_truth_expert1 and so on beside the references"
        )
    return jobs


def find_predictions(
    method: Method, references: dict[str, Path], missing_is_empty: bool, problems: list[str]
) -> list[Job]:
    """A job for each reference, with the method's prediction of the same case.

    A missing prediction adds a line to `problems`, unless `missing_is_empty`: then there is a warning.
    Raises InputError if no case is in both.
    """
    found = find_masks(method.folder, PREDICTION_NAMES, problems)
    if not found.keys() & references.keys():
        raise InputError(
            f"{method.folder}: no case in common with the references; found {some(found)} there and "
            f"{some(references)} here; wanted the same names in both"
        )
    missing = [case for case in references if case not in found]
    count = f"{len(missing)} of {len(references)} predictions are missing"
    if missing and missing_is_empty:
        logger.warning("%s: %s and taken as empty: %s", method.folder, count, ", ".join(missing))
    elif missing:
        problems.append(
            f"{method.folder}: {count} ({', '.join(missing)}); wanted one a case, or --missing empty"
        )
    extra = [case for case in found if case not in references]
    if extra:
        logger.warning(
            "%s: %d predictions have no reference and are not scored: %s",
            method.folder,
            len(extra),
            ", ".join(extra),
        )
    maps = find_probabilities(method.folder)
    return [
        Job(case, method.name, found.get(case), reference, maps.get(case) if case in found else None)
        for case, reference in references.items()
        if case in found or missing_is_empty
    ]


def read_mask(path: Path) -> tuple[Mask, sitk.Image]:
    """A mask `(z, y, x)` and its grid. Raises InputError if it has no zeros, or more than one other value."""
    labels = storage.read_labels(path)
    values = sitk.GetArrayViewFromImage(labels)
    present = np.flatnonzero(np.bincount(values.ravel()))
    if present[0] != 0 or present.size > 2:
        raise InputError(
            f"{path}: {present.size} values, {some(map(str, present))}; wanted a mask, 0 and one other value"
        )
    return values > 0, labels


def read_prediction(job: Job, grid: sitk.Image) -> Mask:
    """The mask of a job `(z, y, x)`; empty if it is missing. `grid` is the reference's.

    Raises InputError as `read_mask` does, and if the mask lies on another grid.
    """
    if job.prediction is None:
        return np.zeros(sitk.GetArrayViewFromImage(grid).shape, np.bool_)
    mask, own_grid = read_mask(job.prediction)
    segperf.check_grids(job.prediction, own_grid, job.reference, grid)
    return mask


def read_probability(job: Job, grid: sitk.Image) -> Array | None:
    """The probability map of a job as float32 `(z, y, x)`, 0 to 1; None if there is none.

    Raises InputError if it lies on another grid than the reference, or holds other values.
    """
    if job.probability is None:
        return None
    image = storage.read_probability(job.probability)
    segperf.check_grids(job.probability, image, job.reference, grid)
    return grids.array(image)


def some(cases: Iterable[str], shown: int = 5) -> str:
    """The first few of a list in words: "a, b and 3 more"."""
    listed = list(cases)
    return ", ".join(listed[:shown]) + (f" and {len(listed) - shown} more" if len(listed) > shown else "")


def _images(folder: Path) -> dict[Path, list[Path]]:
    """{folder: its images} of a folder and those below, sorted; hidden ones left alone."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; wanted one with masks, or with one folder a case")
    found: dict[Path, list[Path]] = {}
    for path in walk(folder):
        if path.name.lower().endswith(headers.SUFFIXES):
            found.setdefault(path.parent, []).append(path)
    return found


def _place(parent: Path, folder: Path) -> str:
    """The case that a sub-folder stands for: 'sub-01_ses-02' for sub-01/ses-02; '' for `folder` itself."""
    return "_".join(parent.relative_to(folder).parts)


def _is_probability(path: Path) -> bool:
    return _without_names(path, PROBABILITY_NAMES) != _stem(path)


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
