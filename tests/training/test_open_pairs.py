"""The derived truth of the validation pairs: its rule on paper, and the pairs at hand rebuilt from the raw
scans.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from app.arrays import Array
from app.images import grids, storage
from training.open_pairs import risen, write_pair


def test_what_rises_and_what_is_seen() -> None:
    before, after = np.zeros((1, 9, 9), np.float32), np.zeros((1, 9, 9), np.float32)
    marked = np.zeros((1, 9, 9), bool)
    clear, faint, small, unmarked, dark = (
        np.s_[0, 0, 0:6],  # 6 mm^3, rises by 0.8 to 0.8
        np.s_[0, 2, 0:6],  # rises by 0.5: there, but not to be seen
        np.s_[0, 4, 0:5],  # 5 mm^3
        np.s_[0, 6, 0:6],
        np.s_[0, 8, 0:6],  # rises by 0.8, and is still darker than the brain
    )
    for piece in (clear, faint, small, dark):
        marked[piece] = True
    marked[0, 0, 6:9] = True  # marked beside a piece, and unchanged
    for piece in (clear, small, unmarked):
        after[piece] = 0.8
    after[faint] = 0.5
    before[dark] = -1.0
    after[dark] = -0.2
    changed, visible = risen(before, after, marked, voxel_mm3=1.0)
    wanted = np.zeros_like(marked)
    wanted[clear] = True
    assert np.array_equal(visible, wanted)
    wanted[faint] = wanted[dark] = True
    assert np.array_equal(changed, wanted)


def test_nothing_marked_is_nothing_new() -> None:
    nothing = np.zeros((3, 3, 3), bool)
    changed, visible = risen(
        np.zeros((3, 3, 3), np.float32), np.ones((3, 3, 3), np.float32), nothing, voxel_mm3=1.0
    )
    assert not changed.any() and not visible.any()


@pytest.mark.slow
@pytest.mark.parametrize(("patient", "dice"), [("patient01", 0.99), ("patient03", 0.83)])
def test_the_pairs_at_hand_come_from_the_raw_scans(
    open_data: Path, tmp_path: Path, patient: str, dice: float
) -> None:
    """They were made with HD-BET's brain, so a voxel near a limit may differ, but no lesion is gained or
    lost; the scans differ by rounding.
    """
    write_pair(open_data / "open_ms_data" / "longitudinal", patient, tmp_path)
    given = open_data / "open_ms_pairs" / patient

    def both(name: str) -> list[Array]:
        return [grids.array(storage.read(folder / f"{name}.nii.gz")) for folder in (tmp_path, given)]

    for time in (1, 2):
        ours, theirs = both(f"flair_time0{time}_on_middle_space")
        assert np.mean(ours != theirs) < 0.001
    for name in ("ground_truth_rising_visible", "ground_truth_falling_visible"):
        ours, theirs = (values > 0 for values in both(name))
        assert (
            2 * np.count_nonzero(ours & theirs) / (np.count_nonzero(ours) + np.count_nonzero(theirs)) > dice
        )
        assert ndimage.label(ours)[1] == ndimage.label(theirs)[1]
