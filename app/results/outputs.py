"""What is written for one patient: the mask always, the rest when asked for."""

import dataclasses
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..files import write_bytes, writing, writing_set
from ..images import grids, headers, storage
from ..images.scan import Scan
from ..method.preprocessing import Pair
from ..method.registration import Aligned
from ..pipeline import Result
from . import meaning, picture, report, tables, text
from .text import NOBODY, Heading

LONGEST_NAME = 255  # bytes that a file system takes
# How a name must end that could be taken for one of another kind. A text's may end as the site's template.
ENDINGS = {"report": ".html", "pdf": ".pdf", "sr": ".dcm", "key_image": ".dcm", "record": ".json"}


@dataclass(frozen=True)
class Outputs:
    """Where a patient's results go; None: not wanted."""

    mask: Path
    probability: Path | None = None
    lesions_csv: Path | None = None
    lesions_json: Path | None = None
    changes: Path | None = None  # labels: what became of every lesion
    report: Path | None = None
    text: Path | None = None
    thumbnails: Path | None = None  # new lesions at follow-up, for the page of a cohort
    pdf: Path | None = None
    sr: Path | None = None  # DICOM structured report
    key_image: Path | None = None  # DICOM secondary capture
    numbers: Path | None = None  # labels: each lesion's number; for who follows it to another visit
    visits: Path | None = None  # labels: at which visits a lesion is
    mask_sidecar: Path | None = None  # of BIDS: what each image means, and of which scans it is
    probability_sidecar: Path | None = None
    changes_sidecar: Path | None = None
    record: Path | None = None  # versions, settings, hashes, seconds: see record.py

    @staticmethod
    def in_folder(folder: Path, followed: bool = False) -> "Outputs":
        """All of them, under their usual names.

        If lesions are `followed` to other visits, what that needs, too.
        """
        return Outputs(
            mask=folder / "new_lesions.nii.gz",
            probability=folder / "probability.nii.gz",
            lesions_csv=folder / "lesions.csv",
            lesions_json=folder / "lesions.json",
            changes=folder / "changes.nii.gz",
            report=folder / "report.html",
            text=folder / "report.txt",
            thumbnails=folder / "thumbnails.png",
            numbers=folder / "numbers.nii.gz" if followed else None,
            visits=folder / "visits.nii.gz" if followed else None,
            record=folder / "run.json",
        )

    @staticmethod
    def named(mask: Path, lesions: Path | None = None, **others: Path | None) -> "Outputs":
        """Those that a user names.

        The suffix of `lesions`, .csv or .json, tells the kind of table. Raises InputError for another.
        """
        kinds = {".csv": "lesions_csv", ".json": "lesions_json"}
        if lesions is None:
            return Outputs(mask, **others)
        if lesions.suffix.lower() not in kinds:
            raise InputError(f"{lesions}: not a table's name; wanted one that ends in .csv or .json")
        return Outputs(mask, **{kinds[lesions.suffix.lower()]: lesions}, **others)

    @staticmethod
    def in_bids(stem: Path, followed: bool = False) -> "Outputs":
        """All of them, named as BIDS derivatives.

        `stem` is the folder and the beginning of the name: sub-01/ses-02/anat/sub-01_ses-02_desc-newLesions.
        """

        def derivative(ending: str) -> Path:
            return stem.with_name(f"{stem.name}_{ending}")

        return Outputs(
            mask=derivative("mask.nii.gz"),
            probability=derivative("probseg.nii.gz"),
            lesions_csv=derivative("lesions.csv"),
            lesions_json=derivative("lesions.json"),
            changes=derivative("dseg.nii.gz"),
            report=derivative("report.html"),
            text=derivative("report.txt"),
            thumbnails=derivative("thumbnails.png"),
            numbers=derivative("numbers.nii.gz") if followed else None,
            visits=derivative("visits.nii.gz") if followed else None,
            mask_sidecar=derivative("mask.json"),
            probability_sidecar=derivative("probseg.json"),
            changes_sidecar=derivative("dseg.json"),
            record=derivative("run.json"),
        )

    def wanted(self) -> dict[str, Path]:
        """{field: path} of every file that is wanted; the record comes last, as it is written last."""
        paths = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        paths["record"] = paths.pop("record")
        return {name: path for name, path in paths.items() if path is not None}

    def check(self) -> None:
        """Raise InputError before any work is done if a name or a folder cannot be written."""
        for path in (None if self._is_segmentation else self.mask, self.probability, self.changes):
            if path is not None:
                headers.suffix_of(path)
        for name, path in self.wanted().items():
            ending = ENDINGS.get(name, "")
            if not path.name.lower().endswith(ending):
                raise InputError(f"{path}: not a name for what is written there; wanted one with {ending}")
            _check_folder(path)
        if self.pdf is not None or self.key_image is not None:
            from . import paper  # noqa: F401  # says which package is missing

    def check_source(self, followup: Scan) -> None:
        """Raise InputError, before any work is done, if the mask is to be a DICOM Segmentation and the
        follow-up is nothing that it can refer to.
        """
        if self._is_segmentation:
            if followup.series is None:
                raise InputError(
                    f"{self.mask}: a DICOM Segmentation of {followup.path}; "
                    "wanted a follow-up that is DICOM too, or an image as output"
                )
            from ..images import dicom_seg

            dicom_seg.check(followup.series)
        for path, what in ((self.sr, "report"), (self.key_image, "picture")):
            if path is not None and followup.series is None:
                raise InputError(
                    f"{path}: a DICOM {what} of {followup.path}; wanted a follow-up that is DICOM too"
                )

    def write_results(
        self, result: Result, baseline: Scan, followup: Scan, heading: Heading = NOBODY
    ) -> None:
        """Write what is wanted of a result, but for the record. The mask is last: where it is, the rest is.

        Images are placed by their headers where that of `followup` places it.
        """
        placed_by = followup.path if followup.series is None else None
        instances = _instances(baseline), _instances(followup)
        for image, path, says in (
            (result.probability, self.probability, meaning.PROBABILITY),
            (result.changes, self.changes, meaning.CHANGES),
            (result.numbers(), self.numbers, meaning.NUMBERS),
            (result.visits(), self.visits, meaning.VISITS),
        ):
            if path is not None:
                storage.write(image, path, placed_by, says)
        self._write_sidecars(baseline, followup)
        if self.lesions_csv is not None:
            _write_text(tables.as_csv(result.findings), self.lesions_csv)
        if self.lesions_json is not None:
            _write_text(tables.as_json(result.findings), self.lesions_json)
        if self.report is not None:
            _write_text(report.page(result, heading, instances), self.report)
        if self.text is not None:
            _write_text(text.text(result, heading, instances), self.text)
        if self.thumbnails is not None:
            write_bytes(picture.png(report.thumbnails(result)), self.thumbnails)
        if self.pdf is not None:
            from . import paper

            paper.write_pdf(result, self.pdf, heading, instances)
        if self.sr is not None and followup.series is not None:
            from . import dicom_sr

            dicom_sr.write_report(result, followup.series, self.sr)
        if self.key_image is not None and followup.series is not None:
            from . import dicom_key

            dicom_key.write_key_image(result, followup.series, self.key_image, instances)
        if self._is_segmentation and followup.series is not None:
            from ..images import dicom_seg

            dicom_seg.write_segmentation(result.mask, followup.series, self.mask)
        else:
            storage.write(result.mask, self.mask, placed_by, meaning.MASK)

    def _write_sidecars(self, baseline: Scan, followup: Scan) -> None:
        paths = {
            "mask": self.mask_sidecar,
            "probability": self.probability_sidecar,
            "changes": self.changes_sidecar,
        }
        for name, content in meaning.sidecars(baseline, followup).items():
            if (path := paths[name]) is not None:
                _write_text(content, path)

    @property
    def _is_segmentation(self) -> bool:
        return self.mask.suffix.lower() == ".dcm"


PREPARED = (
    *("baseline.nii.gz", "followup.nii.gz", "brain.nii.gz"),
    *("to_baseline.tfm", "to_followup.tfm", "picture.png"),
)


def write_prepared(pair: Pair, aligned: Aligned, folder: Path) -> None:
    """Write all of PREPARED: a prepared pair, its brain mask, both transforms (from middle space to each
    scan, in ITK's text format) and a picture.
    """
    with writing_set({name: folder / name for name in PREPARED}) as unfinished:
        storage.write(grids.like(pair.baseline, pair.grid), unfinished["baseline.nii.gz"])
        storage.write(grids.like(pair.followup, pair.grid), unfinished["followup.nii.gz"])
        storage.write(grids.like(pair.brain, pair.grid), unfinished["brain.nii.gz"], meaning=meaning.BRAIN)
        for transform, name in (
            (aligned.to_baseline, "to_baseline.tfm"),
            (aligned.to_followup, "to_followup.tfm"),
        ):
            with writing(unfinished[name], partial(_holds, transform=transform)) as path:
                sitk.WriteTransform(transform, str(path))
        write_bytes(picture.png(picture.overview(pair)), unfinished["picture.png"])


def _holds(path: Path, transform: sitk.Transform) -> bool:
    """Whether a file has the numbers of a transform."""
    try:
        again = sitk.ReadTransform(str(path))
    except RuntimeError:
        return False
    return np.allclose(again.GetParameters(), transform.GetParameters())


def _instances(scan: Scan) -> list[str] | None:
    """DICOM's Instance Number of each slice, in the order of the volume; None for another kind of image."""
    return None if scan.series is None else scan.series.instance_numbers()


def _write_text(content: str, path: Path) -> None:
    write_bytes(content.encode(), path)


def _check_folder(path: Path) -> None:
    """Raise InputError unless `path` can be made: its nearest existing parent is a writable folder."""
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise InputError(f"{path}: a name of more than {LONGEST_NAME} bytes; wanted a shorter one")
    if path.is_dir():
        raise InputError(f"{path}: a folder; wanted a file's name")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path}: {folder} cannot be written to; wanted a folder with write permission")
