"""Where lesions appear in a brain, and how deep a voxel lies in it.

Arrays are (z, y, x) at 1 mm. Without SimpleITK, so that training can ask too.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from app.arrays import Array, Mask

Bytes = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.int8]


def depth_of(brain: Mask) -> Depth:
    """Half millimetres below the surface of a mask at 1 mm: positive inside, negative outside, up to 127."""
    signed = ndimage.distance_transform_edt(brain) - ndimage.distance_transform_edt(~brain)
    return np.clip(np.round(2 * signed), -127, 127).astype(np.int8)  # type: ignore[no-any-return]


def places(likely: npt.NDArray[np.float64], ventricle: Mask) -> Bytes:
    """Where lesions appear, 0 to 255: tissue likelihood, five times higher at the ventricles than far from
    them.
    """
    far_mm: Array = (
        ndimage.distance_transform_edt(~ventricle) if ventricle.any() else np.full(likely.shape, np.inf)
    )
    return np.round(255 * likely * (0.2 + 0.8 * np.exp(-far_mm / 8))).astype(np.uint8)


def white_places(z: Sequence[Array], brain: Mask) -> Bytes:
    """`places` of a pair (baseline, follow-up; spreads of the brain), where both scans show white matter."""
    depth_mm = ndimage.distance_transform_edt(brain)
    white = (np.abs(z[0] + 0.3) < 1.3) & (np.abs(z[1] + 0.3) < 1.3) & (depth_mm > 5)
    ventricle = ndimage.binary_opening((z[0] < -2.2) & (depth_mm > 20))
    return places(white.astype(float), ventricle)
