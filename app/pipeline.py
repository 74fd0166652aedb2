"""The whole method: two FLAIR scans in, the new lesions out."""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk
import torch

from . import assessment
from .arrays import Labels, Mask
from .config import PreprocessConfig
from .errors import InputError, warned
from .images import grids
from .method import (
    anima,
    change,
    checkpoint,
    detection,
    findings,
    preprocessing,
    quality,
    registration,
    verdict,
)
from .method.brain import BrainExtractor
from .method.findings import Findings
from .method.grade import SelfGrade
from .method.lesions import Lesion
from .method.place import Anatomy
from .method.predictor import Predictor
from .method.preprocessing import Pair
from .method.quality import ScanQuality
from .method.registration import Aligned, Register
from .method.verdict import Verdict

# How the scans come to the network: by our own steps, by Anima's programs, or as they are, without skull and
# bias.
Chain = Literal["native", "anima", "none"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What was found, on the follow-up's own grid, and what it was found in."""

    mask: sitk.Image  # uint8, 1 where a lesion is new
    probability: sitk.Image  # float32 in [0, 1]
    changes: sitk.Image  # uint8, 1 + the place in change.KINDS of what became of a lesion
    findings: Findings  # every lesion; its arrays lie on the same grid
    shown: Labels  # the lesions' numbers in middle space, (z, y, x)
    verdict: Verdict
    grade: SelfGrade | None  # None: not tried
    aligned: Aligned
    pair: Pair  # what the network saw, in middle space
    quality: tuple[ScanQuality, ScanQuality]  # of baseline and follow-up, as they came
    # wall-clock of the steps that were taken, in order: brain, align, bias (or anima), predict, swap,
    # quality, lesions, grade
    seconds: dict[str, float]
    warnings: tuple[str, ...]  # each says what is odd and what to do

    @property
    def lesions(self) -> list[Lesion]:
        """The new ones, largest first."""
        return self.findings.new

    @property
    def volume_ml(self) -> float:
        """Of all new lesions together."""
        return sum(lesion.volume_mm3 for lesion in self.lesions) / 1000

    def numbers(self) -> sitk.Image:
        """uint16 on the follow-up's grid: the number of each lesion."""
        return grids.like(self.findings.numbers.astype(np.uint16), self.mask)

    def visits(self) -> sitk.Image:
        """uint8 on the follow-up's grid: 1 where a lesion is at baseline, 2 at follow-up, 3 at both."""
        before, after = self.findings.at
        return grids.like(before.astype(np.uint8) + 2 * after.astype(np.uint8), self.mask)

    def in_words(self) -> str:
        """'2 new lesions, 0.07 ml'."""
        count = len(self.lesions)
        return f"{count} new lesion{'' if count == 1 else 's'}, {self.volume_ml:.2f} ml"


@dataclass(frozen=True)
class Steps:
    """What to do where the user decides and not the weights."""

    preprocessing: Chain = "native"
    register: Register = "auto"  # see registration.align
    fast: bool = False  # find new lesions alone: no vanished ones, no self-grade


USUAL = Steps()


@dataclass(frozen=True)
class Networks:
    """The trained parts, loaded once for any number of patients."""

    predictor: Predictor
    brain: BrainExtractor

    @staticmethod
    def load(weights: Path, device: torch.device) -> "Networks":
        """From a folder of weights. Raises InputError if one is missing or damaged."""
        extractor = BrainExtractor.from_file(weights / checkpoint.BRAIN_NETWORK, device)
        return Networks(Predictor.from_folder(weights, device), extractor)


def segment(
    baseline: sitk.Image,
    followup: sitk.Image,
    networks: Networks,
    brain_mask: sitk.Image | None = None,
    steps: Steps = USUAL,
    baseline_lesions: sitk.Image | None = None,
) -> Result:
    """Find the lesions of `followup` that `baseline` does not show, and what is to be said besides.

    A `brain_mask` on the follow-up's grid is used instead of ours. What lies in `baseline_lesions`, drawn on
    the baseline's grid, is old. Raises InputError for scans that cannot be used together.
    """
    predictor, config = networks.predictor, networks.predictor.config
    clock = Clock()
    with warned() as warnings:
        aligned, pair = prepare(
            baseline, followup, networks.brain, config.preprocess, brain_mask, steps, clock
        )
        channels = pair.channels()
        maps = predictor.maps(channels, pair.brain)
        new = detection.without_known(maps.new, channels, config.point, config.preprocess.spacing_mm)
        clock.lap("predict")
        gone = None if steps.fast else assessment.vanished(maps, pair, predictor)
        clock.lap("swap")

        aligned = assessment.without_changes(aligned, pair, new, gone, config.point)
        scans = quality.judge_pair(baseline, followup, aligned, pair)
        judged = verdict.judge(scans, aligned.residual, pair)
        clock.lap("quality")

        drawn = None if baseline_lesions is None else _on_followup(baseline_lesions, followup, aligned)
        marks = assessment.marks(maps, new, gone, pair, followup, aligned, config.point, judged, drawn)
        surface_mm = change.margin_mm(scan.slice_mm for scan in scans)
        anatomy = Anatomy(pair, grids.moved_grid(pair.grid, aligned.to_followup))
        found = findings.find(marks, followup, surface_mm, anatomy)
        numbers = grids.labels_on(grids.like(found.numbers, followup), pair.grid, aligned.to_followup)
        shown: Labels = sitk.GetArrayFromImage(numbers)
        found = assessment.looked_at(found, shown, pair, baseline, followup, aligned)
        clock.lap("lesions")

        graded = None
        if not steps.fast:
            graded = assessment.graded(pair, shown, followup, aligned, scans[1], predictor)
        clock.lap("grade")
    return Result(
        mask=grids.like(marks.new, followup),
        probability=grids.like(marks.probability, followup),
        changes=grids.like(found.classes, followup),
        findings=found,
        shown=shown,
        verdict=judged,
        grade=graded,
        aligned=aligned,
        pair=pair,
        quality=scans,
        seconds=clock.seconds,
        warnings=tuple(warnings),
    )


def prepare(
    baseline: sitk.Image,
    followup: sitk.Image,
    extractor: BrainExtractor,
    config: PreprocessConfig,
    brain_mask: sitk.Image | None = None,
    steps: Steps = USUAL,
    clock: "Clock | None" = None,
) -> tuple[Aligned, Pair]:
    """The part of `segment` before the network: the alignment, and both scans as the network sees them."""
    clock = clock or Clock()
    if steps.preprocessing == "native":
        aligned, pair = _native(baseline, followup, extractor, config, brain_mask, steps, clock)
    elif brain_mask is not None:
        raise InputError(
            f"a brain mask with preprocessing {steps.preprocessing}: it finds its own brain; wanted "
            "one of the two"
        )
    elif steps.preprocessing == "anima":
        aligned, pair = _by_anima(baseline, followup, config, steps, clock)
    else:
        aligned, pair = _as_they_are(baseline, followup, config, steps, clock)
    return aligned, preprocessing.equally_sharp(pair) if config.match_sharpness else pair


def _native(
    baseline: sitk.Image,
    followup: sitk.Image,
    extractor: BrainExtractor,
    config: PreprocessConfig,
    brain_mask: sitk.Image | None,
    steps: Steps,
    clock: "Clock",
) -> tuple[Aligned, Pair]:
    """Our own steps: brains, which guide the alignment; then bias field and intensities."""
    brains = extractor(baseline), extractor(followup) if brain_mask is None else brain_mask
    clock.lap("brain")
    aligned = registration.align(baseline, followup, brains, steps.register)
    scans = preprocessing.to_working_grid(baseline, followup, aligned, config)
    brain = grids.mask_on(brains[1], scans[1], aligned.to_followup)
    one_sided = None
    if brain_mask is None:
        other = grids.mask_on(brains[0], scans[0], aligned.to_baseline)
        brain, one_sided = brain | other, brain ^ other
    clock.lap("align")
    pair = replace(preprocessing.correct(*scans, brain, config), one_sided=one_sided)
    clock.lap("bias")
    return aligned, pair


def _by_anima(
    baseline: sitk.Image, followup: sitk.Image, config: PreprocessConfig, steps: Steps, clock: "Clock"
) -> tuple[Aligned, Pair]:
    """The organisers' chain, which finds brains and bias fields by Anima's programs."""
    installed = anima.find()
    aligned = registration.align(baseline, followup, register=steps.register)
    scans = preprocessing.to_working_grid(baseline, followup, aligned, config)
    clock.lap("align")
    corrected = anima.preprocess(*scans, installed)
    brain, shared = preprocessing.in_both_views(scans, grids.array(corrected.brain) > 0)
    pair = replace(preprocessing.scale(corrected.baseline, corrected.followup, brain), shared=shared)
    clock.lap("anima")
    return aligned, pair


def _as_they_are(
    baseline: sitk.Image, followup: sitk.Image, config: PreprocessConfig, steps: Steps, clock: "Clock"
) -> tuple[Aligned, Pair]:
    """Scans that were stripped and corrected before: what is not 0 is brain."""
    aligned = registration.align(baseline, followup, register=steps.register)
    scans = preprocessing.to_working_grid(baseline, followup, aligned, config)
    pair = preprocessing.scale(*scans, preprocessing.nonzero_brain(*scans))
    clock.lap("align")
    return aligned, pair


def _on_followup(drawn: sitk.Image, followup: sitk.Image, aligned: Aligned) -> Mask:
    """A mask of the baseline's grid on the follow-up's, (z, y, x)."""
    return grids.mask_on(drawn, followup, aligned.followup_to_baseline())


class Clock:
    """Wall-clock seconds of consecutive steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step] = now - self._last
        logger.info("%s: %.1f s", step, self.seconds[step], extra={"step": step})
        self._last = now
