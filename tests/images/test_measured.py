"""What was not measured becomes 0, whatever a program put there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InputError
from app.images import measured

SHAPE = (24, 26, 28)


def _outside(scan: np.ndarray) -> np.ndarray:
    (outside,) = measured.backgrounds(scan).values()
    return outside


def _head(seed: int = 0) -> np.ndarray:
    """Values from 20 to 100 in a box, 0 around it; one 0 inside, and a channel of 0 from the box's middle to
    the outside.
    """
    rng = np.random.default_rng(seed)
    head = np.zeros(SHAPE, np.float32)
    head[6:18, 6:20, 6:22] = rng.uniform(20, 100, (12, 14, 16))
    head[10, 10, 10] = 0
    head[12, 12, 12:] = 0
    return head


def test_a_usual_scan_is_left_as_it_is() -> None:
    """With a background of 0; with one of noise; whole numbers of noise, too, of which many are alike; up to
    1e12.
    """
    rng = np.random.default_rng(0)
    noisy = np.abs(_head() + rng.normal(0, 3, SHAPE)).astype(np.float32)
    for scan in (
        _head(),
        noisy,
        noisy.round(),
        np.where(_head() > 0, _head(), rng.integers(0, 3, SHAPE)),
        _head() * 1e10,
    ):
        np.testing.assert_array_equal(measured.clean(scan, "scan"), scan.astype(np.float32))


@pytest.mark.parametrize("padding", [-32768, -1, 1, 4095, np.nan, np.inf, -np.inf])
def test_any_padding_becomes_0(padding: float) -> None:
    """In the channel, too; a 0 inside stays what it is."""
    head = _head()
    outside = _outside(head)
    padded = np.where(outside, padding, head)
    np.testing.assert_array_equal(measured.clean(padded, "scan"), head)


def test_padding_on_one_side_of_a_noisy_scan_becomes_0() -> None:
    noisy = np.random.default_rng(0).uniform(1, 9, SHAPE).astype(np.float32)
    padded = noisy.copy()
    padded[:3], padded[:, -2:] = -32768, np.nan
    wanted = noisy.copy()
    wanted[:3] = wanted[:, -2:] = 0
    np.testing.assert_array_equal(measured.clean(padded, "scan"), wanted)


@given(mean=st.floats(0, 300), spread=st.floats(1, 100))
def test_a_scan_standardised_with_its_background_is_what_it_was(mean: float, spread: float) -> None:
    """z = (x - mean) / spread: only the unit may differ."""
    head = _head()
    found = measured.clean((head - mean) / spread, "scan")
    np.testing.assert_allclose(found * spread, head, atol=1e-3)


def test_a_brain_standardised_alone_is_above_its_background() -> None:
    """Mean 0 in the brain and 0 around it: half of the brain was below its background."""
    head = _head()
    inside = ~_outside(head)
    z = np.where(inside, (head - head[inside].mean()) / head[inside].std(), 0)
    found = measured.clean(z, "scan")
    assert (found[~inside] == 0).all()
    order = np.argsort(head[inside])
    assert (np.diff(found[inside][order]) >= 0).all()
    assert np.count_nonzero(found[inside] == 0) <= 1 + 2 * measured.DARKEST * inside.sum()


@pytest.mark.parametrize("stray", [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e30, 1e6])
def test_a_stray_voxel_becomes_0_with_a_warning(stray: float, caplog: pytest.LogCaptureFixture) -> None:
    head = _head().astype(np.float64)
    wanted = head.astype(np.float32)
    head[8, 9, 10], wanted[8, 9, 10] = stray, 0
    np.testing.assert_array_equal(measured.clean(head, "scan"), wanted)
    assert "scan: 1 voxels are NaN or infinite, or spikes; taken as 0" in caplog.text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(SHAPE), "every voxel is 0; wanted a scan that shows something"),
        (np.full(SHAPE, 7), "every voxel is 7"),
        (np.full(SHAPE, np.nan), "every voxel is NaN or infinite"),
        (np.full(SHAPE, 1e300), "every voxel is NaN or infinite"),
        ((_head() > 0).astype(np.uint8), "two values alone, as in a mask"),
        (
            np.where(_head() > 50, np.nan, _head()),
            "of 17472 voxels are NaN or infinite, or spikes; wanted a scan",
        ),
    ],
)
def test_what_is_no_scan_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=f"^scan: .*{message}"):
        measured.clean(values, "scan")
