"""Normalised mutual information, and motions, worked out by hand."""

import numpy as np
import pytest

from app.method import similarity


def test_similarity_by_hand() -> None:
    """Two values in one proportion tell each other, H(a) = H(b) = H(a, b): 2.

    Independent ones, H(a, b) = H(a) + H(b): 1.
    """
    same = np.diag([0.5, 0.5])
    independent = np.full((2, 2), 0.25)
    for joint, wanted in ((same, 2.0), (independent, 1.0)):
        entropies = [similarity.entropy(joint.sum(axis=axis)) for axis in (0, 1)]
        assert sum(entropies) / similarity.entropy(joint) == pytest.approx(wanted)


def test_joint_histogram_shares_a_pair_among_four_bins() -> None:
    """(2.25, 5.5): 0.75 of it in row 2, 0.25 in row 3, half in each of columns 5 and 6."""
    histogram = similarity.joint_histogram(
        np.array([2.25], dtype=np.float32), np.array([5.5], dtype=np.float32)
    )
    wanted = np.zeros((similarity.BINS, similarity.BINS))
    wanted[2, 5:7] = 0.375
    wanted[3, 5:7] = 0.125
    np.testing.assert_allclose(histogram, wanted)
