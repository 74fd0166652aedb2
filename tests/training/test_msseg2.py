"""The challenge's folders to patches: what was drawn is prepared, and patches turn with their truth."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from app.errors import InputError
from training import folds, msseg2, tiny
from training.augmentation import turn
from training.cases import read_cases
from training.config import ChallengeConfig
from training.dataset import PatientStream

CPU = torch.device("cpu")
PLAIN = ChallengeConfig(patch=32, iqda="none")


def test_what_is_prepared(challenge: Path) -> None:
    cases = {case.name: case for case in read_cases(challenge / "pairs")}
    assert list(cases) == [
        f"{number:03d} forward" for number in range(1, 6)
    ]  # there is no truth of the other order
    assert [case.has_new for case in cases.values()] == [True, True, True, True, False]
    for case in cases.values():
        rise = case.channels[1] - case.channels[0]
        assert not case.has_new or rise[case.truth].mean() > 0.5 > rise[case.brain & ~case.truth].mean()
    assert set(folds.read(challenge)) == {f"{number:03d}" for number in range(1, 6)}


def test_the_experts_are_kept(challenge: Path) -> None:
    with np.load(challenge / "pairs" / "001.npz") as arrays:
        agree, less = arrays["experts"][:3], arrays["experts"][3]
        assert (agree == arrays["truth_forward"]).all()
        assert 0 < less.sum() < arrays["truth_forward"].sum()


def test_one_mask_will_do_but_not_three(tmp_path: Path) -> None:
    tiny.write_challenge(tmp_path / "data", np.random.default_rng(0))
    for expert in msseg2.EXPERTS[:-1]:
        (tmp_path / "data" / "002" / f"ground_truth_expert{expert}.nii.gz").unlink()
    with pytest.raises(InputError, match=r"ground_truth_expert1\.nii\.gz: no such file"):
        msseg2.prepare_challenge(tmp_path / "data", tmp_path / "prepared", 2, 1, "none")
    (tmp_path / "data" / "002" / "ground_truth_expert4.nii.gz").unlink()
    msseg2.prepare_challenge(tmp_path / "data", tmp_path / "prepared", 2, 1, "none")
    with np.load(tmp_path / "prepared" / "pairs" / "002.npz") as arrays:
        assert "experts" not in arrays and arrays["truth_forward"].any()


def test_a_patient_without_consensus_is_refused(tmp_path: Path) -> None:
    tiny.write_challenge(tmp_path / "data", np.random.default_rng(0))
    (tmp_path / "data" / "001" / "ground_truth.nii.gz").unlink()
    with pytest.raises(InputError, match=r"ground_truth\.nii\.gz: no such file"):
        msseg2.prepare_challenge(tmp_path / "data", tmp_path / "prepared", 2, 1, "none")
    assert not list((tmp_path / "prepared").rglob("*.npz"))


def test_patches_about_lesions_hold_one(challenge: Path) -> None:
    # off by at most 8 voxels from the middle of 32: a voxel of the lesion is always inside
    config = dataclasses.replace(PLAIN, lesion_centred=1.0, off_centre=8)
    stream = PatientStream(challenge, ["001", "002", "005"], config, 1, CPU)
    for number in range(12):
        sample = stream.sample(number)
        assert sample.truth.any()
        assert (
            float((sample.scans[1] - sample.scans[0])[(sample.truth[0] > 0.5) & sample.scored[0]].mean())
            > 0.5
        )  # scans and truth turned alike


def test_without_lesions_patches_lie_in_the_brain(challenge: Path) -> None:
    stream = PatientStream(challenge, ["005"], PLAIN, 1, CPU)
    for number in range(6):
        sample = stream.sample(number)
        assert not sample.truth.any()
        assert sample.scored.any()
        assert not sample.scans[:, ~sample.scored[0]].any()


def test_both_scans_get_the_same_degradation_when_shared(challenge: Path) -> None:
    """The same scan twice stays the same scan twice, unless each is degraded alone."""
    for how, equal in (("shared", True), ("each", False)):
        stream = PatientStream(challenge, ["001"], dataclasses.replace(PLAIN, iqda=how), 1, CPU)
        twice = stream.patients[0].channels[:1].expand(2, -1, -1, -1)
        stream.patients[:] = [dataclasses.replace(stream.patients[0], channels=twice)]
        stream.changed[:] = stream.patients
        assert all(torch.equal(*stream.sample(number).scans) for number in range(20)) is equal


def test_a_small_volume_is_padded(challenge: Path) -> None:
    (sample,) = [PatientStream(challenge, ["001"], dataclasses.replace(PLAIN, patch=72), 1, CPU).sample(0)]
    assert sample.scans.shape == (2, 72, 72, 72)


def test_turned_alike() -> None:
    rng = torch.Generator().manual_seed(0)
    cube = torch.arange(27).reshape(3, 3, 3)
    seen = set()
    for _ in range(400):
        one, other = turn([cube, torch.stack([cube, cube])], rng)
        assert torch.equal(other[0], one) and torch.equal(other[1], one)
        assert one[1, 1, 1] == 13 and sorted(one.flatten().tolist()) == list(range(27))
        seen.add(tuple(one.flatten().tolist()))
    # 1 + 3 x 3 rotations about one axis times 8 mirrorings; half a turn about an axis is two mirrorings: (1 +
    # 3) x 8 differ
    assert len(seen) == 32
