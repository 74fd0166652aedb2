"""An alignment made by hand, for tests of what is done with one."""

import numpy as np
import SimpleITK as sitk

from app.method.registration import Aligned
from app.method.residual import Blocks, Residual


def made_up_alignment(
    to_followup: sitk.Transform, angle_degrees: float = 0.0, shift_mm: float = 0.0
) -> Aligned:
    """Halfway by a rigid transform; nothing is left between the scans, whose middle space is 200 mm wide."""
    nothing = sitk.Image([68] * 3, sitk.sitkFloat32)
    nothing.SetSpacing([3.0] * 3)
    nothing.SetOrigin([-100.5] * 3)
    zeros = np.zeros((68, 68, 68), dtype=np.float32)
    return Aligned(
        to_baseline=to_followup.GetInverse(),
        to_followup=to_followup,
        similarity_before=1.1,
        similarity_after=1.2,
        angle_degrees=angle_degrees,
        shift_mm=shift_mm,
        stretch_percent=0.0,
        apart_mm=shift_mm,
        one_grid=False,
        moved=True,
        residual=Residual(nothing, mean_mm=0.0, likeness=0.9, seen=Blocks(zeros, zeros, zeros > 0, nothing)),
    )
