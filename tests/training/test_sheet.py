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


def test_what_a_reader_saw_and_no_mask_has_is_a_ball_that_may_be_new() -> None:
    truth = cube(2, 3)
    read = [
        reading.Read("a forward", (16, 16, 16), "doubtful"),
        reading.Read("a forward", (4, 4, 4), "clear"),  # in the mask
        reading.Read("a forward", (16, 4, 16), "not visible"),
        reading.Read("a backward", (16, 4, 4), "clear"),
    ]
    found = reading.maybe_new("a forward", truth, read)
    assert found[16, 16, 22] and not found[16, 16, 23]
    assert found.sum() == sum(
        z**2 + y**2 + x**2 <= 36 for z in range(-6, 8) for y in range(-6, 8) for x in range(-6, 8)
    )


def test_the_reading_kept_is_one_of_known_words() -> None:
    for one in reading.read_reading():
        assert one.word in reading.WORDS
        assert one.case.split(" ")[1] in ("forward", "backward")
