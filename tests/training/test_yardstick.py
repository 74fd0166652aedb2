"""Shares with their intervals, marks where nothing is new, and real lesions found."""

import numpy as np

from training import yardstick
from training.cases import Case

BRAIN = np.ones((20, 20, 20), bool)
NOTHING = np.zeros_like(BRAIN)


def cube(at: int, side: int) -> np.ndarray:
    mask = NOTHING.copy()
    mask[at : at + side, at : at + side, at : at + side] = True
    return mask


def case(name: str, truth: np.ndarray, ignore: np.ndarray = NOTHING) -> Case:
    return Case(name, np.zeros((2, 20, 20, 20), np.float32), BRAIN, truth, ignore)


def test_share_with_wilsons_interval() -> None:
    # 8 of 10: centre (0.8 + 0.19207) / 1.38414 = 0.7168, half 0.2266 (Wilson 1927, z = 1.96)
    assert yardstick.share(np.arange(10) < 8) == "0.80 (0.49 to 0.94) of 10"
    assert yardstick.share(np.zeros(0, bool)) == "none to find"


def test_marks_where_nothing_is_new() -> None:
    quiet = [case("P2_T1_T2 forward", NOTHING), case("patient01 backward", NOTHING, ignore=cube(10, 4))]
    masks = {"P2_T1_T2 forward": cube(1, 3) | cube(15, 3), "patient01 backward": cube(10, 4)}
    (line,) = yardstick.quiet_lines(masks, quiet)
    assert line.endswith(
        "P2_T1_T2 forward 2, patient01 backward 0"
    )  # what lies on an ignored zone is neither


def test_real_lesions_found() -> None:
    small, large = cube(2, 3), cube(10, 5)  # 27 and 125 mm^3
    masks = {name: small | cube(17, 2) for name in ("P14_T1_T2 forward", "patient03 forward")}
    cases = [case(name, small | large) for name in masks]
    lines = yardstick.real_lines(masks, cases)
    assert lines[0] == "  P14_T1_T2 forward: 1 of 2 new pieces found; 1 marks elsewhere"
    assert "0 of 1 derived lesions of 30 mm^3 and more found" in lines[1]


def test_dice_of_all_lesions() -> None:
    # 64 voxels wanted, 27 of them said: 2 * 27 / 91
    assert yardstick.lesion_dice(cube(5, 3), cube(5, 4)) == 54 / 91
