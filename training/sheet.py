"""One page to look at: every mark and every missed lesion of every pair, at both visits; and what a reader
said of each place.

`reading.json` holds the reader's words, by place: "clear" (a new lesion that anybody would call so),
"doubtful", or "not visible". Later networks are scored against them: a mark is worth what the reader said of
its place, and a missed lesion costs what it was worth.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from app.arrays import Mask
from app.files import writing
from training.cases import Case

READING = Path(__file__).parent / "reading.json"
WORDS = ("clear", "doubtful", "not visible")
SAME_PLACE_MM = 6.0  # apart, at most
SIDE_MM = 48  # of what is shown
COLUMNS = 8  # of places; each takes baseline and follow-up

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Item:
    """A mark, or a lesion of the truth that no mark touches."""

    case: str
    kind: str  # "found", "marked" (without a lesion of the truth) or "missed"
    centre: Place  # (z, y, x) on the network's grid: the voxel of it that is nearest to its centre of mass
    volume_mm3: int


@dataclass(frozen=True)
class Read:
    """What a reader said of a place."""

    case: str
    centre: Place
    word: str  # one of WORDS


def items_of(case: Case, mask: Mask) -> list[Item]:
    """Every mark of a case and every missed lesion, largest first; what the case ignores is shown, too."""
    found = []
    for kind, volume, other in (("marked", mask, case.truth), ("missed", case.truth, mask)):
        labels, _ = ndimage.label(volume)
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            own = np.argwhere(labels[box] == number) + [side.start for side in box]
            touches = bool(other[tuple(own.T)].any())
            if kind == "missed" and touches:
                continue
            nearest = own[np.argmin(((own - own.mean(0)) ** 2).sum(1))]
            centre = (int(nearest[0]), int(nearest[1]), int(nearest[2]))
            found.append(Item(case.name, "found" if touches else kind, centre, len(own)))
    return sorted(found, key=lambda item: -item.volume_mm3)


def read_reading(path: Path = READING) -> list[Read]:
    return [
        Read(one["case"], tuple(one["centre"]), one["word"]) for one in json.loads(path.read_text())["places"]
    ]


def word_of(item: Item, reading: Sequence[Read]) -> str:
    """What was said of the place nearest to an item; 'unread' where none is near."""
    near = [
        (float(np.linalg.norm(np.subtract(one.centre, item.centre))), one.word)
        for one in reading
        if one.case == item.case
    ]
    distance, word = min(near, default=(np.inf, ""))
    return word if distance <= SAME_PLACE_MM else "unread"


def reading_lines(items: Sequence[Item], reading: Sequence[Read]) -> list[str]:
    """Of the places that were read: how many of each word are marked and how many missed."""
    counts = Counter((item.kind == "missed", word_of(item, reading)) for item in items)
    words = [*WORDS, "unread"]
    marked = ", ".join(f"{counts[False, word]} {word}" for word in words)
    missed = ", ".join(f"{counts[True, word]} {word}" for word in words)
    return [f"  as a reader saw them: marked {marked}; missed {missed}"]


def draw(items: Sequence[Item], cases: Mapping[str, Case], masks: Mapping[str, Mask], path: Path) -> None:
    """One PNG: baseline and follow-up side by side, marks outlined in red, the truth in green, numbered in
    the order of `items`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(items) // COLUMNS)
    figure, axes = pyplot.subplots(rows, 2 * COLUMNS, figsize=(2 * COLUMNS * 1.1, rows * 1.25), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, item in enumerate(items):
        case, mask = cases[item.case], masks[item.case]
        z, y, x = item.centre
        half = SIDE_MM // 2
        view = (z, slice(max(y - half, 0), y + half), slice(max(x - half, 0), x + half))
        for visit in (0, 1):
            axis = axes[number // COLUMNS][2 * (number % COLUMNS) + visit]
            axis.imshow(case.channels[visit][view], cmap="gray", vmin=0.2, vmax=2.2, interpolation="bicubic")
            for outlined, colour in ((case.truth, "lime"), (mask, "red")):
                if outlined[view].any() and visit:
                    axis.contour(outlined[view], [0.5], colors=colour, linewidths=0.6)
        title = f"{number} {item.kind} {item.volume_mm3}"
        axes[number // COLUMNS][2 * (number % COLUMNS)].set_title(title, fontsize=6, loc="left", pad=1)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=0.99, wspace=0.02, hspace=0.12)
    with writing(path) as unfinished:
        figure.savefig(unfinished, dpi=90)
    pyplot.close(figure)
