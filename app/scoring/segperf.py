"""One mask against one reference, as files: the flags, numbers and file formats of animaSegPerfAnalyzer."""

import logging
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import SimpleITK as sitk

from ..arrays import Labels
from ..errors import InputError
from ..files import check_apart, write_bytes, writing_set
from ..images import grids, storage
from . import distances, metrics
from .distances import Spacing
from .metrics import DetectionRules

MEASURES = (  # the tool's order, names and spelling
    "Jaccard",
    "Dice",
    "Sensitivity",
    "Specificity",
    "PPV",
    "NPV",
    "RelativeVolumeError",
    "HausdorffDistance",
    "ContourMeanDistance",
    "SurfaceDistance",
    "PPVL",
    "SensL",
    "F1_score",
    "NbTestedLesions",
    "VolTestedLesions",
)
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # w3.org/TR/xml, 2.2
DIVISIONS = (
    "PPV",
    "SensL",
)  # where the tool divides 0 by 0, which prints as -nan on its machines; its distances print nan
SCREEN_COLUMN = 20  # characters
DIRECTION_TOLERANCE = 1e-6  # the tool's, of each element of the matrix

logger = logging.getLogger(__name__)

Measures = dict[str, float]  # those of MEASURES that were computed


@dataclass(frozen=True)
class Groups:
    """Which measures to compute: the tool's -s, -d, -l and -a."""

    voxels: bool = True
    distances: bool = False
    lesions: bool = False
    clusters: bool = False  # once more for each label

    @staticmethod
    def asked(voxels: bool, distances: bool, lesions: bool, clusters: bool) -> "Groups":
        """As the tool reads its flags: none given is -s, and -a alone or with -l needs -s."""
        if clusters and not (voxels or distances):
            logger.warning("-a needs -s or -d: -s is computed too")
            voxels = True
        return Groups(voxels or not (distances or lesions), distances, lesions, clusters)


@dataclass(frozen=True)
class LabelImages:
    """Two label images on one grid: 0 is background, labels are 1, 2, ... without gaps."""

    prediction: Labels  # (z, y, x) uint16
    reference: Labels
    spacing_mm: Spacing  # (z, y, x)


def read_images(prediction: Path, reference: Path, strict_anima: bool = False) -> LabelImages:
    """Read both files as the tool does.

    The k-th smallest value of a file becomes label k, from 0. Both become masks if one has more labels.

    Raises InputError for an unreadable file, for different grids, for fractions and for an image without
    zeros. With `strict_anima` only size and direction are compared, fractions are cut off, and an image with
    one single value is empty, as in the tool.
    """
    test, truth = (storage.read_labels(path, cut_fractions=strict_anima) for path in (prediction, reference))
    check_grids(prediction, test, reference, truth, strict_anima)
    predicted, wanted = _ranks(prediction, test, strict_anima), _ranks(reference, truth, strict_anima)
    counts = int(predicted.max()), int(wanted.max())
    if min(counts) > 0 and counts[0] != counts[1]:
        logger.warning(
            "%s has %d labels, %s has %d: both are scored as masks",
            prediction,
            counts[0],
            reference,
            counts[1],
        )
        predicted, wanted = np.minimum(predicted, 1), np.minimum(wanted, 1)
    return LabelImages(predicted, wanted, grids.spacing_mm(truth))


def check_grids(
    prediction: Path, test: sitk.Image, reference: Path, truth: sitk.Image, strict_anima: bool = False
) -> None:
    """Raise InputError unless voxels with one index lie at one place in both images.

    `strict_anima` looks at size and direction alone, as the tool does.
    """
    if test.GetSize() != truth.GetSize():
        found, wanted = grids.describe_grid(test), grids.describe_grid(truth)
        raise InputError(f"{prediction}: {found}; wanted the grid of {reference}, {wanted}")
    turned = np.abs(np.subtract(test.GetDirection(), truth.GetDirection())).max() > DIRECTION_TOLERANCE
    if turned or not (strict_anima or grids.same_grid(test, truth)):
        difference = grids.describe_difference(test, truth)
        raise InputError(f"{prediction}: {difference}; wanted the grid of {reference}")


def measure(
    images: LabelImages, groups: Groups, rules: DetectionRules = metrics.OFFICIAL, strict_anima: bool = False
) -> dict[str, Measures]:
    """{"global": measures}, and with `groups.clusters` {"cluster1": measures, ...} for each label.

    An empty reference has two measures, whatever the groups: the number and volume of the predicted lesions
    larger than 3 mm^3. SurfaceDistance is the average symmetric surface distance; with `strict_anima` it is
    the tool's number, and so are the distances of clusters.
    """
    if not images.reference.any():
        found = metrics.match_lesions(images.prediction > 0, images.reference > 0, images.spacing_mm)
        return {
            "global": {"NbTestedLesions": found.false_lesions, "VolTestedLesions": found.false_volume_mm3}
        }
    results = {"global": _measure_one(images, groups, rules, strict_anima)}
    if groups.clusters and images.prediction.any():
        for label in range(1, int(images.reference.max()) + 1):
            cluster = LabelImages(
                (images.prediction == label).astype(np.uint16),
                (images.reference == label).astype(np.uint16),
                images.spacing_mm,
            )
            measures = _measure_one(cluster, groups, rules, strict_anima)
            if strict_anima and groups.distances:
                measures |= _stale_distances(images, results["global"])
            results[f"cluster{label}"] = measures
    return results


def as_text(measures: Measures) -> str:
    """The tool's text file: 15 fields, each ended by ';' and a tab, empty where not computed; CRLF."""
    return "".join(f"{_printed(name, measures)};\t" for name in MEASURES) + "\r\n"


def as_xml(measures: Measures, name: str) -> str:
    """The tool's XML file: the computed measures of the image called `name`; CRLF."""
    body = [
        f'\t<measure name="{measure}">{_printed(measure, measures)}</measure>'
        for measure in MEASURES
        if measure in measures
    ]
    return "\r\n".join(
        ['<?xml version="1.0" encoding="UTF-8"?>', f"<image name={quoteattr(name)}>", *body, "</image>", ""]
    )


def as_screen(measures: Measures) -> str:
    """The tool's table for the terminal: a line of names and a line of values in columns of 20 characters."""
    cells = (MEASURES, [_printed(name, measures) for name in MEASURES])
    return "".join("".join(cell.ljust(SCREEN_COLUMN) for cell in line) + "\n" for line in cells)


def write_files(
    results: dict[str, Measures], base: str, text: bool, xml: bool, masks: Iterable[Path] = ()
) -> None:
    """Write `<base>_global.txt` and `.xml`, and those of the clusters, all or none.

    Raises InputError if the folder cannot be written, if a file would take the place of one of `masks`, or if
    XML cannot hold the name.
    """
    if xml and NO_XML.search(_last(base)):
        raise InputError(f"{base!a}: a name that XML cannot hold; wanted another, or text alone (-T)")
    contents = {}
    for part, measures in results.items():
        name = f"{base}_{part}"
        if text:
            contents[f"{name}.txt"] = as_text(measures)
        if xml:
            contents[f"{name}.xml"] = as_xml(measures, _last(name))
    paths = {name: Path(name) for name in contents}
    check_apart(paths.values(), masks)
    with writing_set(paths) as unfinished:
        for name, content in contents.items():
            write_bytes(content.encode(), unfinished[name])


def _last(name: str) -> str:
    """The last part of a path, as the tool takes it."""
    return name.rsplit("/" if "/" in name else "\\", 1)[-1]


def about() -> Iterator[str]:
    """A paragraph for each measure, in the order of the files: its name, and what its docstring says."""
    functions = (
        metrics.VoxelOverlap.jaccard,
        metrics.VoxelOverlap.dice,
        metrics.VoxelOverlap.sensitivity,
        metrics.VoxelOverlap.specificity,
        metrics.VoxelOverlap.ppv,
        metrics.VoxelOverlap.npv,
        metrics.VoxelOverlap.relative_volume_error_percent,
        distances.hausdorff_distance_mm,
        distances.contour_mean_distance_mm,
        distances.surface_distance_mm,
        metrics.LesionMatches.ppvl,
        metrics.LesionMatches.sensl,
        metrics.LesionMatches.f1,
        metrics.LesionMatches.false_lesions,
        metrics.LesionMatches.false_volume_mm3,
    )
    for name, function in zip(MEASURES, functions, strict=True):
        yield f"{name}: {' '.join((function.__doc__ or '').split())}"


def _measure_one(images: LabelImages, groups: Groups, rules: DetectionRules, strict_anima: bool) -> Measures:
    measures: Measures = {}
    prediction, reference = images.prediction > 0, images.reference > 0
    if groups.voxels:
        overlap = metrics.voxel_overlap(images.prediction, images.reference)
        measures |= {
            "Jaccard": overlap.jaccard,
            "Dice": overlap.dice,
            "Sensitivity": overlap.sensitivity,
            "Specificity": overlap.specificity,
            "PPV": overlap.ppv,
            "NPV": overlap.npv,
            "RelativeVolumeError": overlap.relative_volume_error_percent,
        }
    if groups.distances:
        contours = distances.contour(images.prediction), distances.contour(images.reference)
        measures |= {
            "HausdorffDistance": distances.hausdorff_distance_mm(prediction, reference, images.spacing_mm),
            "ContourMeanDistance": distances.contour_mean_distance_mm(*contours, images.spacing_mm),
            "SurfaceDistance": distances.surface_distance_mm(
                *contours, images.spacing_mm, strict=strict_anima
            ),
        }
    if groups.lesions:
        lesions = metrics.match_lesions(prediction, reference, images.spacing_mm, rules)
        measures |= {"PPVL": lesions.ppvl, "SensL": lesions.sensl, "F1_score": lesions.f1}
    return measures


def _stale_distances(images: LabelImages, whole: Measures) -> Measures:
    """Two distances that the tool prints for every cluster.

    It keeps the contours of the whole images, and sees label 1 of them alone.
    """
    first = [
        np.where(contour == 1, contour, 0)
        for contour in (distances.contour(images.prediction), distances.contour(images.reference))
    ]
    return {
        "ContourMeanDistance": whole["ContourMeanDistance"],
        "SurfaceDistance": distances.surface_distance_mm(first[0], first[1], images.spacing_mm, strict=True),
    }


def _ranks(path: Path, labels: sitk.Image, strict_anima: bool) -> Labels:
    """Values replaced by their rank among the values present: (z, y, x) uint16.

    Raises InputError unless 0 is one of them or `strict_anima`.
    """
    values = sitk.GetArrayViewFromImage(labels)
    present = np.flatnonzero(np.bincount(values.ravel()))
    if present[0] != 0 and not strict_anima:
        raise InputError(
            f"{path}: no voxel is 0, the smallest is {present[0]}; wanted a mask with background"
        )
    rank = np.zeros(int(present[-1]) + 1, np.uint16)
    rank[present] = np.arange(present.size)
    ranks: Labels = rank[values]
    return ranks


def _printed(name: str, measures: Measures) -> str:
    """A value as C's printf("%f") prints it; empty if it was not computed."""
    if name not in measures:
        return ""
    return "-nan" if name in DIVISIONS and math.isnan(measures[name]) else f"{measures[name]:f}"
