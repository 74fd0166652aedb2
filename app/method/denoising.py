"""How is a scan denoised?

By non-local means: each voxel becomes a mean of the voxels around it whose neighbourhoods look like its own.

The filter of animaNLMeans (Anima, Inria; docs/method.md, 5), after Coupe et al., IEEE TMI 27:425 (2008), and
Wiest-Daessle et al., MICCAI 2008, for Rician noise. For a voxel p and q = p + shift, where no axis of the
shift goes beyond +-search and q is not p:

* the patch of p is its 3 x 3 x 3 neighbourhood, cut at the image's edge; q is a candidate if that patch,
  shifted, lies within the image;
* q counts if mean(p) / mean(q) lies between 0.95 and 1 / 0.95 and variance(p) / variance(q) between 0.5 and
  2, both over the 27 voxels around each, the image's edge replicated. A tie rejects, and so does a zero below
  the line: a background of one value stays as it is;
* q weighs exp(-d / (2 beta sigma^2)), d being the mean squared difference of the patch and the shifted patch;
* p itself weighs as much as the heaviest q. Where no q counts, p keeps its value.

The image is worked through in tiles that fit the processor's cache: at each shift, a whole tile is
subtracted, squared, summed over the patch and accumulated. A weight serves both its voxels, so half of the
shifts are enough. The weighted means agree with double precision to 1e-6 or so.
"""

import itertools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..arrays import Array

MEAN_RATIO = 0.95  # animaNLMeans -m
VARIANCE_RATIO = 0.5  # animaNLMeans -v
# a ratio this near to its bound equals it; or rounding would decide, which in scans of whole numbers is often
TIE = 1e-6
TILE = {"cpu": 24, "cuda": 512}  # voxels along z and y
# Weights are kept times e^80 and dropped where less than 1e-30 remains: float32 then holds them down to
# e^-149, and never in its subnormal range, where it is slow and inexact. A voxel whose best match is lighter
# keeps its value: 4 in a million at most, in seven open scans. Of scans set to 0 outside the brain, 15 in a
# million differ from Anima's: it averages voxels at the brain's edge with the background.
LOG_SCALE, LIGHTEST = 80.0, 1e-30

Box = tuple[slice, slice, slice]  # along z, y, x
Shift = tuple[int, int, int]


def denoise(
    scan: Array, search: int = 3, beta: float = 1.0, rician: bool = False, device: str = "cpu"
) -> Array:
    """Non-local means of a scan `(z, y, x)` in any unit; the result is a new array.

    `rician`, for magnitude images, takes the mean of the squares, subtracts their bias 2 sigma^2 and takes
    the root. Works on as many threads as torch is set to use, with memory for six to seven more scans.
    """
    values = torch.from_numpy(np.ascontiguousarray(scan, dtype=np.float32)).to(device)
    with _one_thread_each() as pool:
        variance = noise_variance(values)
        if variance == 0:
            return scan.astype(np.float32)
        statistics = patch_statistics(values)
        average = _Average(values, rician, *(torch.zeros_like(values) for _ in range(3)))

        def average_column(rows: slice) -> None:
            for tile in _tiles(values, rows):
                for shift in _half_of_the_shifts(search):
                    box = _within(tile, shift, values)
                    if all(side.start < side.stop for side in box):
                        weight = _weights(values, statistics, box, shift, 2 * beta * variance)
                        average.add(weight, box, shift)
                        average.add(weight, _moved(box, shift), _opposite(shift))

        columns = _columns(values, search)
        for apart in (columns[::2], columns[1::2]):  # neighbours add to each other's edge, so they take turns
            list(pool.map(average_column, apart))
        return average.result(2 * variance).cpu().numpy()


def noise_variance(values: Tensor) -> float:
    """sigma^2: the mean over the image `(z, y, x)` of 6/7 (x - mean of 6 neighbours)^2, edges replicated."""
    total = 0.0
    for _, padded in _padded_planes(values):
        around = sum(
            _neighbour(padded, offset)
            for offset in ((0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2))
        )
        total += float((_neighbour(padded, (1, 1, 1)) - around / 6).square_().sum())
    return 6 / 7 * total / values.numel()


def patch_statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (divided by 26) of the 27 voxels around each voxel `(z, y, x)`, edges replicated.

    Both from the differences to the centre, in double precision: a patch of one value has variance 0 exactly.
    """
    means, variances = torch.empty_like(values), torch.empty_like(values)
    for plane, padded in _padded_planes(values):
        centre = _neighbour(padded, (1, 1, 1))
        total, squares = torch.zeros_like(centre), torch.zeros_like(centre)
        for offset in itertools.product(range(3), repeat=3):
            difference = _neighbour(padded, offset) - centre
            total += difference
            squares.addcmul_(difference, difference)
        means[plane] = centre + total / 27
        variances[plane] = (squares - total * total / 27) / 26
    return means, variances


def _weights(
    values: Tensor, statistics: tuple[Tensor, Tensor], box: Box, shift: Shift, scale: float
) -> Tensor:
    """Weight, times e^80, of each voxel of `box` and the one at `shift` for each other: exp(-d / scale).

    0 if they do not count.
    """
    # exp(-d / 2 scale), times e^40, squared: an exponent of 80 - d / scale would round away what 80 is too
    # large to tell apart
    weight = (
        _patch_distance(values, box, shift)
        .mul_(-0.5 / 27 / scale)
        .exp_()
        .mul_(math.exp(LOG_SCALE / 2))
        .square_()
    )
    F.threshold(weight, LIGHTEST, 0.0, inplace=True)
    there = _moved(box, shift)
    for statistic, ratio in zip(statistics, (MEAN_RATIO, VARIANCE_RATIO), strict=True):
        weight.mul_(_alike(statistic[box], statistic[there], ratio))
    return weight


@dataclass(frozen=True)
class _Average:
    """The weighted means that the voxels are on their way to; all tensors (z, y, x)."""

    values: Tensor
    rician: bool  # whether it is squares that are averaged
    total: Tensor  # in units of the greatest sample, so that weights times samples stay within float32
    weights: Tensor
    heaviest: Tensor

    @cached_property
    def _unit(self) -> float:
        return float(self.values.abs().max()) ** (2 if self.rician else 1)

    def _samples(self, values: Tensor) -> Tensor:
        return values * values if self.rician else values

    def add(self, weight: Tensor, box: Box, shift: Shift) -> None:
        """Let the voxels of `box` receive their neighbours at `shift`.

        Voxels whose shifted patch leaves the image receive nothing.
        """
        inside = []
        for side, step, size in zip(box, shift, self.values.shape, strict=True):
            start = max(side.start, 1 - step) if step < 0 else side.start
            stop = min(side.stop, size - 1 - step) if step > 0 else side.stop
            inside.append(slice(start, max(start, stop)))
        here: Box = (inside[0], inside[1], inside[2])
        weight = weight[_moved(here, (-box[0].start, -box[1].start, -box[2].start))]
        self.total[here].addcmul_(
            weight, self._samples(self.values[_moved(here, shift)]), value=1 / self._unit
        )
        self.weights[here].add_(weight)
        torch.maximum(self.heaviest[here], weight, out=self.heaviest[here])

    def result(self, bias: float) -> Tensor:
        """The means, each voxel itself weighing as the heaviest of the others, `bias` taken off mean squares.

        Overwrites the sums.
        """
        for values, total, weights, heaviest in zip(
            self.values, self.total, self.weights, self.heaviest, strict=True
        ):  # plane by plane
            total.addcmul_(heaviest, self._samples(values), value=1 / self._unit).div_(
                heaviest.add_(weights)
            ).mul_(self._unit)
            if self.rician:
                total.sub_(bias).clamp_min_(0).sqrt_()
            torch.where(weights > 0, total, values, out=total)
        return self.total


def _patch_distance(values: Tensor, box: Box, shift: Shift) -> Tensor:
    """27 times the mean squared difference of each voxel's patch and the shifted patch.

    Only pairs of voxels within the image count.
    """
    around = _within((_grown(box[0]), _grown(box[1]), _grown(box[2])), shift, values)
    distance = (values[around] - values[_moved(around, shift)]).square_()
    for axis in range(3):
        start = box[axis].start - around[axis].start
        distance = _three_means(distance, axis).narrow(axis, start, box[axis].stop - box[axis].start)
    return distance


def _three_means(values: Tensor, axis: int) -> Tensor:
    """Three times the mean of each voxel and its neighbours along an axis, of which an end has only one."""
    size = values.shape[axis]
    if size == 1:
        return 3 * values
    total = torch.empty_like(values)
    torch.add(
        values.narrow(axis, 0, size - 1),
        values.narrow(axis, 1, size - 1),
        out=total.narrow(axis, 1, size - 1),
    )
    total.select(axis, 0).copy_(values.select(axis, 0))
    total.narrow(axis, 0, size - 1).add_(values.narrow(axis, 1, size - 1))
    for end in (0, -1):
        total.select(axis, end).mul_(3 / 2)
    return total


def _alike(one: Tensor, other: Tensor, ratio: float) -> Tensor:
    """1.0 where one / other lies strictly between `ratio` and its inverse, else 0.0.

    Floats, since torch compares into booleans four times slower.
    """
    quotient = one / other
    above = torch.gt(quotient, ratio * (1 + TIE), out=torch.empty_like(quotient))
    return torch.lt(quotient, (1 - TIE) / ratio, out=quotient).mul_(above)


@contextmanager
def _one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """As many workers as torch has threads, each with one thread.

    Torch's own threads would wait for each other after every small step.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _columns(values: Tensor, search: int) -> list[slice]:
    """The image cut along y, no column but the last thinner than twice the search."""
    height = values.shape[1]
    side = max(TILE[values.device.type], 2 * search)
    return [slice(y, min(y + side, height)) for y in range(0, height, side)]


def _tiles(values: Tensor, rows: slice) -> Iterator[Box]:
    """A column of the image cut along z, whole along x."""
    depth, _, width = values.shape
    side = TILE[values.device.type]
    return ((slice(z, min(z + side, depth)), rows, slice(0, width)) for z in range(0, depth, side))


def _half_of_the_shifts(search: int) -> Iterator[Shift]:
    """One of each two opposite shifts."""
    reach = range(-search, search + 1)
    return (shift for shift in itertools.product(reach, reach, reach) if shift > (0, 0, 0))


def _within(box: Box, shift: Shift, values: Tensor) -> Box:
    """The voxels of `box` that lie in the image before and after the shift.

    A side may come out empty, with its start not before its stop.
    """
    z, y, x = (
        slice(max(side.start, 0, -step), min(side.stop, size, size - step))
        for side, step, size in zip(box, shift, values.shape, strict=True)
    )
    return z, y, x


def _moved(box: Box, shift: Shift) -> Box:
    z, y, x = (slice(side.start + step, side.stop + step) for side, step in zip(box, shift, strict=True))
    return z, y, x


def _grown(side: slice) -> slice:
    return slice(side.start - 1, side.stop + 1)


def _opposite(shift: Shift) -> Shift:
    return -shift[0], -shift[1], -shift[2]


def _padded_planes(values: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Each plane with the ones before and after it, in double precision: (3, y + 2, x + 2).

    One more voxel on all sides replicates the edge.
    """
    depth = values.shape[0]
    for plane in range(depth):
        three = values[[max(plane - 1, 0), plane, min(plane + 1, depth - 1)]]
        yield plane, F.pad(three[None], (1, 1, 1, 1), mode="replicate")[0].double()


def _neighbour(padded: Tensor, offset: tuple[int, ...]) -> Tensor:
    """What lies at an offset of 0 to 2 voxels from the padding's corner, 1 being the voxel itself."""
    z, y, x = (slice(start, start + size - 2) for start, size in zip(offset, padded.shape, strict=True))
    return padded[z, y, x]
