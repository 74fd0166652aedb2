"""Whole scans: each of the challenge's patients by the network that never saw it, experts, pairs without
change, and the card.
"""

import shutil
from pathlib import Path

import pytest
import torch

from app.config import Config, NetworkConfig, WindowConfig
from app.errors import InputError
from app.method import checkpoint
from app.method.model import UNet3D
from app.method.predictor import Predictor
from app.pipeline import Networks
from training import card, folds, validate
from training.publish import publish

CONFIG = Config(network=NetworkConfig(features=8), windows=WindowConfig(side=32))
PROVENANCE = {
    "command": "python -m training.train",
    "commit": "0" * 40,
    "date": "2026-11-24",
    "data": "made up",
    "step": "1",
    "iqda": "each",
    "loss": "dice",
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Two untrained networks that differ."""
    for number in (1, 2):
        torch.manual_seed(number)
        checkpoint.save(tmp_path / "runs" / f"{number}.pt", UNet3D(CONFIG.network), CONFIG, PROVENANCE)
    publish([tmp_path / "runs" / f"{number}.pt" for number in (1, 2)], tmp_path / "weights")
    return tmp_path / "weights"


def test_each_patient_by_the_network_that_never_saw_it(challenge: Path, weights: Path) -> None:
    predictors = validate.out_of_fold(challenge, weights)
    of_patient = folds.read(challenge)
    assert set(predictors) == set(of_patient)
    for patient, predictor in predictors.items():
        (network,) = predictor.networks
        wanted = checkpoint.load(weights / f"lesions{of_patient[patient]}.pt").network
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), wanted.parameters(), strict=True))


def test_weights_of_other_folds_are_refused(challenge: Path, weights: Path) -> None:
    checkpoint.remove(weights / "lesions2.pt")
    with pytest.raises(InputError, match=r"not one lesion network for each of the 2 folds"):
        validate.out_of_fold(challenge, weights)


def test_each_open_pair_by_the_networks_that_were_not_trained_on_it(tmp_path: Path) -> None:
    held_out = {"1": "P2, patient01", "2": "P14, patient03", "3": None}
    for name, patients in held_out.items():
        origin = PROVENANCE | ({} if patients is None else {folds.HELD_OUT: patients})
        torch.manual_seed(int(name))
        checkpoint.save(tmp_path / f"{name}.pt", UNet3D(CONFIG.network), CONFIG, origin)
    publish([tmp_path / f"{name}.pt" for name in held_out], tmp_path / "weights")
    first, second, third = Predictor.from_folder(tmp_path / "weights", torch.device("cpu")).networks

    predictors = validate.unseen(tmp_path / "weights", folds.OPEN)
    for patient, fold in folds.OPEN.items():
        wanted = [first if fold == 1 else second, third]  # the third saw no pair at all
        for network, like in zip(predictors[patient].networks, wanted, strict=True):
            assert all(
                torch.equal(a, b) for a, b in zip(network.parameters(), like.parameters(), strict=True)
            )

    publish([tmp_path / "1.pt"], tmp_path / "weights")
    with pytest.raises(InputError, match="every network was trained on P14"):
        validate.unseen(tmp_path / "weights", ["P14", "P2"])


def test_publishing_fewer_networks_leaves_no_older_one(tmp_path: Path, weights: Path) -> None:
    """What `segment --weights` wants is there: the brain extraction, too."""
    publish([tmp_path / "runs" / "2.pt"], weights)
    assert sorted(path.name for path in weights.iterdir()) == ["SHA256SUMS", "brain.pt", "lesions1.pt"]
    assert (weights / "SHA256SUMS").read_text().split()[1::2] == ["brain.pt", "lesions1.pt"]
    assert len(Networks.load(weights, torch.device("cpu")).predictor.networks) == 1


def test_experts_against_the_consensus(challenge: Path) -> None:
    lines = validate.expert_lines(challenge / "pairs")
    assert lines[0] == "expert 1 against the consensus: mean F1 1.000, Dice 1.000"
    # the fourth marks every lesion a voxel thinner: a ball of 4 voxels' radius has about 268, one of 3 about
    # 113, 2 x 113 / (268 + 113) = 0.6
    assert lines[3].startswith("expert 4 against the consensus: mean F1 1.000, Dice 0.6")
    assert len(lines) == 4


def test_the_card_names_every_network(weights: Path, tmp_path: Path) -> None:
    brain = Path(__file__).resolve().parents[2] / "weights"
    for name in (checkpoint.BRAIN_NETWORK, checkpoint.SUMS):
        shutil.copy(brain / name, tmp_path / name)
    assert f"SHA-256 {checkpoint.sha256(brain / checkpoint.BRAIN_NETWORK)}" in "\n".join(
        card.brain_lines(tmp_path / checkpoint.BRAIN_NETWORK)
    )
    card.write(weights, ["mean F1 0.5"])
    text = (weights / "MODEL_CARD.md").read_text()
    for number in (1, 2):
        assert checkpoint.sha256(weights / f"lesions{number}.pt") in text
    assert (
        "8 base features" in text
        and "windows of 32^3" in text
        and "mean F1 0.5" in text
        and "not a medical device" in text
    )
