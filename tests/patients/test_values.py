"""However a program wrote the values of one pair of scans, the whole chain sees the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from app.cli.options import WEIGHTS
from app.images import grids, storage
from app.images.scan import Scan
from app.method.preprocessing import Pair
from app.patients.segmenter import Segmenter
from app.phantom import Phantom
from app.pipeline import Result, Steps
from app.results.outputs import Outputs

Write = Callable[
    [np.ndarray, np.ndarray], np.ndarray
]  # values and brain, (z, y, x), to what a program would write

STRIPPED: dict[str, tuple[Write, Write]] = {  # of baseline and follow-up
    "padding": (
        lambda values, brain: np.where(brain, values, -32768),
        lambda values, brain: np.where(brain, values, np.nan),
    ),
    "z_of_all": (lambda values, brain: _z(values * brain, np.ones_like(brain)),) * 2,
    "z_of_brain": (lambda values, brain: np.where(brain, _z(values, brain), 0),) * 2,
}


def _z(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return (values - values[inside].mean()) / values[inside].std()


@pytest.fixture(scope="module")
def segmenter(weights: Path) -> Segmenter:
    return Segmenter.load(weights, "cpu", None)


def _pair(segmenter: Segmenter, patient: Phantom, writes: tuple[Write, Write], folder: Path) -> Pair:
    """What the network sees of the pair, through files with the values that `writes` make of both scans."""
    folder.mkdir()
    paths = folder / "time01.nii.gz", folder / "time02.nii.gz"
    for scan, write, path in zip((patient.baseline, patient.followup), writes, paths, strict=True):
        brain = grids.array(segmenter.networks.brain(scan)) > 0
        storage.write(grids.like(write(grids.array(scan).astype(np.float64), brain), scan), path)
    scans = Scan(paths[0]), Scan(paths[1])
    return segmenter.segment_files(*scans, Outputs.in_folder(folder / "out")).pair


@pytest.fixture(scope="module")
def wanted(segmenter: Segmenter, patient: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Of the stripped scans, 0 outside the brain."""
    plain: Write = lambda values, brain: values * brain  # noqa: E731
    return _pair(segmenter, patient, (plain, plain), tmp_path_factory.mktemp("stripped") / "plain")


@pytest.mark.slow
@pytest.mark.parametrize("kind", STRIPPED)
def test_a_stripped_pair_is_seen_the_same_however_it_was_written(
    kind: str, wanted: Pair, segmenter: Segmenter, patient: Phantom, tmp_path: Path
) -> None:
    """Bit for bit under any padding.

    A standardised scan takes another way in alignment and bias field, by rounding or by an unknown 0.
    """
    found = _pair(segmenter, patient, STRIPPED[kind], tmp_path / kind)
    both = wanted.brain & found.brain
    assert 2 * both.sum() > 0.96 * (wanted.brain.sum() + found.brain.sum())
    for ours, theirs in ((found.baseline, wanted.baseline), (found.followup, wanted.followup)):
        if kind == "padding":
            np.testing.assert_array_equal(ours, theirs)
        assert np.corrcoef(ours[both], theirs[both])[0, 1] > (0.99 if kind == "z_of_brain" else 0.999)


REAL: dict[str, tuple[Write, Write]] = {  # of baseline and follow-up
    "stored": (lambda values, brain: values,) * 2,  # noqa: ARG005
    "padding": STRIPPED["padding"],
    "z_of_brain": (
        lambda values, brain: np.where(brain, _z(values, brain), np.nan),
        lambda values, brain: np.where(brain, _z(values, brain), -9),
    ),
}


@pytest.fixture(scope="module")
def found(open_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """What the shipped weights find in one real stripped pair, as it is stored and as others write it."""
    stored = [open_data / "mslesseg" / f"P14_{visit}_FLAIR.nii.gz" for visit in ("T1", "T2")]
    for path in stored:
        if not path.is_file():
            pytest.skip(f"no {path}")
    segmenter = Segmenter.load(WEIGHTS, "cpu", 1, Steps(fast=True))
    results = {}
    for kind, writes in REAL.items():
        folder = tmp_path_factory.mktemp(kind)
        for path, write in zip(stored, writes, strict=True):
            scan = storage.read(path)
            values = grids.array(scan).astype(np.float64)
            brain = ndimage.binary_fill_holes(values > 0)
            storage.write(grids.like(write(values, brain), scan), folder / path.name)
        scans = [Scan(folder / path.name) for path in stored]
        results[kind] = segmenter.segment_files(*scans, Outputs(folder / "new.nii.gz"))
    return results


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least_dice"), [("padding", 1.0), ("z_of_brain", 0.95)])
def test_a_real_stripped_pair_has_the_same_marks_however_it_was_written(
    kind: str, least_dice: float, found: dict[str, Result]
) -> None:
    """Of the pair whose brains were standardised alone, outlines differ a little: nobody knows its 0."""
    wanted, result = found["stored"], found[kind]
    assert len(wanted.lesions) > 10
    assert len(result.lesions) == len(wanted.lesions)
    ours, theirs = (grids.array(one.mask) > 0 for one in (result, wanted))
    assert 2 * (ours & theirs).sum() >= least_dice * (ours.sum() + theirs.sum())
