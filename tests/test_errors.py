"""What the package warns about is kept with the result, without the names of files."""

import logging
import threading

import pytest

from app.errors import in_roles, warned

logger = logging.getLogger("app.somewhere")


def test_warnings_of_the_block_are_heard_in_order() -> None:
    logger.warning("before")
    with warned() as heard:
        logger.warning("%d voxels", 3)
        logger.info("no warning")
        logging.getLogger("elsewhere").warning("another package's")
        logger.error("worse")
    logger.warning("after")
    assert heard == ["3 voxels", "worse"]


def test_blocks_within_blocks_hear_alike() -> None:
    with warned({"/patients/Doe^Jane.nii.gz": "baseline"}) as outer, warned() as inner:
        logger.warning("%s: odd", "/patients/Doe^Jane.nii.gz")
    assert outer == ["baseline: odd"]
    assert inner == ["/patients/Doe^Jane.nii.gz: odd"]


def test_another_thread_s_warnings_are_its_own() -> None:
    with warned() as heard:
        thread = threading.Thread(target=logger.warning, args=("theirs",))
        thread.start()
        thread.join()
    assert heard == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1: 11 voxels of 1 mm", "baseline: 11 voxels of 1 mm"),
        ("1/2: odd", "follow-up: odd"),
        ("1/2/Doe^Jane.dcm: odd", "follow-up: odd"),
        ("11: odd", "11: odd"),
        ("the same as 1/2, which is odd", "the same as follow-up, which is odd"),
        ("the same as /x1/2", "the same as /x1/2"),
    ],
)
def test_a_role_stands_for_a_path_and_for_nothing_else(text: str, said: str) -> None:
    """A folder called 1, and another inside it; what lies below a scan's folder is not named either."""
    assert in_roles(text, {"1": "baseline", "1/2": "follow-up"}) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r"D:\scans\1: odd", "baseline: odd"),
        (r"D:\scans\1\Doe^Jane.dcm: odd", "baseline: odd"),
        (r"the same as D:\scans\1, which is odd", "the same as baseline, which is odd"),
        (r"D:\scans\11: odd", r"D:\scans\11: odd"),
    ],
)
def test_paths_of_windows_are_hidden_too(text: str, said: str) -> None:
    assert in_roles(text, {"D:\\scans\\1": "baseline"}) == said
