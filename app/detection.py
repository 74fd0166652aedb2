"""Which voxels of a probability map are new lesions. Without SimpleITK, so that training can ask too."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from app.config import PredictConfig

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def lesion_mask(probability: Array, config: PredictConfig, voxel_mm3: float) -> Mask:
    """Voxels (z, y, x) above the threshold, in components of which more than the minimum volume is certain (METHOD 6: strictly more).

    Two probabilities, as in hysteresis thresholding (Canny 1986): a high one alone would cut a lesion short, a low one alone would let in false ones.
    """
    components, _ = ndimage.label(probability > config.threshold)
    certain = np.bincount(components[probability > config.certain], minlength=components.max() + 1)
    keep = certain * voxel_mm3 > config.minimum_volume_mm3
    keep[0] = False
    mask: Mask = keep[components]
    return mask
