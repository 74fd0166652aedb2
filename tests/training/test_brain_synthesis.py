"""training/brain_synthesis.py: what counts as brain, and what the random draws promise."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from training import brain_synthesis
from training.brain_synthesis import CLASSES, LabelledHead, ScannedHead, brain_of, draw_example, labelled_head


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ball_head(side: int = 96) -> npt.NDArray[np.int16]:
    """A head of 1 mm voxels: white matter to 24 mm, cortex 30, fluid 33, skull 37, scalp 42, then air."""
    z, y, x = np.indices((side, side, side)) - (side - 1) / 2
    radius = np.sqrt(x**2 + y**2 + z**2)
    return np.select(
        [radius < 24, radius < 30, radius < 33, radius < 37, radius < 42], [2, 3, 24, 515, 511], 0
    ).astype(np.int16)


def test_every_label_has_one_class() -> None:
    labels = [label for members, _ in CLASSES for label in members]
    assert len(labels) == len(set(labels))


def test_fluid_around_the_brain_is_not_brain_but_fluid_in_a_sulcus_is() -> None:
    labels = ball_head()
    labels[:48, 47:49, 46:50] = np.where(
        labels[:48, 47:49, 46:50] == 3, 24, labels[:48, 47:49, 46:50]
    )  # a sulcus 2 x 4 mm wide through the cortex
    brain = brain_of(labels)
    assert brain[np.isin(labels, (2, 3))].all()
    assert not brain[labels >= 500].any()
    # closing adds no fluid outside a ball, but for the rounding of voxels; in the sulcus it adds all but a
    # shallow dip at its mouth
    assert not brain[48, 48, 48 + 31]
    assert brain[48 - 27, 47:49, 46:50].all()


def test_the_upper_cord_is_brain() -> None:
    labels = np.zeros((80, 20, 20), np.int16)
    labels[60:, 5:15, 5:15] = 16  # stem: slices 60 to 79
    labels[:60, 8:12, 8:12] = 512  # cord below
    brain = brain_of(labels)
    assert (
        not brain[29].any() and brain[30, 8:12, 8:12].all() and brain[59, 8:12, 8:12].all()
    )  # 30 mm: slices 30 to 59


def test_labelled_head_counts_the_voxels_of_each_class() -> None:
    labels = np.zeros((9, 8, 8), np.int16)
    labels[2:7, 2:6, 2:6] = 511  # box of 5 x 4 x 4, one air slice added: 3 x 2 x 2 blocks
    labels[4, 3, 3] = 2
    labels[0, 0, 0] = 511  # a speck in the air, dropped
    head = labelled_head(labels)
    assert head.tissues.shape == (len(CLASSES), 3, 2, 2)
    assert head.tissues.sum(0).eq(8).all()
    white = next(row for row, (members, _) in enumerate(CLASSES) if 2 in members)
    # (4, 3, 3) is (2, 1, 1) in the box: block (1, 0, 0)
    assert head.tissues[white].sum() == 1 and head.tissues[white, 1, 0, 0] == 1
    assert head.brain.sum() == pytest.approx(1 / 8) and head.brain[1, 0, 0] == pytest.approx(1 / 8)


@pytest.fixture(scope="module")
def head() -> LabelledHead:
    return labelled_head(ball_head())


@pytest.mark.parametrize("seed", range(6))
def test_examples(head: LabelledHead, seed: int) -> None:
    example = draw_example(head, generator(seed))
    assert example.scan.shape == example.brain.shape and all(side % 16 == 0 for side in example.scan.shape)
    for values in (example.scan, example.brain):
        assert (
            values.dtype == torch.float32
            and values.isfinite().all()
            and values.min() >= 0
            and values.max() <= 1 + 1e-5
        )  # float32
    assert example.brain.sum() > 0
    again = draw_example(head, generator(seed))
    assert torch.equal(example.scan, again.scan) and torch.equal(example.brain, again.brain)


def test_a_real_scan_becomes_examples_too(head: LabelledHead) -> None:
    scan = head.tissues[1].float() / 8
    example = draw_example(ScannedHead(scan, head.brain), generator())
    assert example.scan.isfinite().all() and example.brain.sum() > 0


def test_deformations_are_moderate(head: LabelledHead) -> None:
    # A ball stays near the middle of the field of view and keeps about its volume.
    grid = brain_synthesis.draw_deformation(head.brain, [64, 96, 80], generator(3))
    assert grid.shape == (1, 64, 96, 80, 3)
    warped = torch.nn.functional.grid_sample(head.brain[None, None], grid, align_corners=False)
    # a ball of 30 mm has 113 ml = 14,137 voxels of 2 mm; scales stay within exp(+-.12) cubed and a few
    # standard deviations of .08 an axis
    assert 14137 * 0.4 < float(warped.sum()) < 14137 * 2.5
    centre = torch.stack(
        [
            (warped[0, 0].sum(axes) * torch.arange(n)).sum() / warped.sum() - (n - 1) / 2
            for axes, n in (((1, 2), 64), ((0, 2), 96), ((0, 1), 80))
        ]
    )
    assert centre.abs().max() < 25


def test_stripping_leaves_nothing_outside(head: LabelledHead) -> None:
    scan, brain = brain_synthesis.draw_stripping(torch.ones_like(head.brain), head.brain, generator())
    assert set(scan.unique().tolist()) == {0.0, 1.0}
    assert (brain <= scan).all() and (brain <= head.brain).all()
    # at most two voxels (avg_pool of 5) outside the brain's own
    grown = torch.nn.functional.max_pool3d((head.brain > 0).float()[None, None], 5, 1, 2)[0, 0]
    assert (scan <= grown).all()


def test_remapping_keeps_air_dark() -> None:
    scan = torch.linspace(0, 1, 50).view(2, 5, 5)
    for seed in range(10):
        assert brain_synthesis.draw_remapping(scan, generator(seed)).flatten()[0] == 0
