"""Which operating point is the best."""

import numpy as np

from app.config import OperatingPoint
from training import operating_points
from training.cases import Case


def cube(side: int, at: int) -> np.ndarray:
    mask = np.zeros((24, 24, 24), bool)
    mask[at : at + side, at : at + side, at : at + side] = True
    return mask


def test_the_best_point_finds_most_and_of_equals_drops_the_fewest_small_lesions() -> None:
    truth, false = cube(4, 2), cube(3, 12)  # 64 mm^3, and 27 mm^3 that are not new
    brain = np.ones_like(truth)
    channels = np.zeros((2, *truth.shape), np.float32)
    cases = [
        Case("a forward", channels, brain, truth, ~brain),
        Case("a backward", channels, brain, ~brain, ~brain),
    ]
    probabilities = {
        "a forward": truth.astype(np.float32),
        "a backward": np.where(false, 0.7, 0.0).astype(np.float32),
    }
    points = [
        OperatingPoint(threshold=threshold, certain=threshold, minimum_volume_mm3=mm3)
        for mm3 in (70.0, 20.0, 10.0)
        for threshold in (0.5, 0.8)
    ]
    ranked = operating_points.best(operating_points.table(probabilities, cases, points), cases)
    # 0.8 keeps the false lesion out: perfect with 20 and with 10 mm^3; at 0.5 one false lesion costs 0.01; 70
    # mm^3 finds nothing
    assert [(point.threshold, point.minimum_volume_mm3) for point in ranked] == [
        (0.8, 10),
        (0.8, 20),
        (0.5, 10),
        (0.5, 20),
        (0.5, 70),
        (0.8, 70),
    ]
    results = operating_points.table(probabilities, cases, ranked[:1])
    assert operating_points.summary(results[ranked[0]], cases) == (1.0, 1.0, 0)
    assert (
        operating_points.selection(
            operating_points.table(probabilities, cases, ranked[2:3])[ranked[2]], cases
        )
        == 0.99
    )
