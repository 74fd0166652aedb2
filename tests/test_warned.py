"""What the package warns about is kept with the result, without the names of files."""

import logging
import threading

from app.warned import warned

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
