"""metadata.json beside the weights: MONAI's keys, and what the checkpoints say."""

import json

import torch

from app.method import checkpoint
from tests.conftest import REPOSITORY
from training import metadata

WEIGHTS = REPOSITORY / "weights"
# docs.monai.io, mb_specification: those of the file, and of each tensor
MANDATORY = {
    *("version", "monai_version", "pytorch_version", "numpy_version", "optional_packages_version", "task"),
    *("description", "authors", "copyright", "network_data_format"),
}
OF_A_TENSOR = {
    *("type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range"),
    *("is_patch_data", "channel_def"),
}


def test_the_file_says_what_the_weights_are() -> None:
    """Made anew by `python -m training.metadata --weights weights`."""
    assert json.loads((WEIGHTS / metadata.FILE).read_text()) == metadata.metadata(WEIGHTS)


def test_it_has_what_a_monai_bundle_must_say() -> None:
    content = metadata.metadata(WEIGHTS)
    assert content.keys() >= MANDATORY
    for tensors in content["network_data_format"].values():
        for tensor in tensors.values():
            assert tensor.keys() >= OF_A_TENSOR
            assert len(tensor["channel_def"]) == tensor["num_channels"]


def test_the_network_takes_and_gives_the_tensors_that_it_says() -> None:
    network = checkpoint.load(checkpoint.lesion_networks(WEIGHTS)[0]).network
    tensors = metadata.metadata(WEIGHTS)["network_data_format"]
    given, wanted = tensors["inputs"]["image"], tensors["outputs"]["pred"]
    with torch.inference_mode():
        output = network(torch.zeros(1, given["num_channels"], *given["spatial_shape"]))
    assert output.shape == (1, wanted["num_channels"], *wanted["spatial_shape"])


def test_every_file_of_weights_is_in_it_with_its_hash() -> None:
    files = metadata.metadata(WEIGHTS)["files"]
    sums = (WEIGHTS / checkpoint.SUMS).read_text().split()
    assert {name: one["sha256"] for name, one in files.items()} == dict(
        zip(sums[1::2], sums[::2], strict=True)
    )
