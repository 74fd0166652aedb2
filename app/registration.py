"""Where one scan lies in the other: the rigid motion of the head between two scans, half of it given to each.

Both scans are sampled at the same points of a space halfway between them (MSSEG-2's "middle space"), so that neither is the reference: the cost, the
blur of interpolation and the result are the same when the scans are swapped. The cost is normalised mutual information (Studholme, Hill, Hawkes,
Pattern Recognition 1999), (H(a) + H(b)) / H(a, b): 1 for scans that say nothing about each other, 2 for scans that tell each other exactly.
"""

import itertools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from app.errors import InputError
from app.image import Array, Mask, array, same_grid

Floats = npt.NDArray[np.float64]

HEAD_RADIUS_MM = 80.0  # a rotation is optimised as the path of a point so far from the centre: then all six numbers are mm of like effect
BINS = 32  # of the histogram, on each axis
SAMPLE_TILT = (0.31, 0.53, 0.17)  # radians: sample points on a lattice oblique to both scans' voxels, or interpolation would favour aligned voxels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Aligned:
    to_baseline: sitk.Transform
    to_followup: sitk.Transform
    similarity_before: float
    similarity_after: float
    angle_degrees: float
    shift_mm: float


@dataclass(frozen=True)
class _Level:
    blur_mm: float
    step_mm: float
    first_move_mm: float
    tolerance_mm: float


COARSE = _Level(blur_mm=4.0, step_mm=8.0, first_move_mm=5.0, tolerance_mm=0.5)
FINE = (_Level(blur_mm=2.0, step_mm=6.0, first_move_mm=2.0, tolerance_mm=0.1), _Level(blur_mm=0.0, step_mm=4.0, first_move_mm=0.5, tolerance_mm=0.01))


def half_motions(motion: Floats, centre: Floats) -> tuple[sitk.Euler3DTransform, sitk.Euler3DTransform]:
    parts = []
    for sign in (-0.5, 0.5):
        part = sitk.Euler3DTransform()
        part.SetCenter(centre.tolist())
        part.SetMatrix(Rotation.from_rotvec(sign * motion[:3] / HEAD_RADIUS_MM).as_matrix().ravel().tolist())
        part.SetTranslation((sign * motion[3:]).tolist())
        parts.append(part)
    return parts[0], parts[1]


def head_of(scan: sitk.Image) -> sitk.Image:
    coarse = blurred(scan, 3.0)
    return sitk.BinaryDilate(sitk.OtsuThreshold(coarse, 0, 1, 200), [2, 2, 2])


def centre_of(head: sitk.Image) -> Floats:
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(head)
    return np.array(shape.GetCentroid(1))


def blurred(scan: sitk.Image, blur_mm: float) -> sitk.Image:
    if not blur_mm:
        return scan
    shrunk = sitk.BinShrink(scan, [max(1, min(n // 4, round(blur_mm / 2 / side))) for side, n in zip(scan.GetSpacing(), scan.GetSize(), strict=True)])
    return sitk.DiscreteGaussian(shrunk, blur_mm**2, 64)


def lattice(centre: Floats, extent_mm: float, step_mm: float) -> sitk.Image:
    n = 2 * math.ceil(extent_mm / 2 / step_mm) + 1
    tilt = Rotation.from_rotvec(SAMPLE_TILT).as_matrix()
    g = sitk.Image([n] * 3, sitk.sitkUInt8)
    g.SetSpacing([step_mm] * 3)
    g.SetDirection(tilt.ravel().tolist())
    g.SetOrigin((centre - tilt @ np.full(3, step_mm * (n - 1) / 2)).tolist())
    return g


def nmi(a: Array, b: Array, ra, rb) -> float:
    h = joint_histogram(a, b, ra, rb)
    return nmi_of(h)


def nmi_of(h):
    h = h / h.sum()
    return (entropy(h.sum(0)) + entropy(h.sum(1))) / entropy(h)


def entropy(p: Floats) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def joint_histogram(a, b, ra, rb):
    ia, fa = place(a, ra)
    ib, fb = place(b, rb)
    first = ia * BINS + ib
    ca, cb = 1 - fa, 1 - fb
    h = np.zeros(BINS * BINS)
    for o, w in ((0, ca * cb), (1, ca * fb), (BINS, fa * cb), (BINS + 1, fa * fb)):
        h += np.bincount(first + o, w, BINS * BINS)
    return gaussian_filter(h.reshape(BINS, BINS), 1.0, mode="nearest")


def place(v, r):
    x = np.clip((v - r[0]) * ((BINS - 1) / max(r[1] - r[0], 1e-6)), 0, BINS - 1 - 1e-3)
    i = x.astype(np.int64)
    return i, x - i


MIN_OVERLAP = 0.3


class Cost:
    def __init__(self, baseline, followup, hb, hf, centre, motion, level, extent):
        self.b, self.f = blurred(baseline, level.blur_mm), blurred(followup, level.blur_mm)
        self.centre = centre
        self.grid = lattice(centre, extent, level.step_mm)
        tb, tf = half_motions(motion, centre)
        inb = array(sitk.Resample(hb, self.grid, tb, sitk.sitkNearestNeighbor)) > 0
        inf_ = array(sitk.Resample(hf, self.grid, tf, sitk.sitkNearestNeighbor)) > 0
        self.head = inb | inf_
        self.smaller = min(inb.sum(), inf_.sum())
        self.rb = self.rng(self.b, hb)
        self.rf = self.rng(self.f, hf)

    def rng(self, scan, head):
        v = array(sitk.Resample(scan, head, sitk.Transform(), sitk.sitkLinear))[array(head) > 0]
        return np.percentile(v, [0.5, 99.5])

    def values(self, motion):
        tb, tf = half_motions(motion, self.centre)
        a = array(sitk.Resample(self.b, self.grid, tb, sitk.sitkLinear, math.nan))[self.head]
        b = array(sitk.Resample(self.f, self.grid, tf, sitk.sitkLinear, math.nan))[self.head]
        k = np.isfinite(a) & np.isfinite(b)
        return a[k], b[k]

    def __call__(self, motion):
        a, b = self.values(motion)
        if a.size < MIN_OVERLAP * self.smaller or a.size < 50:
            return 0.0
        return -nmi(a, b, self.rb, self.rf)


def best(cost, motion, level):
    r = minimize(cost, motion, method="Powell", options={"xtol": level.tolerance_mm, "ftol": 1e-6, "direc": level.first_move_mm * np.eye(6)})
    return r.x, r.fun, r.nfev


ROT = [np.array(c) for c in itertools.product((-15.0, 0, 15.0), repeat=3)]


def search(baseline, followup, verbose=False, top=3, zs=(-30, 0, 30)):
    hb, hf = head_of(baseline), head_of(followup)
    cb, cf = centre_of(hb), centre_of(hf)
    centre = (cb + cf) / 2
    apart = cf - cb
    def ext(h, c):
        s = sitk.LabelShapeStatisticsImageFilter(); s.ComputeOrientedBoundingBoxOff(); s.Execute(h); return 2*max(s.GetEquivalentSphericalRadius(1)*1.5, 20)
    extent = max(ext(hb, cb), ext(hf, cf))
    cost = Cost(baseline, followup, hb, hf, centre, np.r_[0, 0, 0, apart], COARSE, extent)
    cands = [np.r_[np.deg2rad(r) * HEAD_RADIUS_MM, s] for r in ROT for s in [apart + np.array([0, 0, z]) for z in zs] + [np.zeros(3)]]
    scores = [cost(m) for m in cands]
    order = np.argsort(scores, kind="stable")[:top]
    res = sorted((best(cost, cands[i], COARSE) for i in order), key=lambda r: r[1])
    motion = res[0][0]
    n = [sum(r[2] for r in res)]
    for level in FINE:
        cost = Cost(baseline, followup, hb, hf, centre, motion, level, extent)
        motion, value, k = best(cost, motion, level)
        n.append(k)
    if verbose: print(n, -value, [round(-r[1],3) for r in res], cost.head.sum(), cost.grid.GetSize())
    return motion, centre, -value
