import pytest
import torch

from app.config import NetworkConfig
from app.method.model import UNet3D


def test_the_paper_s_network_has_its_parameters() -> None:
    """A convolution from i to o channels has 27 i o + o parameters, the GroupNorm before it 2 i; the first
    and the last have none.
    """
    convolutions = [
        (2, 24),
        (24, 48),
        (48, 48),
        (48, 96),
        (96, 96),
        (96, 192),
        (192, 384),
        (576, 192),
        (288, 96),
        (144, 96),
        (96, 2),
    ]
    by_hand = sum(27 * i * o + o for i, o in convolutions) + sum(2 * i for i, _ in convolutions[1:-1])
    network = UNet3D(NetworkConfig())
    assert by_hand == 7_071_386
    assert sum(parameter.numel() for parameter in network.parameters()) == by_hand
    assert [tuple(p.shape[:2])[::-1] for p in network.parameters() if p.dim() == 5] == convolutions


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_output_has_the_input_s_sides(levels: int) -> None:
    network = UNet3D(NetworkConfig(features=8, levels=levels)).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 2, 8, 16, 24)).shape == (2, 2, 8, 16, 24)


def test_odd_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        UNet3D(NetworkConfig(features=8))(torch.zeros(1, 2, 8, 8, 12))


def test_dropout_follows_each_pooling_in_training_alone() -> None:
    torch.manual_seed(0)
    network = UNet3D(NetworkConfig(features=8))
    scans = torch.randn(1, 2, 16, 16, 16)
    assert not torch.equal(network(scans), network(scans))
    network.eval()
    torch.testing.assert_close(network(scans), network(scans))
