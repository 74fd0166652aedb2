import dataclasses
from pathlib import Path

import pytest
import torch

from app.config import Config, NetworkConfig, OperatingPoint, WindowConfig
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


def test_config_survives_json() -> None:
    config = dataclasses.replace(
        CONFIG,
        windows=WindowConfig(side=32, overlap=0.25),
        point=OperatingPoint(threshold=0.9, minimum_volume_mm3=12.5),
    )
    assert Config.from_json(config.to_json()) == config
