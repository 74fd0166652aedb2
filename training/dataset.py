"""An endless stream of patches, each a function of the seed and its number: any process can draw any part,
and a stopped run goes on exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from app.config import MAPS
from app.errors import InputError
from training.augmentation import degrade_pair, equally_sharp, integer, turn, uniform
from training.cases import pairs_of
from training.config import ChallengeConfig, OwnConfig, SynthesisConfig
from training.synthesis.anatomy import read_source
from training.synthesis.lesions import read_shapes
from training.synthesis.pair import Sample, make_sample
from training.synthesis.visits import make_real_sample, read_visits

MOST_SAMPLES = 10_000_000  # of one seed
MADE = "made"  # in a folder of a laboratory's pairs: one of training.prepare, to make pairs of


@dataclass(frozen=True)
class Batch:
    """Pairs of patches and their truth."""

    scans: Tensor  # (B, 2, D, H, W) float32, as app.method.preprocessing.Pair.channels
    truth: (
        Tensor  # (B, maps, D, H, W) float32 in [0, 1]: new lesions, and what else is known (app.config.MAPS)
    )
    scored: Tensor  # (B, maps, D, H, W) bool, what counts in the loss


class Stream(Protocol):
    """Where patches come from."""

    def sample(self, number: int) -> Sample: ...


class PairStream:
    """Makes pairs from the heads, scans and lesion shapes of a folder that training/prepare.py wrote, and
    paints lesions into the real pairs of some patients.
    """

    def __init__(
        self,
        prepared: Path,
        config: SynthesisConfig,
        seed: int,
        device: torch.device,
        patients: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.seed = seed
        self.rng = torch.Generator(device)
        if not (prepared / "lesions.npz").is_file():
            raise InputError(f"{prepared}: no lesions.npz; wanted a folder that training/prepare.py wrote")
        self.shapes = read_shapes(prepared / "lesions.npz", device)
        kinds = {
            "heads": config.head > 0,
            "scans": config.head < 1,
            "thick": config.head < 1 and config.thick > 0,
        }
        self.heads, self.scans, self.thick = (
            [read_source(path, device) for path in sorted(prepared.glob(f"{kind}/*.npz")) if needed]
            for kind, needed in kinds.items()
        )
        for kind, sources in (("heads", self.heads), ("scans", self.scans)):
            if kinds[kind] and not sources:
                raise InputError(f"{prepared / kind}: no *.npz; wanted what training/prepare.py writes")

        self.visits = [read_visits(path, device) for path in pairs_of(prepared / "pairs", patients)]
        if patients and not self.visits:
            raise InputError(
                f"{prepared / 'pairs'}: no pair of {', '.join(patients)}; wanted one to train on"
            )

    def sample(self, number: int) -> Sample:
        rng = self.rng.manual_seed(sample_seed(self.seed, number))
        if self.visits and uniform(rng, 0, 1) < self.config.real:
            return make_real_sample(
                self.visits[integer(rng, len(self.visits))], self.shapes, self.config, rng
            )
        if uniform(rng, 0, 1) < self.config.head:
            sources = self.heads
        else:
            sources = self.thick if self.thick and uniform(rng, 0, 1) < self.config.thick else self.scans
        return make_sample(sources[integer(rng, len(sources))], self.shapes, self.config, rng)


@dataclass(frozen=True)
class Patient:
    """A real pair with its truth; no side is shorter than a patch."""

    channels: Tensor  # (2, z, y, x) float16: baseline, follow-up
    brain: Tensor  # (z, y, x) bool
    truth: Tensor  # (z, y, x) bool, new at follow-up
    lesions: list[Tensor]  # (n, 3) voxels of each new lesion


class PatientStream:
    """Cuts patches from the pairs of a folder that training/msseg2.py wrote."""

    def __init__(
        self, prepared: Path, names: Sequence[str], config: ChallengeConfig, seed: int, device: torch.device
    ) -> None:
        self.config = config
        self.seed = seed
        self.rng = torch.Generator(device)
        self.patients = [
            read_patient(prepared / "pairs" / f"{name}.npz", config.patch, device) for name in names
        ]
        self.changed = [patient for patient in self.patients if patient.lesions]

    def sample(self, number: int) -> Sample:
        """Draw a patch, lower the scans' quality, then turn and flip both scans and truth alike."""
        rng = self.rng.manual_seed(sample_seed(self.seed, number))
        config = self.config
        if self.changed and uniform(rng, 0, 1) < config.lesion_centred:
            patient = self.changed[integer(rng, len(self.changed))]
            lesion = patient.lesions[integer(rng, len(patient.lesions))]
            centre = lesion[integer(rng, len(lesion))].tolist()
            centre = [at - config.off_centre + integer(rng, 2 * config.off_centre + 1) for at in centre]
        else:
            patient = self.patients[integer(rng, len(self.patients))]
            centre = _brain_voxel(patient.brain, rng)
        starts = [
            min(max(at - config.patch // 2, 0), side - config.patch)
            for at, side in zip(centre, patient.brain.shape, strict=True)
        ]
        block = tuple(slice(start, start + config.patch) for start in starts)
        brain = patient.brain[block]
        scans = degrade_pair(list(patient.channels[:, *block].float()), config.iqda, config.preset, rng)
        if config.match_sharpness:
            scans = equally_sharp(scans, brain)
        channels = torch.stack(scans).clamp(0, 3) * brain  # as the network will see them: 0 outside the brain
        return Sample(*turn([channels, patient.truth[None, *block].float(), brain[None]], rng))


class OwnStream:
    """Patches of a laboratory's patients, of which new lesions alone are known, and made pairs between them
    against forgetting, where the folder holds `MADE`.
    """

    def __init__(
        self, prepared: Path, patients: Sequence[str], config: OwnConfig, seed: int, device: torch.device
    ) -> None:
        names = [path.stem for path in pairs_of(prepared / "pairs", patients)]
        self.own = PatientStream(prepared, names, config, seed, device)
        there = (prepared / MADE).is_dir()
        made = SynthesisConfig(patch=config.patch, match_sharpness=config.match_sharpness)
        self.made = PairStream(prepared / MADE, made, seed, device) if there else None
        self.every = config.every_made

    def sample(self, number: int) -> Sample:
        if self.made is not None and number % self.every == 0:
            return self.made.sample(number)
        own = self.own.sample(number)
        unknown = torch.zeros(len(MAPS) - 1, *own.truth.shape[1:], device=own.truth.device)
        return Sample(own.scans, torch.cat([own.truth, unknown]), torch.cat([own.scored, unknown > 0]))


def open_stream(
    prepared: Path,
    names: Sequence[str],
    patches: SynthesisConfig | ChallengeConfig,
    seed: int,
    device: torch.device,
) -> Stream:
    """Made pairs beside those of the named patients, or these alone, by the recipe of the patches."""
    if isinstance(patches, OwnConfig):
        return OwnStream(prepared, names, patches, seed, device)
    if isinstance(patches, ChallengeConfig):
        return PatientStream(prepared, names, patches, seed, device)
    return PairStream(prepared, patches, seed, device, names)


def stack(samples: Sequence[Sample]) -> Batch:
    return Batch(
        torch.stack([sample.scans for sample in samples]),
        torch.stack([sample.truth for sample in samples]),
        torch.stack([sample.scored for sample in samples]),
    )


def read_patient(path: Path, patch: int, device: torch.device) -> Patient:
    """Read `pairs/*.npz` of training/msseg2.py; sides shorter than a patch are padded with 0."""
    with np.load(path) as arrays:
        channels, brain, truth = (
            arrays["channels"],
            arrays["brain"],
            arrays["truth_forward"] & arrays["brain"],
        )
    padding = [(0, max(patch - side, 0)) for side in brain.shape]
    brain, truth = np.pad(brain, padding), np.pad(truth, padding)
    labels, count = ndimage.label(truth)
    lesions = [torch.from_numpy(np.argwhere(labels == number)).to(device) for number in range(1, count + 1)]
    padded = torch.from_numpy(np.pad(channels, [(0, 0), *padding])).to(device)
    return Patient(padded, torch.from_numpy(brain).to(device), torch.from_numpy(truth).to(device), lesions)


def sample_seed(seed: int, number: int) -> int:
    """The generator's seed for one patch of a run."""
    return seed * MOST_SAMPLES + number


def _brain_voxel(brain: Tensor, rng: torch.Generator) -> list[int]:
    """A random voxel of the brain."""
    while True:
        voxel = [integer(rng, side) for side in brain.shape]
        if brain[tuple(voxel)]:
            return voxel
