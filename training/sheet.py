"""One page to look at: every mark and every missed lesion of every pair, at both visits; and what a reader
said of each place.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from app.arrays import Mask
from app.files import writing
from training.cases import Case
from training.reading import UNREAD, WORDS, Place, Read, word_of

SIDE_MM = 48  # of what is shown
COLUMNS = 8  # of places; each takes baseline and follow-up


@dataclass(frozen=True)
class Item:
    """A mark, or a lesion of the truth that no mark touches."""

    case: str
    kind: str  # "found", "marked" (without a lesion of the truth) or "missed"
    centre: Place  # (z, y, x) on the network's grid: the voxel of it that is nearest to its centre of mass
    volume_mm3: int


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


def reading_lines(items: Sequence[Item], reading: Sequence[Read]) -> list[str]:
    """Of the places that were read: how many of each word are marked and how many missed."""
    counts = Counter((item.kind == "missed", word_of(item.case, item.centre, reading)) for item in items)
    words = [*WORDS, UNREAD]
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
