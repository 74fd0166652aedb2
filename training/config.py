"""Every setting of the training: the generator's ranges and the loop's numbers.

One z is one spread, 1.4826 MAD of the brain.
"""

import itertools
import math
from dataclasses import dataclass, field

from app.config import OperatingPoint

Range = tuple[float, float]

# Share of a new lesion's signal that the follow-up must have gained: painted lesions gain more, false ones of
# pairs that differ in quality alone less (training/LOG.md). Not for validation to choose: the open pairs'
# truth marks parts of old lesions that look brighter.
GAIN = 0.5

# Operating points among which validation finds the best: see app.config.OperatingPoint. Thresholds above
# these cut holes into large lesions.
OPERATING_POINTS = tuple(
    OperatingPoint(threshold=threshold, certain=certain, minimum_volume_mm3=volume_mm3, gain=GAIN)
    for threshold, certain, volume_mm3 in itertools.product(
        (0.5, 0.6, 0.7, 0.8), (0.9, 0.95, 0.98, 0.99, 0.995), (3.0, 10.0, 20.0, 30.0, 40.0)
    )
)

# A few of them, to look at while a network learns.
TRAINING_POINTS = tuple(
    OperatingPoint(threshold=0.5, certain=certain, minimum_volume_mm3=3.0, gain=GAIN)
    for certain in (0.8, 0.9, 0.95, 0.98)
)


@dataclass(frozen=True)
class IqdaConfig:
    """How often and how strongly IQDA blurs, enhances edges and averages slices."""

    preset: str = "paper"
    blur: float = 0.2  # probabilities; the paper does not state them, the authors' later code has 0.3 of each
    sharpen: float = 0.2
    average_slices: float = 0.2
    sigma: Range = (0.5, 1.75)  # voxels
    sigma_per_axis: bool = False
    amount: Range = (1.0, 1.0)  # of the unsharp mask; the paper inverts its blur
    counts: tuple[int, ...] = (2, 3, 4)  # slices averaged


PAPER = IqdaConfig()
V2 = IqdaConfig(
    preset="v2",
    blur=0.3,
    sharpen=0.3,
    average_slices=0.3,
    sigma=(0.25, 1.0),
    sigma_per_axis=True,
    amount=(1.0, 5.0),
    counts=(1, 2, 3, 4, 5),
)
# The paper's, with stronger edges and thicker slices, as scanners' filters and clinics have them.
WIDE = IqdaConfig(preset="wide", amount=(0.5, 3.0), counts=(2, 3, 4, 5, 6))
PRESETS = {config.preset: config for config in (PAPER, V2, WIDE)}


@dataclass(frozen=True)
class LesionConfig:
    """Lesions of one patch."""

    old: tuple[float, ...] = (0.0, 2.0, 5.0)  # one mean is drawn, then a Poisson number
    new: tuple[float, ...] = (1.5, 3.0, 5.0)
    resolving: float = 1.5  # Poisson mean; as often as new ones would be too many for what is judged most
    enlarging: float = 1.2  # most real new lesions grow beside old ones
    shrinking: float = 0.4
    lesion_free: float = 0.3  # of the patches have no change at all
    erased: float = 0.5  # chance that a real lesion of a patch is erased at one or both time points
    erased_mm3: int = 1500  # larger ones, confluent round the ventricles, do not appear between two visits
    contrast: Range = (1.5, 6.0)  # z, lognormal about `contrast_median`
    contrast_median: float = 2.6
    contrast_change: float = 0.12  # standard deviation of the logarithm, of old lesions from visit to visit
    edge_mm: Range = (0.5, 0.9)
    visible_z: float = 0.5  # a voxel is labelled where the clean change exceeds this,
    shown_z: float = 0.25  # and where within two voxels the acquired change, smoothed by 1 mm, exceeds this
    shown_noises: float = 2.2  # and so many standard deviations of the change elsewhere


@dataclass(frozen=True)
class AcquisitionConfig:
    """What sets two visits apart.

    The ranges are such that their differences in unchanged brain are those of real pairs
    (benchmarks.differences).
    """

    same: float = 0.5  # chance that both visits were to one scanner
    near: float = 0.3  # or to scanners that are half as unlike as two drawn alone
    rotation_deg: float = 0.5  # leftover misalignment, standard deviations
    shift_mm: float = 0.35
    elastic_mm: Range = (0.1, 0.7)  # standard deviation; scanners bend a head differently, at its base most
    tone: float = 1.0  # times the deviations of the tone curve (TONE_BUMPS)
    bias: float = 0.08  # standard deviation of the log field
    blur_mm: float = 0.5  # upper bound
    thick: float = 0.7  # chance of thick slices
    thickness_mm: Range = (2.0, 4.0)
    noise_z: Range = (0.1, 0.5)
    log_gamma: float = 0.3  # upper bound
    leftover: float = (
        0.05  # standard deviation of scale (factor) and offset (z) that the preprocessing leaves,
    )
    leftover_far: float = 0.12  # and between unlike scanners


@dataclass(frozen=True)
class DistractorConfig:
    """What changes between two visits without being a lesion; chances a time point."""

    regional: float = 0.25  # smooth shift, standard deviation `regional_z`, radius in mm
    regional_z: float = 0.5
    radius_mm: Range = (8.0, 22.0)
    noise: float = 0.2  # more noise in a region: far from the coil, by motion, at the skull's base
    noise_z: Range = (0.3, 1.2)  # its standard deviation there
    noise_mm: Range = (0.4, 1.0)  # blur of that noise
    gyral: float = 0.25  # brighter cortex in a region
    rim: float = 0.35  # bright surface of the brain
    edge: float = 0.35  # bright blobs at the surface: vessels, dura and fat that the brain mask lets in
    flow: float = 0.35  # bright blobs in CSF
    vessel: float = 0.25  # thin bright lines near the surface and the base
    ventricle: float = 0.35  # bright lining of the ventricles
    plexus: float = 0.25  # bright blobs inside the ventricles: choroid plexus, and what pulsates there
    flare: float = (
        0.4  # faint soft blobs near the surface, where lesions are rare: what susceptibility and flow leave
    )


# Real visits bring their own distractors, but those of three patients are few: more of what false marks lie
# on, flow at the skull's base and what pulsates in the ventricles (training/LOG.md).
IN_REAL_PAIRS = DistractorConfig(
    regional=0, noise=0.15, gyral=0, rim=0, edge=0.1, flow=0.35, vessel=0.1, ventricle=0, plexus=0.15, flare=0
)


@dataclass(frozen=True)
class SynthesisConfig:
    """One pair of patches from a head or a scan."""

    # voxels a side; 64^3 cost 2.4 times as much, and two CPU cores were all there was (training/LOG.md)
    patch: int = 48
    margin: int = 4  # voxels computed around the patch, cut off at the end
    # share of label-map heads (0: what they add is within noise, docs/method.md, 8); the rest are real scans,
    head: float = 0.0
    thick: float = 0.2  # so many of these with slices of 6 to 8 mm
    real: float = 0.5  # share of patches from real pairs, in a fold, which has some to train on
    low: float = 0.4  # share of patches centred in the lowest third of the brain, where false lesions gather
    iqda: str = "each"  # "none", "shared" by both time points, or for "each" alone
    preset: str = "wide"
    match_sharpness: bool = True  # see app.method.sharpness
    lesions: LesionConfig = field(default_factory=LesionConfig)
    acquisition: AcquisitionConfig = field(default_factory=AcquisitionConfig)
    distractors: DistractorConfig = field(default_factory=DistractorConfig)
    in_real_pairs: DistractorConfig = IN_REAL_PAIRS


@dataclass(frozen=True)
class ChallengeConfig:
    """One pair of patches from a patient of the MSSEG-2 challenge.

    The paper states the patch and IQDA's preset; the rest is chosen here, after its authors' related code.
    """

    patch: int = 64  # voxels a side
    # share of patches about a new lesion; the rest lie anywhere in the brain, most of them without one
    lesion_centred: float = 0.5
    off_centre: int = 16  # voxels between the lesion and the middle of the patch along each axis, at most
    iqda: str = "shared"  # both scans alike, as the authors' later code
    preset: str = "paper"
    match_sharpness: bool = False  # see app.method.sharpness


@dataclass(frozen=True)
class OwnConfig(ChallengeConfig):
    """Patches of a laboratory's own pairs, which have the challenge's truth, and made pairs between them."""

    patch: int = 48  # that of the weights it begins with
    off_centre: int = 12
    every_made: int = 2  # every second patch is a made one, where there is something to make it of


@dataclass(frozen=True)
class TrainConfig:
    """The loop. The defaults are the recipe for open data."""

    seed: int = 1
    # of the network; the paper has 24, and 16 found no more on open data for three times the time
    # (training/LOG.md)
    features: int = 8
    batch: int = 2
    steps: int = 7500
    learning_rate: float = 1e-3  # docs/method.md, 8: three times faster at the start than the paper's 1e-4
    warmup_steps: int = 30
    decay: float = 0.4  # share of the steps, the last ones, over which the learning rate falls
    final_rate: float = 0.02  # of the learning rate, reached by a cosine
    weight_decay: float = 1e-4
    largest_gradient: float = 5.0  # norm; larger ones are scaled down
    dropout: float = 0.1
    loss: str = "maps"  # or "dice", the paper's, or "dice_ce": these two know new lesions alone
    precision: str = "bfloat16"  # of the convolutions, or "float32": slower, but a run repeats bit for bit
    ema: float = 0.998  # of the weights, a step; the average is validated and kept
    validate_steps: int = 1500
    patience: float = math.inf  # validations without gain after which a run ends
    operating_points: tuple[OperatingPoint, ...] = TRAINING_POINTS
    validation_overlap: float = 0.1  # of windows; the shipped 0.5 costs five times as much
    checkpoint_minutes: float = 3.0
    patches: SynthesisConfig | ChallengeConfig = field(default_factory=SynthesisConfig)


# From published weights, on the pairs of one laboratory. Rate and average: a tenth of the recipe's, over a
# tenth of its steps.
OWN_RECIPE = TrainConfig(
    steps=2000,
    learning_rate=1e-4,
    ema=0.99,
    validate_steps=200,
    patience=4,
    patches=OwnConfig(),
)

# The paper's: Adam (AdamW without decay) at 1e-4, Dice, dropout, 24 features. Batch and patience are those of
# its authors' related code. Unpublished and chosen: an epoch of 250 steps, the running average of about the
# last two of them in place of an average of snapshots, argmax without a minimum volume (docs/method.md, 4).
PAPER_RECIPE = TrainConfig(
    features=24,
    batch=4,
    steps=75_000,
    learning_rate=1e-4,
    warmup_steps=1,
    decay=0.0,
    final_rate=1.0,
    weight_decay=0.0,
    largest_gradient=math.inf,
    dropout=0.5,
    loss="dice",
    ema=0.998,
    validate_steps=250,
    patience=30,
    operating_points=(OperatingPoint(threshold=0.5, certain=0.5, minimum_volume_mm3=3.0),),
    patches=ChallengeConfig(),
)
