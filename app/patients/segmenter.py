"""One patient, from files to files: read, segment, write, record."""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from .. import __version__, machine, pipeline
from ..errors import InputError, warned
from ..files import check_apart, writing_set
from ..images import storage
from ..images.scan import Scan, file_sha256
from ..method import anima, verdict
from ..pipeline import USUAL, Clock, Networks, Result, Steps
from ..results import record
from ..results.outputs import Outputs
from ..results.record import Record, Task
from ..results.text import NOBODY, Heading

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segmenter:
    """The trained networks, the machine they run on and the steps before them, for any number of patients."""

    networks: Networks
    weights: dict[str, str]  # file name: SHA-256
    threads: int
    steps: Steps
    anima: Mapping[str, str] | None = None  # likewise of Anima's files; None: not used

    @staticmethod
    def load(weights: Path, device: str, threads: int | None, steps: Steps = USUAL) -> "Segmenter":
        """From a folder of weights. Raises InputError.

        `device` is auto, cpu, cuda or mps; `threads` None takes all that this process may use.
        """
        used = machine.use_threads(threads)
        networks = Networks.load(weights, machine.choose_device(device))
        programs = anima.sha256(anima.find()) if steps.preprocessing == "anima" else None
        return Segmenter(networks, record.weights_sha256(weights), used, steps, programs)

    def task(
        self,
        baseline: Scan,
        followup: Scan,
        brain_mask: Path | None = None,
        baseline_lesions: Path | None = None,
    ) -> Task:
        """What decides the result for these files. Raises InputError if one cannot be read."""
        masks = {"brain_mask": brain_mask, "baseline_lesions": baseline_lesions}
        inputs = {"baseline": baseline.sha256(), "followup": followup.sha256()} | {
            name: file_sha256(path) for name, path in masks.items() if path is not None
        }
        settings = {**dataclasses.asdict(self.steps), **self.networks.predictor.config.plain()}
        if self.anima is not None:
            settings["anima"] = dict(self.anima)
        return Task(__version__, self.weights, settings, inputs)

    def segment_files(
        self,
        baseline: Scan,
        followup: Scan,
        outputs: Outputs,
        brain_mask: Path | None = None,
        baseline_lesions: Path | None = None,
        heading: Heading = NOBODY,
        doubt: str = "",
        aside: Path | None = None,
    ) -> Result:
        """Find the new lesions and write what `outputs` wants, all or nothing.

        The record is written last, so that it marks a whole set. A `doubt` of these files is a warning. What
        is not whole yet lies in the folder `aside`, by default beside its place. Raises InputError, also for
        a file that changes while it is read.
        """
        masks = [path for path in (brain_mask, baseline_lesions) if path is not None]
        check_apart(outputs.wanted().values(), [*baseline.files, *followup.files, *masks])
        outputs.check_source(followup)
        clock = Clock()
        task = self.task(baseline, followup, brain_mask, baseline_lesions)
        with warned({str(baseline.path): "baseline", str(followup.path): "follow-up"}) as warnings:
            if doubt:
                logger.warning(doubt)
            scans = read_scans(baseline, followup)
            mask = storage.read_brain(brain_mask, scans[1]) if brain_mask else None
            drawn = storage.read_mask(baseline_lesions, grid_of=scans[0]) if baseline_lesions else None
            if self.task(baseline, followup, brain_mask, baseline_lesions) != task:
                raise InputError("a scan was replaced while it was read; wanted files that nobody changes")
            clock.lap("read")
            result = pipeline.segment(*scans, self.networks, mask, self.steps, drawn)
        protocol = [
            verdict.acquired_in_slices(name)
            for name, scan in (("baseline", baseline), ("follow-up", followup))
            if scan.series is not None and scan.series.in_slices
        ]
        result = dataclasses.replace(
            result,
            warnings=tuple(warnings),  # those of reading, too
            verdict=verdict.with_reasons(result.verdict, protocol),
        )
        clock.lap("segment")
        with writing_set(outputs.wanted(), aside) as unfinished:
            whole = Outputs(**unfinished)
            whole.write_results(result, baseline, followup, heading)
            clock.lap("write")
            if whole.record is not None:
                steps = {"read": clock.seconds["read"], **result.seconds, "write": clock.seconds["write"]}
                record.write_record(self._record(task, result, steps), whole.record)
        return result

    def _record(self, task: Task, result: Result, seconds: dict[str, float]) -> Record:
        """What was done, for run.json."""
        return Record(
            task=task,
            versions=record.versions(),
            device=self.networks.predictor.device.type,
            threads=self.threads,
            seconds={step: round(spent, 3) for step, spent in seconds.items()},
            warnings=list(result.warnings),
            alignment=record.alignment_of(result.aligned),
            comparison=record.comparison(result.verdict),
            self_grade=record.self_grade(result.grade),
            lesions=record.counts(result.findings),
            volume_ml=round(result.volume_ml, 3),
        )


def read_scans(baseline: Scan, followup: Scan) -> tuple[sitk.Image, sitk.Image]:
    """Both scans as float32. Warns of what looks like a mix-up."""
    if baseline.series is not None and followup.series is not None:
        from ..images import dicom

        dicom.warn_of_mix_up(baseline.series, followup.series)
    scans = baseline.read(), followup.read()
    if baseline.series is None and followup.series is None and baseline.path.samefile(followup.path):
        logger.warning("%s: given as baseline and as follow-up; nothing can be new", followup.path)
    return scans
