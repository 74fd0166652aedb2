"""What kinds of arrays are there? Volumes are `(z, y, x)`; channels come first."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer]  # 0 is background
Points = npt.NDArray[np.float64]  # (n, 3), mm, LPS: left, posterior, superior
