"""Which marks are new lesions, and why the others are only possible ones: on cubes of 1 mm3 voxels."""

from dataclasses import replace

import numpy as np
import pytest

from app import assessment, pipeline
from app.arrays import Mask
from app.config import OperatingPoint, PreprocessConfig
from app.images import grids
from app.method import anima, detection, findings
from app.method.findings import Marks
from app.method.predictor import LesionMaps
from app.phantom import Phantom
from tests.results.made_up_result import make_result

RESULT = make_result()
FIRST, SECOND = (slice(24, 30), slice(30, 36), slice(42, 48)), (slice(30, 34), slice(16, 20), slice(20, 24))


def _marks(one_sided: Mask | None) -> Marks:
    """Of 6 x 6 x 6 voxels in FIRST and 4 x 4 x 4 in SECOND, both certain."""
    probability = np.zeros(RESULT.pair.brain.shape, dtype=np.float32)
    probability[FIRST] = probability[SECOND] = 0.99
    pair = replace(RESULT.pair, one_sided=one_sided)
    followup = grids.like(pair.followup, RESULT.mask)
    return assessment.marks(
        *(LesionMaps(probability), probability, probability, pair, followup, RESULT.aligned),
        *(OperatingPoint(), replace(RESULT.verdict, grade="comparable"), None),
    )


@pytest.mark.parametrize(("planes", "is_new"), [(2, True), (3, False), (6, False)])
def test_a_mark_half_of_which_one_scan_alone_shows_as_brain_is_a_possible_lesion(
    planes: int, is_new: bool
) -> None:
    """Two, three and all of its six planes lie in the brain mask of one scan alone. The other mark stays."""
    one_sided = np.zeros(RESULT.pair.brain.shape, dtype=bool)
    one_sided[24 : 24 + planes, 28:38, 40:50] = True
    found = _marks(one_sided)
    assert found.vanished is not None
    for mask in (found.new, found.vanished):
        assert (mask[FIRST].any(), mask[SECOND].all()) == (is_new, True)
    assert found.possible[findings.ONE_SIDED][FIRST].any() == (not is_new)
    assert not found.possible[findings.ONE_SIDED][SECOND].any()


def test_the_brain_of_anima_ends_where_a_scan_does(patient: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    """The follow-up lacks its lowest third, and so does the pair's brain, and one voxel more."""
    brain = grids.array(patient.brain) > 0
    cut = grids.array(patient.followup)
    third = len(cut) // 3
    cut[:third] = 0
    scans = patient.followup, grids.like(cut, patient.followup)
    corrected = anima.Corrected(*scans, patient.brain)
    monkeypatch.setattr(anima, "find", lambda: None)
    monkeypatch.setattr(anima, "preprocess", lambda *_arguments: corrected)
    aligned = pipeline.registration.align(*scans, register="never")
    monkeypatch.setattr(pipeline.registration, "align", lambda *_arguments, **_named: aligned)
    config = PreprocessConfig(spacing_mm=3.0)
    _, pair = pipeline._by_anima(*scans, config, pipeline.Steps("anima"), pipeline.Clock())
    assert not pair.brain[: third + 1].any()
    np.testing.assert_array_equal(pair.brain[third + 1 :], brain[third + 1 :])
    assert pair.shared == pytest.approx(brain[third + 1 :].sum() / brain.sum())


def test_one_mask_for_both_scans_raises_no_such_doubt() -> None:
    found = _marks(None)
    assert found.new[FIRST].all()
    assert findings.ONE_SIDED not in found.possible


def test_what_lights_up_in_fluid_is_a_possible_lesion_with_its_reason() -> None:
    """FIRST is fluid at baseline."""
    baseline = np.where(RESULT.pair.brain, np.float32(1), np.float32(0))
    baseline[FIRST] = 0.2
    scans = replace(RESULT.pair, baseline=baseline, followup=np.maximum(RESULT.pair.followup, 2))
    probability = np.zeros(scans.brain.shape, dtype=np.float32)
    probability[FIRST] = probability[SECOND] = 0.99
    point = OperatingPoint(gain=0.5)
    new = detection.without_known(probability, scans.channels(), point, 1.0)
    found = assessment.marks(
        *(LesionMaps(probability), new, None, scans, grids.like(scans.followup, RESULT.mask), RESULT.aligned),
        *(point, replace(RESULT.verdict, grade="comparable"), None),
    )
    assert (found.new[FIRST].any(), found.new[SECOND].all()) == (False, True)
    assert found.possible[findings.IN_FLUID][FIRST].any()
    assert not found.possible[findings.SHOWN_BEFORE].any()
