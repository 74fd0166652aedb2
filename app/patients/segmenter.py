"""One patient, from files to files: read, segment, write, note down."""

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import SimpleITK as sitk

from .. import machine, pipeline
from ..errors import InputError
from ..images import headers, storage
from ..pipeline import USUAL, Networks, Result, Steps
from ..results import record
from ..results.outputs import Outputs
from ..results.record import Record, Task
from ..warned import warned

if TYPE_CHECKING:  # DICOM's packages are optional
    from ..images.dicom import Series

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segmenter:
    """The trained networks, the machine they run on and the steps before them, for any number of patients."""

    networks: Networks
    weights: dict[str, str]  # file name: SHA-256
    threads: int
    steps: Steps

    @staticmethod
    def load(weights: Path, device: str, threads: int | None, steps: Steps = USUAL) -> "Segmenter":
        """From a folder of weights; device is auto, cpu or cuda, threads None for all this process may use. Raises InputError."""
        used = machine.use_threads(threads)
        networks = Networks.load(weights, machine.choose_device(device))
        return Segmenter(networks, record.weights_sha256(weights), used, steps)

    def task(
        self, baseline: "Path | Series", followup: "Path | Series", brain_mask: Path | None = None
    ) -> Task:
        """What decides the result for these files. Raises InputError if one cannot be read."""
        inputs = {"baseline": locate(baseline), "followup": locate(followup)} | (
            {"brain_mask": brain_mask} if brain_mask else {}
        )
        settings = {**dataclasses.asdict(self.steps), **dataclasses.asdict(self.networks.predictor.config)}
        return record.task(inputs, self.weights, settings)

    def segment(
        self,
        baseline: "Path | Series",
        followup: "Path | Series",
        outputs: Outputs,
        brain_mask: Path | None = None,
    ) -> Result:
        """Find the new lesions and write what `outputs` wants; the record is written last, so that it marks a whole set. Raises InputError."""
        started = time.perf_counter()
        baseline, followup = locate(baseline), locate(followup)
        outputs.check_source(followup)
        with warned({str(_place(baseline)): "baseline", str(_place(followup)): "follow-up"}) as warnings:
            scans = read_scans(baseline, followup)
            mask = storage.read_brain(brain_mask, scans[1]) if brain_mask else None
            was_read = time.perf_counter()
            result = pipeline.segment(*scans, self.networks, mask, self.steps)
        result = dataclasses.replace(result, warnings=tuple(warnings))  # those of reading, too
        was_segmented = time.perf_counter()
        outputs.write(result, followup)
        seconds = {"read": was_read - started, **result.seconds, "write": time.perf_counter() - was_segmented}
        if outputs.record is not None:
            done = Record(
                task=self.task(baseline, followup, brain_mask),
                versions=record.versions(),
                device=self.networks.predictor.device.type,
                threads=self.threads,
                seconds={step: round(spent, 3) for step, spent in seconds.items()},
                warnings=list(result.warnings),
                new_lesions=len(result.lesions),
                volume_ml=round(result.volume_ml, 3),
            )
            record.write(done, outputs.record)
        return result


def locate(scan: "Path | Series", number: str | None = None) -> "Path | Series":
    """The series of a `number` in a DICOM folder, or the one that is the FLAIR; an image as it is. Raises InputError."""
    if not isinstance(scan, Path) or not headers.is_dicom(scan):
        if number is not None:
            raise InputError(f"{scan}: not DICOM, but a series is named; wanted a DICOM folder")
        return scan
    from ..images import dicom

    return dicom.find(scan, number)


def read_scans(baseline: "Path | Series", followup: "Path | Series") -> tuple[sitk.Image, sitk.Image]:
    """Both scans as float32. Warns of what looks like a mix-up."""
    if isinstance(baseline, Path) and isinstance(followup, Path):
        scans = storage.read(baseline), storage.read(followup)
        if baseline.samefile(followup):
            logger.warning("%s: given as baseline and as follow-up; nothing can be new", followup)
        return scans
    if not isinstance(baseline, Path) and not isinstance(followup, Path):
        from ..images import dicom

        dicom.warn_of_mix_up(baseline, followup)
    return _read(baseline), _read(followup)


def _read(scan: "Path | Series") -> sitk.Image:
    return storage.read(scan) if isinstance(scan, Path) else scan.read()


def _place(scan: "Path | Series") -> Path:
    return scan if isinstance(scan, Path) else scan.folder
