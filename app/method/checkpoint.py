"""One file holds a trained network: its weights, the config it was trained with, and where it comes from."""

import hashlib
import json
import math
import pickle
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from ..config import Config
from ..errors import InputError
from .model import UNet3D

# The files of a folder of weights.
LESION_NETWORKS = "lesions*.pt"  # an ensemble, lesions1.pt and so on
BRAIN_NETWORK = "brain.pt"
SUMS = "SHA256SUMS"  # `sha256sum --check` reads it too


@dataclass(frozen=True)
class Checkpoint:
    """A trained network, ready to predict."""

    network: UNet3D  # in eval mode, float32, on the CPU
    config: Config
    provenance: dict[str, str]  # command, commit, date, data
    sha256: str


def lesion_networks(weights: Path) -> list[Path]:
    """The files of the ensemble in a folder of weights, in order."""
    return sorted(weights.glob(LESION_NETWORKS))


def trained_networks(weights: Path) -> list[Path]:
    """The same. Raises InputError if there is none."""
    paths = lesion_networks(weights)
    if not paths:
        raise InputError(f"{weights}: no {LESION_NETWORKS}; wanted a folder with trained weights")
    return paths


def lesion_network(weights: Path, number: int) -> Path:
    """Where the ensemble's network of a number, 1 upwards, belongs."""
    return weights / LESION_NETWORKS.replace("*", str(number))


def save(path: Path, network: UNet3D, config: Config, provenance: dict[str, str]) -> None:
    """Write weights in half precision with config and provenance, aside first, and note the hash in
    SHA256SUMS.
    """
    state = {name: value.detach().to("cpu", torch.float16) for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    torch.save(
        {"weights": state, "config": config.to_json(), "provenance": json.dumps(provenance)}, unfinished
    )
    unfinished.replace(path)
    _note(path, sha256(path))


def copy(path: Path, folder: Path) -> None:
    """Copy a checkpoint to another folder, and note its hash there. Raises InputError if it was altered."""
    digest = verified_sha256(path)
    shutil.copyfile(path, folder / path.name)
    _note(folder / path.name, digest)


def remove(path: Path) -> None:
    """Delete a checkpoint and its line in SHA256SUMS."""
    path.unlink()
    _note(path, None)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises InputError if it is missing, not listed in SHA256SUMS, altered, of another version, or holds
    numbers that no training ends with.
    """
    digest = verified_sha256(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        config = Config.from_json(content["config"])
        network = UNet3D(config.network)
        network.load_state_dict({name: value.float() for name, value in content["weights"].items()})
        provenance = json.loads(content["provenance"])
    except (
        pickle.UnpicklingError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        EOFError,
        OSError,
        OverflowError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: not a checkpoint of this version ({reason}); wanted one made by training/"
        ) from error
    broken = [name for name, value in network.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise InputError(f"{path}: weights that are NaN or infinite, in {broken[0]}; wanted trained weights")
    _check(config, path)
    return Checkpoint(network.eval(), config, provenance, digest)


def _check(config: Config, path: Path) -> None:
    """Raises InputError for settings with which nothing, or everything, would be a lesion."""
    point = config.point
    shares = {"threshold": point.threshold, "certain": point.certain, "possible": point.possible}
    for name, share in shares.items():
        if share is not None and not 0 < share < 1:
            raise InputError(f"{path}: {name} {share:g}; wanted a probability between 0 and 1")
    lengths = {
        "spacing_mm": config.preprocess.spacing_mm,
        "bias_fwhm": config.preprocess.bias_fwhm,
        "side": config.windows.side,
    }
    for name, length in lengths.items():
        if not 0 < length < math.inf:
            raise InputError(f"{path}: {name} {length:g}; wanted a positive number")
    if not 0 <= config.windows.overlap < 1:
        raise InputError(f"{path}: overlap {config.windows.overlap:g}; wanted 0 or more, below 1")
    for name, least in {"minimum_volume_mm3": point.minimum_volume_mm3, "gain": point.gain or 0.0}.items():
        if not 0 <= least < math.inf:
            raise InputError(f"{path}: {name} {least:g}; wanted 0 or more")


def verified_sha256(path: Path) -> str:
    """The SHA-256 of a weights file, after comparing it with SHA256SUMS. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; wanted trained weights")
    sums = path.parent / SUMS
    if not sums.is_file():
        raise InputError(f"{sums}: no such file; wanted the hashes of the weights beside them")
    wanted = _read_sums(sums).get(path.name)
    found = sha256(path)
    if found != wanted:
        raise InputError(
            f"{path}: its SHA-256 is {found}; wanted {wanted or 'a line for it'} as in {sums.name}"
        )
    return found


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note(path: Path, digest: str | None) -> None:
    """Set a file's line in SHA256SUMS, or drop it."""
    sums = path.parent / SUMS
    hashes = _read_sums(sums) if sums.is_file() else {}
    hashes.pop(path.name, None)
    if digest is not None:
        hashes[path.name] = digest
    sums.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items())))


def _read_sums(path: Path) -> dict[str, str]:
    """{file name: hash} of a SHA256SUMS file. Raises InputError for a line that is none of sha256sum's."""
    hashes = {}
    for line in path.read_text(errors="replace").splitlines():
        digest, _, name = line.partition(" ")
        if not re.fullmatch(r"[0-9a-f]{64}", digest) or not name[1:]:
            raise InputError(
                f"{path}: a line {line[:80]!r}; wanted a SHA-256 and a file's name, as of sha256sum"
            )
        hashes[name[1:]] = digest  # after a blank, or a star for a binary file
    return hashes
