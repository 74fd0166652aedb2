"""What changes between two visits without being a lesion: drift, noise, flow, vessels, bright rims."""

import torch
from torch import Tensor

from training.augmentation import blur, integer, normal, uniform
from training.config import DistractorConfig
from training.synthesis.anatomy import Window
from training.synthesis.fields import ball


def add_distractors(z: Tensor, window: Window, config: DistractorConfig, rng: torch.Generator) -> Tensor:
    """Bright or dark things of one visit that are no lesions."""
    side = z.shape[0]

    def happens(chance: float) -> bool:
        return uniform(rng, 0, 1) < chance

    def region() -> Tensor:
        return ball(side, uniform(rng, *config.radius_mm), rng)

    original = z
    if happens(config.regional):
        for _ in range(1 + integer(rng, 3)):
            z = z + normal(rng, config.regional_z) * region()
    if happens(config.noise):
        noise = blur(torch.randn(z.shape, generator=rng, device=z.device), uniform(rng, *config.noise_mm))
        z = z + uniform(rng, *config.noise_z) * region() * noise / noise.std()
    if happens(config.gyral):
        z = z + uniform(rng, 0.4, 2.0) * region() * torch.sigmoid(4 * (original - 0.6)) * (
            window.depth_mm < 12
        )
    if happens(config.rim):
        z = z + uniform(rng, 0.5, 3.0) * region() * torch.exp(
            -((window.depth_mm / uniform(rng, 1.5, 3.5)) ** 2)
        )
    if happens(config.edge):
        surface = torch.exp(-((window.depth_mm / uniform(rng, 2, 5)) ** 2))
        for _ in range(1 + integer(rng, 4)):
            z = z + uniform(rng, 1.5, 6.0) * ball(side, uniform(rng, 1.5, 4), rng, surface) * surface.sqrt()
    if happens(config.ventricle):
        near = blur((original < -2.2).float() * (window.depth_mm > 15), 1.5)
        z = z + uniform(rng, 0.4, 2.5) * region() * 4 * near * (1 - near)
    if happens(config.flow):
        fluid = torch.sigmoid(
            3 * (uniform(rng, -1.8, -0.8) - original)
        )  # pure, or mixed with tissue in a voxel
        for _ in range(1 + integer(rng, 3)):
            z = z + uniform(rng, 1.5, 6.0) * ball(side, uniform(rng, 2, 7), rng, fluid) * fluid
    if happens(config.flare):
        unlikely = torch.exp(-window.place / 30) * ((window.depth_mm > 0) & (window.depth_mm < 16))
        for _ in range(1 + integer(rng, 3)):
            z = z + uniform(rng, 0.6, 2.2) * ball(side, uniform(rng, 2.5, 8), rng, unlikely)
    if happens(config.plexus):
        inside = torch.sigmoid(3 * (-1.2 - original)) * (window.depth_mm > 18)
        for _ in range(1 + integer(rng, 2)):
            z = z + uniform(rng, 1.0, 6.0) * ball(side, uniform(rng, 1.5, 5), rng, inside) * inside.sqrt()
    if happens(config.vessel):
        z = z + _vessels(window, rng)
    return z


def _vessels(window: Window, rng: torch.Generator) -> Tensor:
    """A few short bright lines, 1 to 2 mm thick, within 15 mm of the brain's surface."""
    side = window.depth_mm.shape[0]
    near = ((window.depth_mm > 0) & (window.depth_mm < 15)).float()
    points = torch.zeros_like(near)
    if float(near.sum()) < 100:
        return points
    count = 1 + integer(rng, 4)
    coarse = near[::3, ::3, ::3]
    starts = torch.unravel_index(torch.multinomial(coarse.flatten(), count, generator=rng), coarse.shape)
    steps = torch.arange(uniform(rng, 3, 14), device=rng.device)
    for start in 3 * torch.stack(starts, dim=1):
        direction = torch.randn(3, generator=rng, device=rng.device)
        line = start + steps[:, None] * direction / direction.norm()
        z, y, x = line.round().long().clamp(0, side - 1).unbind(1)
        points[z, y, x] = uniform(rng, 3, 14)
    return blur(points, uniform(rng, 0.6, 0.9))
