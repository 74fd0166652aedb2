import itertools
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from app import assessment
from app.config import OperatingPoint, PreprocessConfig
from app.errors import InputError
from app.images import grids
from app.method import preprocessing
from app.method.registration import align
from app.phantom import Phantom
from tests.made_up_alignment import made_up_alignment

ALL_BRAIN = np.ones((10, 10, 10), dtype=bool)


def _values(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 10, (10, 10, 10)).astype(np.float32)


def test_the_mode_is_1_and_four_spreads_are_one_unit() -> None:
    """N(100, 10): mode 100, spread 1.4826 MAD = 10, so 140 becomes 2 and 60 becomes 0."""
    values = np.random.default_rng(0).normal(100, 10, (40, 50, 50)).astype(np.float32)
    values[0, 0, :4] = 140, 60, 1000, -1000
    scaled = preprocessing.scale_intensity(values, np.ones(values.shape, dtype=bool))
    np.testing.assert_allclose(scaled[0, 0, :4], [2, 0, 3, 0], atol=0.1)
    assert np.median(scaled) == pytest.approx(1, abs=0.06)


@given(gain=st.floats(0.01, 100), seed=st.integers(0, 100))
def test_the_scanner_s_gain_does_not_matter(gain: float, seed: int) -> None:
    values = _values(seed)
    wanted = preprocessing.scale_intensity(values, ALL_BRAIN)
    np.testing.assert_allclose(
        preprocessing.scale_intensity(values * np.float32(gain), ALL_BRAIN), wanted, atol=2e-3
    )


def test_lesions_and_skull_do_not_move_the_mode() -> None:
    """A tenth of the voxels made three to four times as bright: the mode stays within a fifth of a spread
    (10).
    """
    values = np.random.default_rng(0).normal(100, 10, (40, 50, 50)).astype(np.float32)
    before = preprocessing.histogram_mode(values.ravel())
    values[:4] *= np.random.default_rng(1).uniform(3, 4, (4, 50, 50)).astype(np.float32)
    assert abs(preprocessing.histogram_mode(values.ravel()) - before) < 2


def test_a_scan_of_one_value_is_refused() -> None:
    with pytest.raises(InputError, match="half of the brain has one single value"):
        preprocessing.scale_intensity(np.ones((10, 10, 10), dtype=np.float32), ALL_BRAIN)


def test_the_field_of_view_by_hand() -> None:
    """Zeros in planes 0 to 4 reach the border, so planes 0 to 5 are lost; a zero in the middle and a channel
    from it to the border are kept.
    """
    values = np.random.default_rng(0).uniform(1, 2, (16, 16, 16)).astype(np.float32)
    values[:5] = 0
    values[10, 8, 8] = 0
    values[13, 8, 8:] = 0
    wanted = np.ones(values.shape, dtype=bool)
    wanted[:6] = False
    np.testing.assert_array_equal(preprocessing.field_of_view(values), wanted)


def test_the_brain_of_stripped_scans_has_no_holes() -> None:
    """Two boxes, one voxel longer each to its side, with a zero inside: their union, filled."""
    baseline, followup = np.zeros((2, 10, 10, 10), dtype=np.float32)
    baseline[2:7, 3:6, 3:6] = 1
    followup[3:8, 3:6, 3:6] = 1
    baseline[5, 4, 4] = followup[5, 4, 4] = 0
    wanted = np.zeros((10, 10, 10), dtype=bool)
    wanted[2:8, 3:6, 3:6] = True
    found = preprocessing.nonzero_brain(sitk.GetImageFromArray(baseline), sitk.GetImageFromArray(followup))
    np.testing.assert_array_equal(found, wanted)


def test_n4_removes_a_smooth_bias(patient: Phantom) -> None:
    """A field from 0.7 to 1.3 across the head: corrected white matter varies less than a third as much."""
    scan = patient.followup
    values = grids.array(scan)
    ramp = np.linspace(0.7, 1.3, values.shape[2], dtype=np.float32)
    biased = grids.like(values * ramp, scan)
    brain = grids.array(patient.brain) > 0

    def slope(volume: sitk.Image) -> float:
        inside = np.where(brain, grids.array(volume), np.nan)
        sides = (
            np.nanmedian(inside[:, :, : values.shape[2] // 2]),
            np.nanmedian(inside[:, :, values.shape[2] // 2 :]),
        )
        return abs(float(np.log(sides[1] / sides[0])))

    assert slope(preprocessing.correct_bias(biased, fwhm=0.3)) < slope(biased) / 3


def test_masked_first_the_skull_does_not_matter(patient: Phantom) -> None:
    """Fat and muscle three times as bright: with n4-then-mask they pull at the brain's bias field, with
    mask-then-n4 they are not there.
    """
    brain = grids.array(patient.brain) > 0
    values = grids.array(patient.followup)
    bright = grids.like(np.where(brain, values, 3 * values), patient.followup)

    def corrected(scan: sitk.Image, config: PreprocessConfig) -> npt.NDArray[np.float32]:
        return grids.array(preprocessing.without_artefacts(scan, brain, config))[brain]

    masked_first, n4_first = PreprocessConfig(bias_order="mask-then-n4"), PreprocessConfig()
    np.testing.assert_array_equal(corrected(bright, masked_first), corrected(patient.followup, masked_first))
    assert not np.allclose(corrected(bright, n4_first), corrected(patient.followup, n4_first), rtol=0.01)


@pytest.mark.parametrize("denoising", ["gaussian", "rician"])
def test_denoised_after_the_bias_is_gone(denoising: Literal["gaussian", "rician"]) -> None:
    """A slab of 100 beside one of 160, noise of sd 3: less than half of the noise is left, and the step
    stays.
    """
    truth = np.full((24, 24, 24), 100, dtype=np.float32)
    truth[..., 12:] = 160
    noisy = sitk.GetImageFromArray(
        truth + np.random.default_rng(0).normal(0, 3, truth.shape).astype(np.float32)
    )
    whole = np.ones(truth.shape, dtype=bool)
    plain, quiet = (
        grids.array(preprocessing.without_artefacts(noisy, whole, PreprocessConfig(denoising=choice)))
        for choice in ("none", denoising)
    )
    assert quiet[..., 2:10].std() < 0.5 * plain[..., 2:10].std()
    assert quiet[..., 14:22].mean() / quiet[..., 2:10].mean() == pytest.approx(
        plain[..., 14:22].mean() / plain[..., 2:10].mean(), rel=0.01
    )


def test_histograms_are_matched_inside_the_brain() -> None:
    """The follow-up is the baseline by another scanner, v -> v^1.5 / 10, so matching undoes it; what is above
    the mean is matched.
    """
    rng = np.random.default_rng(0)
    values = rng.gamma(4.0, 10.0, (30, 30, 30)).astype(np.float32) + 40
    brain = np.zeros(values.shape, dtype=bool)
    brain[5:25, 5:25, 5:25] = True
    other = values**1.5 / 10
    other[~brain] = 5000  # skull: must not take part
    matched = grids.array(
        preprocessing.match_histogram(
            sitk.GetImageFromArray(other), template=sitk.GetImageFromArray(values), brain=brain
        )
    )
    assert (matched[~brain] == 0).all()
    bright = brain & (values > values[brain].mean()) & (values < np.percentile(values[brain], 98))
    np.testing.assert_allclose(matched[bright], values[bright], rtol=0.02)


def test_the_follow_up_is_matched_to_the_baseline(patient: Phantom) -> None:
    """Another contrast at follow-up (square roots): matched, its median, 75th and 90th percentile are the
    baseline's to 0.1.
    """
    scan, brain = patient.followup, grids.array(patient.brain) > 0
    other = grids.like(np.sqrt(grids.array(scan)), scan)
    apart = preprocessing.correct(scan, other, brain, PreprocessConfig())
    matched = preprocessing.correct(scan, other, brain, PreprocessConfig(match_histogram=True))
    np.testing.assert_array_equal(matched.baseline[brain], apart.baseline[brain])
    percentiles = [
        np.percentile(values[matched.brain], [50, 75, 90]) for values in (matched.baseline, matched.followup)
    ]
    np.testing.assert_allclose(*percentiles, atol=0.1)


def test_scans_on_one_1_mm_grid_are_not_interpolated() -> None:
    values = _values() + 1
    scan = sitk.GetImageFromArray(values)
    untouched = made_up_alignment(sitk.Euler3DTransform())
    baseline, followup = preprocessing.to_working_grid(scan, scan, untouched, PreprocessConfig())
    np.testing.assert_array_equal(grids.array(baseline), values)
    np.testing.assert_array_equal(grids.array(followup), values)


def test_a_pair_without_common_brain_is_refused() -> None:
    scan = sitk.GetImageFromArray(_values())
    with pytest.raises(InputError, match="ml of brain in both"):
        preprocessing.correct(scan, scan, ~ALL_BRAIN, PreprocessConfig())


def test_a_prepared_pair(patient: Phantom) -> None:
    aligned = align(patient.followup, patient.followup)
    scans = preprocessing.to_working_grid(
        patient.followup, patient.followup, aligned, PreprocessConfig(spacing_mm=3.0)
    )
    pair = preprocessing.correct(*scans, grids.array(patient.brain) > 0, PreprocessConfig())
    channels = pair.channels()
    assert channels.shape == (2, *pair.brain.shape)
    assert channels.dtype == np.float32
    assert channels.min() >= 0
    assert channels.max() <= 3
    assert (channels[:, ~pair.brain] == 0).all()
    np.testing.assert_array_equal(channels[0], channels[1])


@pytest.mark.parametrize(
    ("spacing_mm", "voxels"),
    [
        ((0.5, 0.5, 0.5), (3, 4, 2)),
        ((0.75, 0.75, 3.0), (2, 1, 1)),
        ((0.9, 0.9, 4.0), (1, 1, 1)),
        ((1.0, 1.0, 1.0), (3, 1, 1)),
        ((1.2, 1.2, 1.2), (2, 1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("moved", [False, True])
def test_a_lesion_of_3_mm3_survives_the_way_there_and_back(
    spacing_mm: tuple[float, ...], voxels: tuple[int, ...], moved: bool
) -> None:
    """To the working grid and back, wherever its voxels lie: twice as bright as the brain, 3.0 to 3.5 mm^3.

    The network in between is a perfect one: it marks the working grid's voxels that show at least half of the
    lesion's greatest contrast there. On the way back at least half of the lesion's voxels are above the
    threshold, and nothing more than a voxel of 1 mm beyond it.
    """
    motion = (
        sitk.Euler3DTransform((0, 0, 0), 0.05, -0.04, 0.08, (0.7, -0.3, 0.4))
        if moved
        else sitk.Transform(3, sitk.sitkIdentity)
    )
    aligned = made_up_alignment(motion)
    size = [round(20 / side) for side in spacing_mm]
    for offset in itertools.product(range(3), repeat=3):
        lesion = np.zeros(size[::-1], dtype=bool)
        start = [side // 2 + step for side, step in zip(size[::-1], offset, strict=True)]
        lesion[
            tuple(slice(first, first + count) for first, count in zip(start, voxels[::-1], strict=True))
        ] = True
        scan = grids.like(np.where(lesion, 200, 100).astype(np.float32), sitk.Image(size, sitk.sitkUInt8))
        scan.SetSpacing(spacing_mm)

        _, seen = preprocessing.to_working_grid(scan, scan, aligned, PreprocessConfig())
        contrast = grids.array(seen) - 100
        probability = (contrast >= contrast.max() / 2).astype(np.float32)
        pair = preprocessing.Pair(contrast, contrast, probability > 0, seen)
        back = (
            grids.array(assessment.to_followup(probability, pair, scan, aligned)) > OperatingPoint().threshold
        )

        assert np.count_nonzero(back & lesion) >= np.count_nonzero(lesion) / 2
        far_mm = ndimage.distance_transform_edt(~lesion, sampling=spacing_mm[::-1])
        assert far_mm[back].max() <= max(1.0, max(spacing_mm))
