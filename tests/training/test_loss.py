"""Losses by hand."""

import math

import pytest
import torch

from training.loss import dice_ce_loss, dice_loss, lesion_weights, maps_loss

SCORED = torch.ones(1, 1, 1, 1, 4, dtype=torch.bool)
TRUTH = torch.tensor([1.0, 0.0, 0.0, 0.0])[None, None, None, None]


def logits(probabilities: list[float]) -> torch.Tensor:
    """(1, 2, 1, 1, 4) whose softmax gives these lesion probabilities."""
    p = torch.tensor(probabilities)
    return torch.stack([(1 - p).log(), p.log()])[None, :, None, None]


def test_dice_by_hand() -> None:
    # lesion: overlap .5, total .5 * 4 + 1 = 3: (1 + .01) / 3.01; background: overlap 1.5, total 2 + 3 = 5: (3
    # + .01) / 5.01
    wanted = 1 - (1.01 / 3.01 + 3.01 / 5.01) / 2
    assert float(dice_loss(logits([0.5] * 4), TRUTH, SCORED)) == pytest.approx(wanted, abs=1e-6)


def test_entropy_is_added() -> None:
    # every voxel has probability one half for the right class: cross-entropy log 2
    both = float(dice_ce_loss(logits([0.5] * 4), TRUTH, SCORED))
    assert both - float(dice_loss(logits([0.5] * 4), TRUTH, SCORED)) == pytest.approx(math.log(2), abs=1e-6)


def test_a_perfect_answer_costs_nothing() -> None:
    tiny = 1e-7
    assert float(dice_ce_loss(logits([1 - tiny, tiny, tiny, tiny]), TRUTH, SCORED)) == pytest.approx(
        0, abs=1e-5
    )


def test_nothing_to_find_and_nothing_found_costs_nothing() -> None:
    assert float(dice_loss(logits([1e-7] * 4), torch.zeros_like(TRUTH), SCORED)) == pytest.approx(0, abs=1e-4)


def test_outside_the_brain_nothing_counts() -> None:
    brain = torch.tensor([True, True, False, False])[None, None, None, None]
    inside = dice_ce_loss(logits([0.9, 0.2, 0.99, 0.01]), TRUTH, brain)
    assert float(inside) == pytest.approx(
        float(dice_ce_loss(logits([0.9, 0.2, 0.01, 0.99]), TRUTH, brain)), abs=1e-6
    )


def test_maps_by_hand() -> None:
    # one voxel a map, truth 1, probability one half. Changes weigh ten times: Dice (10 * 2 * .5 + 10) /
    # (10 * .25 + 10 + 10), cross-entropy 10 * log 2. All lesions do not: (2 * .5 + 10) / (.25 + 1 + 10)
    # and log 2
    ones = torch.ones(1, 4, 1, 1, 1)
    changes, lesions = 1 - 20 / 22.5 + 10 * math.log(2), 1 - 11 / 11.25 + math.log(2)
    loss = float(maps_loss(torch.zeros(1, 4, 1, 1, 1), ones, ones.bool()))
    assert loss == pytest.approx((1.5 * changes + 0.5 * lesions) / 2, abs=1e-6)


def test_a_small_lesion_weighs_as_much_as_one_of_200_voxels_but_at_most_ten_times_its_own() -> None:
    truth = torch.zeros(1, 3, 24, 24, 24)
    truth[0, 0, 10:12, 10:12, 10:13] = 1  # 12 voxels: 200 / 12 is more than 10
    truth[0, 1, 10:14, 10:14, 10:15] = 1  # 80
    truth[0, 2, 8:15, 8:15, 8:15] = 0.5  # 171.5 by parts of voxels, which are half weighted
    weights = lesion_weights(truth)
    assert weights[0, :, 11, 11, 11].tolist() == pytest.approx([10, 200 / 80, 1 + 0.5 * (200 / 171.5 - 1)])
    assert weights[truth == 0].unique().tolist() == [1]


def test_a_map_that_is_not_known_costs_nothing_and_new_lesions_cost_most() -> None:
    truth, scored = torch.zeros(1, 4, 1, 1, 1), torch.zeros(1, 4, 1, 1, 1, dtype=torch.bool)
    assert float(maps_loss(torch.zeros_like(truth), truth, scored)) == 0
    alone = []
    for number in range(4):
        known = scored.clone()
        known[:, number] = True
        alone.append(float(maps_loss(torch.zeros_like(truth), truth, known)))
    assert alone[0] == pytest.approx(2 * alone[1])
    assert alone[1] == pytest.approx(2 * alone[2]) == pytest.approx(2 * alone[3])


def test_parts_of_voxels_are_answered_best_by_themselves() -> None:
    truth = torch.full((1, 4, 4, 4, 4), 0.3)
    losses = [float(maps_loss(torch.full_like(truth, p).logit(), truth, truth > 0)) for p in (0.2, 0.3, 0.4)]
    assert min(losses) == losses[1]
