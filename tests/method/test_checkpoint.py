import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from app.config import Config, NetworkConfig, OperatingPoint, PreprocessConfig, WindowConfig
from app.errors import InputError
from app.method import checkpoint
from app.method.model import UNet3D

CONFIG = Config(network=NetworkConfig(features=8, levels=1), point=OperatingPoint(threshold=0.7))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    checkpoint.save(tmp_path / "lesions1.pt", UNet3D(CONFIG.network), CONFIG, {"commit": "abc"})
    return tmp_path / "lesions1.pt"


def test_a_checkpoint_builds_its_own_network(saved: Path) -> None:
    torch.manual_seed(0)
    trained = UNet3D(CONFIG.network)
    loaded = checkpoint.load(saved)
    assert loaded.config == CONFIG
    assert loaded.provenance == {"commit": "abc"}
    assert not loaded.network.training
    for wanted, found in zip(trained.parameters(), loaded.network.parameters(), strict=True):
        assert torch.equal(wanted.half().float(), found)


def test_the_hash_is_that_of_sha256sum(saved: Path) -> None:
    digest, name = (saved.parent / checkpoint.SUMS).read_text().split()
    assert name == "lesions1.pt"
    assert checkpoint.load(saved).sha256 == digest == checkpoint.sha256(saved)


def test_an_altered_file_is_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    saved.write_bytes(content)
    with pytest.raises(InputError, match="SHA-256"):
        checkpoint.load(saved)


def test_a_file_without_a_hash_is_refused(saved: Path) -> None:
    (saved.parent / checkpoint.SUMS).write_text("")
    with pytest.raises(InputError, match="wanted a line for it"):
        checkpoint.load(saved)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lesions1.pt"
    torch.save({"weights": Path("x")}, path)
    (tmp_path / checkpoint.SUMS).write_text(f"{checkpoint.sha256(path)}  lesions1.pt\n")
    with pytest.raises(InputError, match="not a checkpoint of this version"):
        checkpoint.load(path)


def _listed(path: Path) -> Path:
    """With the right hash."""
    (path.parent / checkpoint.SUMS).write_text(f"{checkpoint.sha256(path)}  {path.name}\n")
    return path


@pytest.mark.parametrize("length", [0, 1, 1000])
def test_a_cut_file_with_the_right_hash_is_refused(length: int, saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(InputError, match=r"lesions1.pt: not a checkpoint of this version \(.+\)"):
        checkpoint.load(_listed(saved))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, saved: Path) -> None:
    network = checkpoint.load(saved).network
    with torch.no_grad():
        next(iter(network.parameters())).view(-1)[3] = value
    checkpoint.save(saved, network, CONFIG, {})
    with pytest.raises(InputError, match="weights that are NaN or infinite"):
        checkpoint.load(saved)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"point": OperatingPoint(threshold=float("nan"))}, "threshold nan; wanted a probability"),
        ({"point": OperatingPoint(certain=1.5)}, "certain 1.5; wanted a probability"),
        ({"point": OperatingPoint(minimum_volume_mm3=float("nan"))}, "minimum_volume_mm3 nan"),
        ({"point": OperatingPoint(gain=float("nan"))}, "gain nan"),
        ({"windows": WindowConfig(overlap=1.0)}, "overlap 1; wanted"),
        ({"preprocess": PreprocessConfig(spacing_mm=float("inf"))}, "spacing_mm inf; wanted a positive"),
    ],
)
def test_settings_of_no_use_are_refused(settings: dict[str, Any], message: str, saved: Path) -> None:
    network = checkpoint.load(saved).network
    checkpoint.save(saved, network, dataclasses.replace(CONFIG, **settings), {})
    with pytest.raises(InputError, match=message):
        checkpoint.load(saved)


def test_a_list_of_hashes_that_is_none_is_refused(saved: Path) -> None:
    (saved.parent / checkpoint.SUMS).write_bytes(b"\xff\xfe what\n")
    with pytest.raises(InputError, match=r"SHA256SUMS: a line .*; wanted a SHA-256 and a file's name"):
        checkpoint.load(saved)


def test_config_survives_json() -> None:
    config = dataclasses.replace(
        CONFIG,
        windows=WindowConfig(side=32, overlap=0.25),
        point=OperatingPoint(threshold=0.9, minimum_volume_mm3=12.5),
    )
    assert Config.from_json(config.to_json()) == config
