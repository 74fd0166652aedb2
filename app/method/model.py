"""The network: a 3-D U-Net that sees both scans and marks what is new."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from ..config import NetworkConfig


class UNet3D(nn.Module):
    """U-Net of Kamraoui et al. (MSSEG-2, 2021), Fig. 1.

    Each convolution is 3x3x3 with padding 1, follows a GroupNorm (but for the first and the last) and is
    followed by a ReLU (but for the last). Dropout after each max-pooling; trilinear upsampling, then
    concatenation with the skip. With the default config: conv 2->24, 24->48 | 48->48, 48->96 | 96->96,
    96->192 | 192->384 | 576->192 | 288->96 | 144->96 | 96->2.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        f, groups = config.features, config.groups
        widths = [
            f * 2 ** (level + 1) for level in range(config.levels)
        ]  # channels of each skip: 48, 96, 192

        first = nn.Sequential(nn.Conv3d(config.channels_in, f, 3, padding=1), nn.ReLU(inplace=True))
        self.encoder = nn.ModuleList([nn.Sequential(first, _convolution(f, widths[0], groups))])
        for above, width in pairwise(widths):
            self.encoder.append(
                nn.Sequential(_convolution(above, above, groups), _convolution(above, width, groups))
            )
        self.pool = nn.Sequential(nn.MaxPool3d(2), nn.Dropout(config.dropout))
        self.bottom = _convolution(widths[-1], 2 * widths[-1], groups)

        self.decoder = nn.ModuleList()
        below = 2 * widths[-1]
        for level, skip in reversed(list(enumerate(widths))):
            out = skip if level > 0 else 2 * skip  # 192, 96, 96
            self.decoder.append(_convolution(below + skip, out, groups))
            below = out
        self.upsample = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        self.last = nn.Conv3d(below, config.channels_out, 3, padding=1)

    def forward(self, scans: Tensor) -> Tensor:
        """(B, channels_in, D, H, W) -> logits (B, channels_out, D, H, W).

        D, H and W are multiples of 2**levels; ValueError otherwise.
        """
        multiple = 2**self.config.levels
        if any(side % multiple for side in scans.shape[2:]):
            raise ValueError(f"sides {tuple(scans.shape[2:])} must be multiples of {multiple}")
        x = scans
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for stage in self.decoder:
            x = stage(torch.cat([self.upsample(x), skips.pop()], dim=1))
        logits: Tensor = self.last(x)
        return logits


def _convolution(channels_in: int, channels_out: int, groups: int) -> nn.Sequential:
    return nn.Sequential(
        nn.GroupNorm(groups, channels_in),
        nn.Conv3d(channels_in, channels_out, 3, padding=1),
        nn.ReLU(inplace=True),
    )
