"""Marks and missed lesions, what a reader said of them, and the page that shows them."""

from pathlib import Path

import numpy as np

from training import reading, sheet
from training.cases import Case

BRAIN = np.ones((24, 24, 24), bool)


def cube(at: int, side: int) -> np.ndarray:
    mask = np.zeros_like(BRAIN)
    mask[at : at + side, at : at + side, at : at + side] = True
    return mask


def test_marks_and_missed_lesions_are_listed_read_and_drawn(tmp_path: Path) -> None:
    truth, mask = cube(2, 3) | cube(18, 4), cube(3, 3) | cube(10, 5)
    channels = np.random.default_rng(0).random((2, 24, 24, 24)).astype(np.float32)
    case = Case("a forward", channels, BRAIN, truth, ~BRAIN)
    items = sheet.items_of(case, mask)
    assert [(item.kind, item.volume_mm3, item.centre) for item in items] == [
        ("marked", 125, (12, 12, 12)),
        ("missed", 64, (19, 19, 19)),
        ("found", 27, (4, 4, 4)),
    ]
    read = [reading.Read("a forward", (14, 12, 12), "clear"), reading.Read("b forward", (4, 4, 4), "clear")]
    words = [reading.word_of(item.case, item.centre, read) for item in items]
    assert words == ["clear", "unread", "unread"]
    (line,) = sheet.reading_lines(items, read)
    assert line.endswith(
        "marked 1 clear, 0 doubtful, 0 not visible, 1 unread; missed 0 clear, 0 doubtful, 0 not "
        "visible, 1 unread"
    )
    sheet.draw(items, {case.name: case}, {case.name: mask}, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes()[:4] == b"\x89PNG"


def test_the_reading_kept_is_one_of_known_words() -> None:
    for one in reading.read_reading():
        assert one.word in reading.WORDS
        assert one.case.split(" ")[1] in ("forward", "backward")
