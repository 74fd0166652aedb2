"""What did a reader say of places in the open pairs?

`reading.json` holds the words: "clear" (a new lesion that anybody would call so), "doubtful", or "not
visible". Later networks are scored against them: a mark is worth what the reader said of its place, and a
missed lesion costs what it was worth. A mark where the reader saw a change, or could not tell, is neither
right nor wrong if no mask has it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.arrays import Mask

READING = Path(__file__).parent / "reading.json"
WORDS = ("clear", "doubtful", "not visible")
MAYBE_NEW = WORDS[:2]
UNREAD = "unread"
SAME_PLACE_MM = 6.0  # apart, at most

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Read:
    """What a reader said of a place."""

    case: str
    centre: Place  # (z, y, x) on the network's grid
    word: str  # one of WORDS


def read_reading(path: Path = READING) -> list[Read]:
    return [
        Read(one["case"], tuple(one["centre"]), one["word"]) for one in json.loads(path.read_text())["places"]
    ]


def maybe_new(case: str, masks: Mask, reading: Sequence[Read]) -> Mask:
    """Balls round the places (z, y, x) where the reader saw a new lesion, or could not tell, and the masks
    have nothing.
    """
    balls = np.zeros_like(masks)
    for one in reading:
        if one.case == case and one.word in MAYBE_NEW:
            squares = [(np.arange(side) - at) ** 2 for side, at in zip(masks.shape, one.centre, strict=True)]
            z, y, x = np.ix_(*squares)
            ball = z + y + x <= SAME_PLACE_MM**2
            if not (ball & masks).any():
                balls |= ball
    return balls


def word_of(case: str, centre: Place, reading: Sequence[Read]) -> str:
    """What was said of the place nearest to that one; `UNREAD` where none is near."""
    near = [
        (float(np.linalg.norm(np.subtract(one.centre, centre))), one.word)
        for one in reading
        if one.case == case
    ]
    distance, word = min(near, default=(np.inf, ""))
    return word if distance <= SAME_PLACE_MM else UNREAD
