"""app/brain.py: geometry, postprocessing and errors with a stand-in network; the shipped weights on real
scans where they are at hand.
"""

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import Tensor

from app.config import Config, NetworkConfig
from app.errors import InputError
from app.images.grids import array, like, same_grid
from app.method import checkpoint
from app.method.brain import BrainExtractor, coarse_scan, join_blocks, normalise, one_piece, pad, split_blocks
from app.method.model import UNet3D

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("MSNL_DATA", ROOT / "../shared/data"))
WEIGHTS = ROOT / "weights" / "brain.pt"
NETWORK = NetworkConfig(channels_in=8, channels_out=8, features=8, levels=2, dropout=0.0)


class BrightIsBrain(UNet3D):
    """Says brain where the normalised scan is above a half: p = sigmoid(20 (x - 1/2))."""

    def forward(self, scans: Tensor) -> Tensor:
        return 20 * (scans - 0.5)


def bright_is_brain() -> BrainExtractor:
    return BrainExtractor(BrightIsBrain(NETWORK), spacing_mm=2.0, threshold=0.5, device=CPU)


def grid(
    size: tuple[int, int, int], spacing: tuple[float, float, float], code: str = "LPS", degrees: float = 0.0
) -> sitk.Image:
    """An empty scan whose middle lies at (10, -20, 30) mm, axes named by `code`, turned about x and z."""
    image = sitk.DICOMOrient(sitk.Image([4, 4, 4], sitk.sitkUInt8), code)
    axes = np.array(image.GetDirection()).reshape(3, 3)
    turn = sitk.Euler3DTransform()
    turn.SetRotation(math.radians(degrees), 0, math.radians(degrees / 2))
    direction = np.array(turn.GetMatrix()).reshape(3, 3) @ axes
    result = sitk.Image(size, sitk.sitkFloat32)
    result.SetSpacing(spacing)
    result.SetDirection(direction.ravel())
    half = direction @ [(n - 1) * s / 2 for n, s in zip(size, spacing, strict=True)]
    result.SetOrigin((np.array([10, -20, 30]) - half).tolist())
    return result


def positions(image: sitk.Image) -> np.ndarray:
    """Patient coordinates of every voxel: (z, y, x, 3), mm."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in image.GetSize()], indexing="ij"), -1).transpose(
        2, 1, 0, 3
    )
    return (index * image.GetSpacing()) @ np.array(image.GetDirection()).reshape(3, 3).T + image.GetOrigin()


GRIDS = [
    grid((60, 64, 56), (2.0, 2.0, 2.0)),
    grid((150, 160, 31), (0.8, 0.75, 3.6)),  # thick slices
    grid((40, 118, 122), (3.0, 1.0, 1.0), "PIR"),  # sagittal slices
    grid((118, 122, 110), (1.0, 1.0, 1.0), "RAS"),  # left and right, back and front the other way
    grid((121, 61, 115), (0.97, 2.1, 1.03), "RIP", degrees=18),  # coronal, oblique
]


@pytest.mark.parametrize("scan", GRIDS, ids=lambda scan: f"{scan.GetSize()}")
def test_a_ball_is_found_where_it_is(scan: sitk.Image) -> None:
    # A ball of 40 mm at the field's middle, shifted by (4, -6, 5) mm, brightness 1 on 0, blurred over 4 mm at
    # its edge as by partial volume.
    distance = np.linalg.norm(positions(scan) - [14, -26, 35], axis=-1)
    ball = like(np.clip((42 - distance) / 4, 0, 1).astype(np.float32) * 700 - 300, scan)
    mask = bright_is_brain()(ball)
    found, wanted = sitk.GetArrayFromImage(mask), distance < 40
    assert mask.GetPixelID() == sitk.sitkUInt8 and set(np.unique(found)) == {0, 1}
    assert (
        same_grid(mask, scan)
        and mask.GetDirection() == scan.GetDirection()
        and mask.GetOrigin() == scan.GetOrigin()
    )
    # half a millimetre of 40 all over the surface changes the volume by 3.8 %: Dice 0.98
    assert 2 * (found * wanted).sum() / (found.sum() + wanted.sum()) > 0.98


@pytest.mark.parametrize("scan", GRIDS, ids=lambda scan: f"{scan.GetSize()}")
def test_coarse_grid_keeps_places(scan: sitk.Image) -> None:
    # A linear function of place survives averaging and linear interpolation; 3 voxels (6 mm) at each edge are
    # left out, where the edge goes on.
    slope = np.array([1.0, -2.0, 0.5])
    coarse = coarse_scan(like((positions(scan) @ slope).astype(np.float32), scan), 2.0)
    assert coarse.GetSpacing() == (2.0, 2.0, 2.0)
    inner = (slice(3, -3),) * 3
    np.testing.assert_allclose(array(coarse)[inner], (positions(coarse) @ slope)[inner], atol=1e-3)
    # x to the left, y to the back, z up: the largest entry of each axis stands on the diagonal and is
    # positive
    axes = np.array(coarse.GetDirection()).reshape(3, 3)
    assert (np.abs(axes).argmax(0) == [0, 1, 2]).all() and (np.diag(axes) > 0).all()


def test_coarse_grid_covers_the_field_of_view() -> None:
    # 5 voxels of 3 mm: 15 mm, so 8 voxels of 2 mm, half a millimetre more on both sides
    coarse = coarse_scan(grid((5, 5, 5), (3.0, 3.0, 3.0)), 2.0)
    assert coarse.GetSize() == (8, 8, 8)
    np.testing.assert_allclose(
        coarse.TransformContinuousIndexToPhysicalPoint([3.5, 3.5, 3.5]), (10, -20, 30), atol=1e-9
    )


def test_blocks() -> None:
    # voxel (z, y, x) = (1, 0, 1) of the first block is channel 4 z + 2 y + x = 5 there
    x = torch.arange(4 * 2 * 6).view(1, 1, 4, 2, 6)
    blocks = split_blocks(x)
    assert blocks.shape == (1, 8, 2, 1, 3)
    assert blocks[0, 5, 0, 0, 0] == x[0, 0, 1, 0, 1]
    assert blocks[0, 2, 1, 0, 2] == x[0, 0, 2, 1, 4]
    assert torch.equal(join_blocks(blocks), x)


def test_normalise() -> None:
    # 9^3 voxels 0..728; every second along each axis: 125 values v. Ranks 1 + round(.005 * 124) = 2 and 1 +
    # round(.995 * 124) = 124 of 125: second smallest v = 2 -> 0, second largest v = 726 -> 1.
    values = torch.arange(729, dtype=torch.float32).view(9, 9, 9)
    scaled = normalise(values)
    assert (
        scaled.flatten()[2] == 0
        and scaled.flatten()[0] == 0
        and scaled.flatten()[726] == 1
        and scaled.flatten()[728] == 1
    )
    assert scaled.flatten()[364] == pytest.approx(0.5)
    torch.testing.assert_close(normalise(5 * values - 1000), scaled)
    assert normalise(torch.full((4, 4, 4), 7.0)).eq(0).all()


def test_pad() -> None:
    # 5 -> 8: one zero before, two after; 8 stays; 1 -> 8: three before, four after
    padded, before = pad(torch.ones(5, 8, 1), 8)
    assert padded.shape == (8, 8, 8) and before == (1, 0, 3)
    assert padded[1:6, :, 3].eq(1).all() and padded.sum() == 40


def test_one_piece() -> None:
    # Along x: a piece of 3, a gap, a piece of 2; the larger one stays, what is below the threshold stays as
    # it is.
    line = np.array([0.9, 0.8, 0.6, 0.4, 0.0, 0.7, 0.7], np.float32).reshape(1, 1, 7)
    np.testing.assert_array_equal(
        one_piece(line, 0.5).ravel(), np.array([0.9, 0.8, 0.6, 0.4, 0, 0, 0], np.float32)
    )
    # a hollow cube of 3^3 in 5^3: its middle is filled
    cube = np.zeros((5, 5, 5), np.float32)
    cube[1:4, 1:4, 1:4] = 0.9
    cube[2, 2, 2] = 0.1
    assert one_piece(cube, 0.5)[2, 2, 2] == 1 and (one_piece(cube, 0.5) > 0).sum() == 27
    assert one_piece(np.full((2, 2, 2), 0.3, np.float32), 0.5).sum() == 0


def test_only_the_largest_piece_is_brain() -> None:
    scan = GRIDS[0]
    place = positions(scan)
    balls = (np.linalg.norm(place - [10, -20, 30], axis=-1) < 25) | (
        np.linalg.norm(place - [55, -20, 30], axis=-1) < 8
    )
    found = sitk.GetArrayFromImage(bright_is_brain()(like(balls.astype(np.float32), scan)))
    assert sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(found))).max() == 1
    assert found.sum() == pytest.approx((np.linalg.norm(place - [10, -20, 30], axis=-1) < 25).sum(), rel=0.02)


@pytest.mark.parametrize("size", [(2, 2, 2), (3, 40, 5), (1, 1, 9)])
def test_tiny_scans(size: tuple[int, int, int]) -> None:
    scan = grid(size, (1.3, 0.4, 3.0))
    values = np.zeros(size[::-1], np.float32)
    values[: math.ceil(size[2] / 2)] = 1
    mask = bright_is_brain()(like(values, scan))
    assert mask.GetSize() == size


def test_no_brain_is_an_error() -> None:
    with pytest.raises(InputError, match=r"no brain in a scan of 60x64x56 voxels of 2x2x2 mm; wanted"):
        bright_is_brain()(GRIDS[0])


def test_an_unlikely_volume_is_said(caplog: pytest.LogCaptureFixture) -> None:
    # a ball of 20 mm: 33 ml
    ball = (np.linalg.norm(positions(GRIDS[0]) - [10, -20, 30], axis=-1) < 20).astype(np.float32)
    bright_is_brain()(like(ball, GRIDS[0]))
    assert "the brain found has 3" in caplog.text


def test_weights_bring_their_settings_and_are_checked(tmp_path: Path) -> None:
    config = Config(network=NETWORK)
    config = dataclasses.replace(config, preprocess=dataclasses.replace(config.preprocess, spacing_mm=2.5))
    config = dataclasses.replace(config, point=dataclasses.replace(config.point, threshold=0.25))
    path = tmp_path / "brain.pt"
    checkpoint.save(path, UNet3D(NETWORK), config, {})
    extractor = BrainExtractor.from_file(path, CPU)
    assert (extractor.spacing_mm, extractor.threshold, extractor.multiple) == (2.5, 0.25, 8)
    probability = extractor.probability(np.random.default_rng(0).random((5, 9, 16), np.float32))
    assert probability.shape == (5, 9, 16) and 0 <= probability.min() <= probability.max() <= 1
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="SHA-256"):
        BrainExtractor.from_file(path, CPU)


def test_the_shipped_weights_are_small() -> None:
    if not WEIGHTS.is_file():
        pytest.skip("weights/brain.pt is not there")
    assert WEIGHTS.stat().st_size < 5e6


@pytest.mark.slow
@pytest.mark.parametrize("study", [1, 2])
def test_a_validation_patient(study: int) -> None:
    """Dice with the data set's own mask, which leaves out some fluid at the rim.

    Patient 01 was never trained on.
    """
    folder = DATA / "open_ms_data/longitudinal"
    raw = folder / f"raw/patient01/study{study}_FLAIR.nii.gz"
    if not raw.is_file():
        pytest.skip(f"{raw} is not there; set MSNL_DATA")
    truth = sitk.ReadImage(str(folder / "coregistered/patient01/brainmask.nii.gz")) > 0
    transform = sitk.ReadTransform(
        str(folder / f"coregistered/patient01/study{study}_FLAIR_to_common_space.txt")
    )
    scan = sitk.ReadImage(str(raw), sitk.sitkFloat32)
    brain = BrainExtractor.from_file(WEIGHTS, CPU)(scan)
    found, seen = (
        sitk.GetArrayFromImage(sitk.Resample(image, truth, transform, sitk.sitkNearestNeighbor)) > 0
        for image in (brain, sitk.Cast(brain * 0 + 1, 1))
    )
    wanted = (sitk.GetArrayFromImage(truth) > 0) & seen
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.94
