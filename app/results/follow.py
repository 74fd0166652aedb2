"""A patient's lesions through all visits: one page, and one table for a spreadsheet and for a program.

None of them names the patient, a file or a folder, but the labels of the visits. The page is in
page/follow.html.
"""

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from markupsafe import Markup

from .. import __version__
from ..images import grids
from ..method import tracks
from ..method.tracks import State, Track, Tracks
from . import picture
from .report import CROP_MM, PAGE, PAGES, policy
from .words import counted

SCHEMA_VERSION = 1
SHOWN = 30  # lesions with pictures
DRAWN = 12  # lesions with a line in the plot, largest first
COLUMNS = ("lesion", "visit", "label", "state", "volume_mm3", "split_from", "merged_into")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 220, 58, 40, 14, 30  # of a plot, and its margins, pixels
LINE = 12  # pixels between names in a plot
# how the page colours a state: as the report colours kinds
COLOURS: dict[State, str] = {
    "appears": "new",
    "grows": "enlarged",
    "unchanged": "unchanged",
    "present": "unchanged",
    "shrinks": "shrunken",
    "vanishes": "vanished",
}
COUNTED: dict[State, str] = {
    "appears": "appeared",
    "grows": "grew",
    "shrinks": "shrank",
    "vanishes": "vanished",
    "merged": "merged into another",
}


@dataclass(frozen=True)
class FollowOutputs:
    """Where the files of one patient go."""

    csv: Path
    json: Path
    page: Path

    @staticmethod
    def named(stem: Path, before: str = "") -> "FollowOutputs":
        """In a folder, names that begin alike."""
        csv_file, json_file, page_file = (stem / f"{before}follow.{kind}" for kind in ("csv", "json", "html"))
        return FollowOutputs(csv_file, json_file, page_file)

    def paths(self) -> dict[str, Path]:
        """By kind, the page last: where it is, the rest is."""
        return {"csv": self.csv, "json": self.json, "page": self.page}

    def ours(self) -> bool:
        """Whether this program made what is there."""
        try:
            content = json.loads(self.json.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(content, dict) and {"schema_version", "program", "visits"} <= content.keys()


@dataclass(frozen=True)
class Followed:
    """The lesions of one patient, and what the page shows of them."""

    labels: list[str]  # of the visits
    found: Tracks
    scans: list[npt.NDArray[np.float32]]  # of the visits, (z, y, x) on one grid; 1 is half of the head
    grid: sitk.Image
    load_mm3: list[float | None]  # all lesions at each visit; None: not known
    pairs: dict[str, str]  # those that were compared, with a link from this page to theirs
    left_out: list[str]  # those that failed

    def headline(self) -> str:
        """'5 lesions in 3 visits: 4 appeared, 1 vanished'."""
        shown = [track for track in self.found.tracks if set(track.states) != {"absent"}]
        said = []
        for state, word in COUNTED.items():
            if count := sum(state in track.states for track in shown):
                said.append(f"{count} {word}")
        what = f"{counted(len(shown), 'lesion')} in {len(self.labels)} visits"
        return f"{what}: {', '.join(said)}" if said else what

    def together_mm3(self) -> list[float]:
        """The followed lesions at each visit, each as it was measured last, or else as it is next."""
        return [
            sum(
                track.nearest_mm3(visit)
                for track in self.found.tracks
                if track.states[visit] not in tracks.NOT_ITS_OWN
            )
            for visit in range(len(self.labels))
        ]

    def not_measured(self) -> list[int]:
        """How many are there at each visit and not measured."""
        return [
            sum(
                track.volumes_mm3[visit] is None and track.states[visit] not in tracks.NOT_ITS_OWN
                for track in self.found.tracks
            )
            for visit in range(len(self.labels))
        ]


def as_csv(followed: Followed) -> str:
    """A header, and one row for each lesion and visit; a volume that is not measured is empty."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for track in followed.found.tracks:
        for visit, label in enumerate(followed.labels):
            volume = track.volumes_mm3[visit]
            table.writerow(
                [
                    *(track.number, visit + 1, label, track.states[visit]),
                    "" if volume is None else f"{volume:.3f}",
                    *(track.split_from or "", track.merged_into or ""),
                ]
            )
    return text.getvalue()


def as_json(followed: Followed) -> str:
    """The same with the load, the pairs, and where they disagree."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "program": __version__,
        "visits": followed.labels,
        "pairs": list(followed.pairs),
        "left_out": followed.left_out,
        "load_mm3": [_rounded(load) for load in followed.load_mm3],
        "followed_mm3": [_rounded(volume) for volume in followed.together_mm3()],
        "not_measured": followed.not_measured(),
        "lesions": [
            {
                "number": track.number,
                "states": track.states,
                "volumes_mm3": [_rounded(volume) for volume in track.volumes_mm3],
                "split_from": track.split_from,
                "merged_into": track.merged_into,
            }
            for track in followed.found.tracks
        ],
        "disagreements": [
            {
                "lesion": one.lesion,
                "visits": [visit + 1 for visit in one.visits],
                "pair_says": one.pair_says,
                "together": one.together,
            }
            for one in followed.found.disagreements
        ],
    }
    return json.dumps(content, indent=2) + "\n"


def page(followed: Followed) -> str:
    """The page as text; it loads nothing and runs nothing."""
    known = [load is not None for load in followed.load_mm3]
    total: Sequence[float | None] = followed.load_mm3 if any(known) else followed.together_mm3()
    labels = [f"visit {label}" if label.isdigit() else label for label in followed.labels]
    lines = [(str(track.number), track.volumes_mm3) for track in followed.found.tracks[:DRAWN]]
    return PAGES.get_template("follow.html").render(
        policy=policy(images="data:"),
        style=Markup((PAGE / "page.css").read_text(encoding="utf-8")),
        headline=followed.headline(),
        labels=labels,
        tracks=followed.found.tracks,
        colours=COLOURS,
        disagreements=followed.found.disagreements,
        left_out=followed.left_out,
        pairs=followed.pairs,
        load_known=any(known),
        total=total,
        not_measured=[0] * len(labels) if any(known) else followed.not_measured(),
        total_plot=_plot([("", total)], labels),
        lesions_plot=_plot(lines, labels),
        drawn=DRAWN,
        pictures=[_pictures(track, followed) for track in followed.found.tracks[:SHOWN]],
        left=max(len(followed.found.tracks) - SHOWN, 0),
        surface_mm=followed.found.surface_mm,
        shared_percent=round(100 * tracks.SHARED),
        version=__version__,
    )


def _plot(lines: list[tuple[str, Any]], labels: list[str]) -> dict[str, Any]:
    """Volumes over the visits, which stand evenly, as SVG in pixels; a line breaks where one is not known."""
    highest = max((volume for _, values in lines for volume in values if volume), default=1.0)
    step = _step(highest)
    top = step * -(-highest // step)

    def x(visit: int) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * visit / max(len(labels) - 1, 1), 1)

    def y(volume: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * volume / top, 1)

    drawn, ends = [], []
    for name, values in lines:
        points = [None if volume is None else (x(visit), y(volume)) for visit, volume in enumerate(values)]
        d, pen = "", "M"
        for point in points:
            d += "" if point is None else f"{pen}{point[0]} {point[1]}"
            pen = "M" if point is None else "L"
        measured = [point for point in points if point is not None]
        drawn.append({"d": d, "points": measured})
        ends += [(name, point) for point in measured[-1:]]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "floor": HEIGHT - BOTTOM,
        "visits": [(x(visit), label) for visit, label in enumerate(labels)],
        "steps": [(y(level), f"{level:g}") for level in np.arange(0, top + step / 2, step)],
        "lines": drawn,
        "names": _names(ends),
    }


def _names(ends: list[tuple[str, tuple[float, float]]]) -> list[tuple[str, float, float]]:
    """Where the names of lines stand: at their ends, and those that end above nothing, none on another."""
    placed: list[tuple[str, float, float]] = []
    for name, (x, y) in sorted(ends, key=lambda end: (end[1], end[0])):
        if name and y < HEIGHT - BOTTOM:
            before = [other[2] for other in placed if other[1] == x]
            placed.append((name, x, max(y, before[-1] + LINE) if before else y))
    return [(name, x, y) for name, x, y in placed if y <= HEIGHT - BOTTOM]


def _step(highest: float) -> float:
    """A round number of mm^3 that three to six lines of a plot stand apart."""
    size = 10.0 ** np.floor(np.log10(highest))
    return float(next(size * share for share in (0.2, 0.25, 0.5, 1, 2) if highest / (size * share) <= 6))


def _pictures(track: Track, followed: Followed) -> dict[str, Any]:
    """An axial picture of a lesion at each visit, all of one place, with the outlines of that visit."""
    places = followed.found.places
    largest = max(places, key=lambda place: int(np.count_nonzero(place == track.number)))
    voxels = np.argwhere(largest == track.number)
    centre = voxels[((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    at = (int(centre[0]), int(centre[1]), int(centre[2]))
    half_width = round(CROP_MM / 2 / min(grids.spacing_mm(followed.grid)))
    images = []
    for scan, place in zip(followed.scans, places, strict=True):
        cut = picture.plane(place, 0, at, half_width)
        paths = [
            {"chosen": number == track.number, "d": picture.outline_path(cut == number)}
            for number in np.setdiff1d(cut, 0).tolist()
        ]
        seen = picture.crop(scan, 0, at, half_width, picture.WHITE)
        images.append(
            {
                "png": base64.b64encode(picture.png(seen)).decode("ascii"),
                "paths": paths,
                "side": 2 * half_width,
            }
        )
    return {"track": track, "images": images}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
