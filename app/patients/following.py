"""A patient's lesions through all visits: from the files of the pairs to a page and tables."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..arrays import Array, Labels
from ..errors import InputError
from ..files import check_apart, check_free, write_bytes, writing_set
from ..images import grids, storage
from ..images.scan import Scan
from ..method import tracks
from ..method.tracks import Seen
from ..results import follow, record
from ..results.follow import Followed, FollowOutputs
from ..results.outputs import Outputs
from ..results.record import Record
from .visits import Case, Visit

SPACING_MM = 1.0  # of the grid that all visits share

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pair:
    """The results of a pair, as they were written."""

    case: Case
    visits: tuple[Visit, Visit]
    record: Record
    lesions: dict[str, Any]  # lesions.json
    numbers: sitk.Image  # on the later visit's grid
    at: sitk.Image  # likewise: 1 at the earlier visit, 2 at the later, 3 at both


def patients(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """The pairs of each patient whose lesions are followed."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        if case.followed:
            found.setdefault(case.patient, []).append(case)
    return found


def outputs_of(case: Case, output: Path) -> FollowOutputs:
    """Where what comes of all visits of a patient goes: in the patient's own folder."""
    before = "" if case.bids is None else f"{case.patient}_desc-newLesions_"
    return FollowOutputs.named(output / case.patient, before)


def check_output(cases: Sequence[Case], output: Path) -> None:
    """Raise InputError, before any work is done, if a result would take the place of what is no result."""
    for case, *_ in patients(cases).values():
        outputs = outputs_of(case, output)
        check_apart(
            outputs.paths().values(), [path for one in cases for path in (one.baseline, one.followup)]
        )
        check_free(outputs.paths().values(), outputs.ours())


def follow_patient(cases: Sequence[Case], results: Mapping[str, Outputs], outputs: FollowOutputs) -> Followed:
    """Follow the lesions of one patient through all visits, and write what came of it.

    `results` are those of the pairs by name; pairs that failed have none. Raises InputError for results that
    cannot be read, and if no pair has the last visit.
    """
    pairs = [_read(case, results[case.name]) for case in cases if case.name in results]
    last = max(visit.number for case in cases for visit in case.visits or ())
    to_visit = _ways(pairs, last)
    reached = [pair for pair in pairs if all(visit.number in to_visit for visit in pair.visits)]
    if not reached:
        raise InputError("no comparison with the last visit was done; wanted one to follow lesions from")
    for pair in pairs:
        if pair not in reached:
            logger.warning("%s: no comparisons lead from it to the last visit; left out", pair.case.name)
    visits = sorted({visit for pair in reached for visit in pair.visits}, key=lambda visit: visit.number)
    if len(visits) > tracks.MOST_VISITS:
        raise InputError(
            f"{len(visits)} visits; wanted {tracks.MOST_VISITS} at most to follow lesions through"
        )
    grid = _common_grid(reached, to_visit)
    place = {visit.number: index for index, visit in enumerate(visits)}
    seen = [_seen(pair, grid, to_visit, place) for pair in reached]
    found = tracks.follow(seen, len(visits))
    scans = [_scan(reached, visit, grid, to_visit[visit.number]) for visit in visits]
    followed = Followed(
        [visit.label for visit in visits],
        found,
        scans,
        grid,
        _loads(reached, visits),
        _links(reached, results, outputs.page),
        sorted({case.name for case in cases} - {pair.case.name for pair in reached}),
    )
    check_free(outputs.paths().values(), outputs.ours())
    with writing_set(outputs.paths()) as unfinished:
        written = {
            "csv": follow.as_csv(followed),
            "json": follow.as_json(followed),
            "page": follow.page(followed),
        }
        for name, text in written.items():
            write_bytes(text.encode(), unfinished[name])
    return followed


def _read(case: Case, outputs: Outputs) -> _Pair:
    """Raises InputError."""
    wanted = outputs.wanted()
    done = record.read_record(wanted["record"])
    if done is None or case.visits is None or "followup_to_baseline" not in done.alignment:
        raise InputError(f"{wanted['record']}: not the record of a comparison of visits; wanted one")
    try:
        lesions = json.loads(wanted["lesions_json"].read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{wanted['lesions_json']}: cannot be read; wanted a table of lesions") from error
    numbers, at = (storage.read_labels(wanted[name]) for name in ("numbers", "visits"))
    return _Pair(case, case.visits, done, lesions, numbers, at)


def _ways(pairs: Sequence[_Pair], last: int) -> dict[int, sitk.Transform]:
    """{visit: from points of the last visit to points of that one, mm}, by way of as few pairs as can be."""
    ways: dict[int, sitk.Transform] = {last: sitk.Transform()}
    waiting = [last]
    for here in waiting:
        for pair in pairs:
            earlier, later = (visit.number for visit in pair.visits)
            back = grids.transform(pair.record.alignment["followup_to_baseline"])
            for start, end, step in ((later, earlier, back), (earlier, later, back.GetInverse())):
                if start == here and end not in ways:
                    ways[end] = grids.transform(grids.affine(sitk.CompositeTransform([step, ways[here]])))
                    waiting.append(end)
    return ways


def _common_grid(pairs: Sequence[_Pair], to_visit: Mapping[int, sitk.Transform]) -> sitk.Image:
    """A grid in the last visit's space round all that the pairs have compared."""
    boxes = [(pair.numbers, to_visit[pair.visits[1].number].GetInverse()) for pair in pairs]
    newest = max(pairs, key=lambda pair: pair.visits[1].number)
    return grids.round_all(grids.canonical_grid(newest.numbers, SPACING_MM), boxes)


def _seen(
    pair: _Pair, grid: sitk.Image, to_visit: Mapping[int, sitk.Transform], place: Mapping[int, int]
) -> Seen:
    """What a pair says, on the common grid. A lesion that falls between its voxels takes the nearest one."""
    way = to_visit[pair.visits[1].number]
    labels: Labels = sitk.GetArrayFromImage(grids.labels_on(pair.numbers, grid, way)).astype(np.int32)
    at = sitk.GetArrayFromImage(grids.labels_on(pair.at, grid, way))
    listed = pair.lesions["lesions"]
    kept = np.bincount(labels.ravel(), minlength=len(listed) + 1)
    back = way.GetInverse()
    for lesion in listed:
        if not kept[lesion["number"]]:
            right, anterior, superior = lesion["centre_ras_mm"]
            point = np.array([back.TransformPoint((-right, -anterior, superior))])
            voxel = tuple(grids.nearest_index(point, grid)[0])
            labels[voxel], at[voxel] = lesion["number"], SIDES.get(lesion["kind"], 3)
    certain = labels > 0
    earlier, later = (place[visit.number] for visit in pair.visits)
    return Seen(
        (earlier, later),
        labels,
        tuple(lesion["kind"] for lesion in listed),
        tuple((lesion["baseline_mm3"] or 0.0, lesion["followup_mm3"] or 0.0) for lesion in listed),
        (certain & (at % 2 == 1), certain & (at >= 2)),
        drawn=pair.lesions["load_mm3"] is not None,
        surface_mm=pair.lesions["surface_mm"],
        comparable=pair.record.comparison["verdict"] != "not comparable",
    )


SIDES = {"new": 2, "vanished": 1, "possible": 0}  # of the image of visits; 3: at both


def _scan(pairs: Sequence[_Pair], visit: Visit, grid: sitk.Image, way: sitk.Transform) -> Array:
    """A visit's scan on the common grid, 1 where it is as bright as half of the head, (z, y, x)."""
    paths = [
        path
        for pair in pairs
        for path, shown in zip((pair.case.baseline, pair.case.followup), pair.visits, strict=True)
        if shown == visit
    ]
    values = grids.array(grids.resample(Scan.find(paths[0]).read(), grid, way))
    head = values[values > 0.1 * np.percentile(values, 99)]
    return values / np.float32(max(float(np.median(head)), 1e-6)) if head.size else values


def _links(pairs: Sequence[_Pair], results: Mapping[str, Outputs], page: Path) -> dict[str, str]:
    """{pair: from this page to its own}."""
    reports = {pair.case.name: results[pair.case.name].wanted()["report"] for pair in pairs}
    return {name: Path(os.path.relpath(path, page.parent)).as_posix() for name, path in reports.items()}


def _loads(pairs: Sequence[_Pair], visits: Sequence[Visit]) -> list[float | None]:
    """All lesions together at each visit, mm^3, as the pairs have it on average; None: not known."""
    known: dict[int, list[float]] = {}
    for pair in pairs:
        if (load := pair.lesions["load_mm3"]) is not None:
            for visit, side in zip(pair.visits, ("baseline", "followup"), strict=True):
                known.setdefault(visit.number, []).append(load[side])
    return [float(np.mean(known[visit.number])) if visit.number in known else None for visit in visits]
