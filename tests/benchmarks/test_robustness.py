"""benchmarks/robustness.py: each degradation lowers what it should, and scores are averaged and drawn as they
are.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.errors import InputError
from benchmarks import robustness
from training.cases import Case

BRAIN = np.ones((12, 12, 12), bool)


def test_three_strengths_each_harder_than_the_last() -> None:
    rng = torch.Generator().manual_seed(1)
    scan = 1 + 0.25 * torch.randn(12, 12, 12, generator=rng)
    for name, (degrade, strengths, _) in robustness.DEGRADATIONS.items():
        if name == "none":
            assert torch.equal(degrade(scan, 0.0), scan)
            continue
        changes = [float((degrade(scan, strength) - scan).abs().mean()) for strength in strengths]
        assert len(changes) == 3 and 0 < changes[0] < changes[1] < changes[2]


def test_noise_is_in_spreads_of_the_brain() -> None:
    noise = robustness.add_noise(torch.zeros(40, 40, 40), 2.0)
    assert float(noise.std()) == pytest.approx(0.5, rel=0.02)  # a spread is 1/4


def test_only_the_followup_is_degraded() -> None:
    channels = np.random.default_rng(0).random((2, 12, 12, 12)).astype(np.float32)
    case = Case("01 forward", channels, BRAIN, BRAIN, ~BRAIN)
    lower = robustness.degraded(case, robustness.add_noise, 1.0)
    assert np.array_equal(lower.channels[0], channels[0])
    assert not np.array_equal(lower.channels[1], channels[1])
    assert 0 <= lower.channels.min() <= lower.channels.max() <= 3


def test_table_and_figure(tmp_path: Path) -> None:
    key = {"weights": "w", "degradation": "blur", "strength": "0.75"}
    rows = [
        key | {"network": "fold1", "case": "01 forward", "f1": "0.2", "dice": "0.4", "false": "1"},
        key | {"network": "fold1", "case": "03 forward", "f1": "0.4", "dice": "0.5", "false": "2"},
        key | {"network": "fold2", "case": "01 forward", "f1": "0.5", "dice": "0.4", "false": "0"},
        key | {"network": "fold2", "case": "03 forward", "f1": "0.7", "dice": "0.5", "false": "0"},
    ]
    others = [
        rows[0] | {"degradation": name, "strength": str(strength)}
        for name, (_, strengths, _) in robustness.DEGRADATIONS.items()
        for strength in strengths
        if (name, strength) != ("blur", 0.75)
    ]
    assert robustness.values(rows, "w", "blur", 0.75, "f1") == pytest.approx([0.3, 0.6])
    assert "| blur | 0.75 mm (sigma) | 0.450 (2.25) / 0.450, 0.8 |" in robustness.lines(rows + others, ["w"])
    robustness.write(tmp_path / "robustness.csv", rows)
    assert (tmp_path / "robustness.csv").read_text().splitlines()[
        1
    ] == "w,fold1,blur,0.75,01 forward,0.2,0.4,1"
    robustness.draw(rows + others, ["w"], tmp_path / "robustness.png")
    assert (tmp_path / "robustness.png").read_bytes()[:4] == b"\x89PNG"


def test_a_folder_without_networks_is_said(tmp_path: Path) -> None:
    (tmp_path / "fold1.pt").touch()
    with pytest.raises(InputError, match=r"no lesions\*\.pt; wanted a folder with trained weights"):
        robustness.networks_of([tmp_path])
