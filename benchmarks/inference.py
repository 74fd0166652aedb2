"""Ours against what others would use: the shipped ensemble, in windows over one prepared pair.

    python -m app prepare -t1 study1_FLAIR.nii.gz -t2 study2_FLAIR.nii.gz -o runs/pair01    # patient 01
    make peers
    .venv-peers/bin/python -m benchmarks.inference --pair runs/pair01

The peers: MONAI's SlidingWindowInferer as its users call it (Gaussian weights, four windows at a time) over
the whole head, over the brain's bounding box, and over the whole head with our settings (memory format,
bfloat16, malloc); nnU-Net's predictor over the bounding box, to which it crops by itself. Networks, window
and overlap are the same. Every method has a process of its own, and they take turns. Last, the same windows
and equal weights for all (each has a Gaussian of its own), to see that they blend alike.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from app.__main__ import MALLOC
from app.arrays import Array, Mask
from app.config import OperatingPoint
from app.images import grids, storage
from app.machine import choose_device, use_threads
from app.method import predictor
from app.method.predictor import Predictor, sliding_window
from benchmarks.measuring import Cost, Worker, answer_when_asked, cost, heading
from training import operating_points

Method = Callable[[Array, Mask], Array]  # channels (2, z, y, x) and brain (z, y, x) -> probability (z, y, x)
Blend = Callable[[Tensor], Tensor]  # channels (2, z, y, x) -> probabilities of both classes (2, z, y, x)

OURS = ("ours", "ours, float32")
METHODS = (*OURS, "MONAI", "MONAI, brain's box", "MONAI, our settings", "nnU-Net, brain's box")
WITH_MALLOC = {*OURS, "MONAI, our settings"}
WEIGHTS = Path("weights")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pair", type=Path, required=True, help="folder that `python -m app prepare` wrote")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--threads",
        type=int,
        help="1 where other work runs: threads that wait for each other use the processor too",
    )
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)  # a worker of this benchmark
    parser.add_argument("--save", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    threads = use_threads(arguments.threads)
    if arguments.method:
        work(arguments.method, arguments.pair, arguments.save)
    else:
        compare(arguments.pair, arguments.rounds, threads)


def compare(pair: Path, rounds: int, threads: int) -> None:
    """All methods in turns, and the tables."""
    channels, brain = read_pair(pair)
    ours = Predictor.from_folder(WEIGHTS, choose_device("auto"))
    windows = ours.config.windows
    shape = " x ".join(map(str, brain.shape))
    print(
        f"{heading()}, {threads} threads\n{shape} voxels, windows of {windows.side}^3, overlap "
        f"{windows.overlap}; {rounds} rounds\n"
    )
    answers, probabilities = ask_in_turns(pair, rounds, threads)
    medians = {
        name: [statistics.median(answer[key] for answer in answers[name]) for key in ("wall_s", "cpu_s")]
        for name in METHODS
    }
    print(
        "| method | windows | s: wall, CPU | times ours: wall, CPU | MiB above the input | lesions "
        "(ours has) | greatest difference from ours |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in METHODS:
        ratios = [mine / theirs for mine, theirs in zip(medians[name], medians["ours"], strict=True)]
        found, shared, wanted = lesions_shared(
            probabilities[name], probabilities["ours"], channels, ours.config.point
        )
        print(
            f"| {name} | {answers[name][0]['windows']} | {medians[name][0]:.1f}, "
            f"{medians[name][1]:.1f} | {ratios[0]:.2f}, {ratios[1]:.2f} "
            f"| {answers[name][0]['above_mib']:.0f} | {found}, {shared} shared ({wanted}) "
            f"| {np.abs(probabilities[name] - probabilities['ours']).max():.3f} |"
        )
    all_s = medians["ours"][0 if ours.device.type == "cuda" else 1]
    print_one_window(ours, channels, brain, answers["ours"][0]["windows"], all_s)


def ask_in_turns(
    pair: Path, rounds: int, threads: int
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Array]]:
    """What each method's process measured, a round each in turn, and its probabilities (z, y, x)."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        saved = {name: Path(folder) / f"{number}.npy" for number, name in enumerate(METHODS)}
        workers = {}
        for name, path in saved.items():
            options = {"--pair": pair, "--threads": threads, "--method": name, "--save": path}
            words = [str(word) for option in options.items() for word in option]
            malloc = {"GLIBC_TUNABLES": MALLOC if name in WITH_MALLOC else ""}
            workers[name] = Worker("benchmarks.inference", words, malloc)
        for _ in range(rounds):
            for name, worker in workers.items():
                answers[name].append(worker())
                print(name, answers[name][-1], file=sys.stderr, flush=True)
        for worker in workers.values():
            worker.stop()
        return answers, {name: np.load(path) for name, path in saved.items()}


def print_one_window(ours: Predictor, channels: Array, brain: Mask, count: int, all_s: float) -> None:
    """What the network alone costs, of the seconds that `count` windows took."""
    alone_s, operations, share = one_window(ours, channels, brain)
    print(
        f"\nOurs takes {all_s / (count * alone_s):.2f} times {count} windows of "
        f"{1000 * alone_s:.0f} ms (networks alone; CPU time, or wall on a GPU)."
    )
    print(
        f"That is {operations / 1e9:.1f} GFLOP a window, at {share:.0%} of the rate of a large "
        "matrix product of the same type.\n"
    )
    print("| same windows, equal weights, float32 | greatest difference from ours |\n|---|---|")
    for name, difference in differences(ours, channels, brain).items():
        print(f"| {name} | {difference:.1e} |")


def read_pair(folder: Path) -> tuple[Array, Mask]:
    """Channels (2, z, y, x) and brain (z, y, x), as Pair.channels gives them."""
    baseline, followup, brain = (
        grids.array(storage.read(folder / f"{name}.nii.gz")) for name in ("baseline", "followup", "brain")
    )
    inside = brain > 0
    return np.stack([baseline, followup]).astype(np.float32) * inside, inside


def work(name: str, pair: Path, save: Path) -> None:
    """Measure one method whenever the parent asks."""
    channels, brain = read_pair(pair)
    ours = Predictor.from_folder(WEIGHTS, choose_device("auto"))
    windows: list[int] = []
    ours.networks[0].register_forward_pre_hook(lambda _network, inputs: windows.append(len(inputs[0])))
    method = method_of(name, ours)

    def measure() -> dict[str, Any]:
        windows.clear()
        found: list[Array] = []
        spent = cost(lambda: found.append(method(channels, brain)), ours.device.type)
        np.save(save, found[0])
        return {**asdict(spent), "windows": sum(windows)}

    answer_when_asked(measure)


def method_of(name: str, ours: Predictor) -> Method:
    """One of METHODS, all with the networks of `ours`."""
    if name == "ours":
        return ours
    if name == "ours, float32":
        return Predictor(ours.networks, ours.config, ours.device, bfloat16=False)
    softmax = Softmax(ours, with_our_settings="our settings" in name)
    blend = monai(softmax, ours) if name.startswith("MONAI") else nnunet(softmax, ours)

    def run(channels: Array, brain: Mask) -> Array:
        box = ndimage.find_objects(brain.astype(np.uint8))[0] if "box" in name else (slice(None),) * 3
        probability = np.zeros(brain.shape, np.float32)
        with torch.inference_mode():
            probability[box] = blend(torch.from_numpy(channels[:, *box]))[1].float().cpu().numpy()
        return probability * brain

    return run


class Softmax(nn.Module):
    """The ensemble of `ours` as the peers call it: windows (B, 2, D, H, W) to the mean probabilities of both
    classes.
    """

    def __init__(self, ours: Predictor, with_our_settings: bool) -> None:
        super().__init__()
        self.with_our_settings = with_our_settings
        memory_format = torch.channels_last_3d if with_our_settings else torch.contiguous_format
        self.networks = nn.ModuleList(ours.networks).to(ours.device, memory_format=memory_format)

    def forward(self, windows: Tensor) -> Tensor:
        if self.with_our_settings:
            windows = windows.contiguous(memory_format=torch.channels_last_3d)
        bfloat16 = self.with_our_settings and predictor.has_fast_bfloat16(windows.device)
        with torch.autocast(windows.device.type, torch.bfloat16, enabled=bfloat16):
            return torch.stack([network(windows).float().softmax(dim=1) for network in self.networks]).mean(
                dim=0
            )


def monai(network: nn.Module, ours: Predictor, gaussian: bool = True) -> Blend:
    from monai.inferers import SlidingWindowInferer

    windows = ours.config.windows
    infer = SlidingWindowInferer(
        (windows.side,) * 3,
        sw_batch_size=4,
        overlap=windows.overlap,
        mode="gaussian" if gaussian else "constant",
    )
    return lambda volume: infer(volume[None].to(ours.device), network)[0]


def nnunet(network: nn.Module, ours: Predictor, gaussian: bool = True) -> Blend:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    windows = ours.config.windows
    theirs = nnUNetPredictor(
        1 - windows.overlap, use_gaussian=gaussian, use_mirroring=False, device=ours.device, allow_tqdm=False
    )
    theirs.network = network
    theirs.configuration_manager = SimpleNamespace(patch_size=[windows.side] * 3)
    theirs.label_manager = SimpleNamespace(num_segmentation_heads=2)
    theirs.allowed_mirroring_axes = None
    return theirs.predict_sliding_window_return_logits


def lesions_shared(
    probability: Array, other: Array, channels: Array, point: OperatingPoint
) -> tuple[int, int, int]:
    """How many lesions a map has at the shipped operating point, how many of these touch one of the other
    map, and how many that has.
    """
    mask, wanted = (operating_points.found(values, channels, point) for values in (probability, other))
    labels, count = ndimage.label(mask)
    return count, len(np.unique(labels[mask & wanted])), ndimage.label(wanted)[1]


def one_window(ours: Predictor, channels: Array, brain: Mask) -> tuple[float, float, float]:
    """CPU seconds of one window alone (best of five), its floating-point operations, and its rate as a share
    of that of a large matrix product.
    """
    middle = [int(position) for position in ndimage.center_of_mass(brain)]
    half = ours.config.windows.side // 2
    window = torch.from_numpy(channels[:, *(slice(centre - half, centre + half) for centre in middle)])
    batch = predictor.GPU_BATCH if ours.device.type == "cuda" else predictor.CPU_BATCH
    windows = torch.stack([window] * batch).to(ours.device).contiguous(memory_format=torch.channels_last_3d)
    networks = [network.to(ours.device) for network in ours.networks]
    bfloat16 = predictor.has_fast_bfloat16(ours.device)
    with torch.inference_mode(), torch.autocast(ours.device.type, torch.bfloat16, enabled=bfloat16):

        def run() -> None:
            for network in networks:
                network(windows)

        with FlopCounterMode(display=False) as counted:
            run()
        seconds = min(spent(cost(run, ours.device.type, warm=True), ours) for _ in range(5)) / batch
    operations = counted.get_total_flops() / batch

    side = 8192 if ours.device.type == "cuda" else 2048
    matrix = torch.rand(side, side, dtype=torch.bfloat16 if bfloat16 else torch.float32, device=ours.device)
    product_s = min(spent(cost(lambda: matrix @ matrix, ours.device.type, warm=True), ours) for _ in range(5))
    return seconds, operations, operations / seconds / (2 * side**3 / product_s)


def spent(found: Cost, ours: Predictor) -> float:
    """The seconds that count: the processor's, or the clock's where a GPU works."""
    return found.wall_s if ours.device.type == "cuda" else found.cpu_s


def differences(ours: Predictor, channels: Array, brain: Mask) -> dict[str, float]:
    """Greatest difference of each peer from ours in float32, over a part of the brain as long as a window and
    two steps: all place windows alike.
    """
    windows = ours.config.windows
    side = windows.side + 2 * round(windows.side * (1 - windows.overlap))
    middle = [int(position) - side // 2 for position in ndimage.center_of_mass(brain)]
    part = torch.from_numpy(channels[:, *(slice(start, start + side) for start in middle)])
    softmax = Softmax(ours, with_our_settings=False)
    predictor._gaussian = lambda window: torch.ones([window] * 3)
    with torch.inference_mode():
        wanted = sliding_window(part.to(ours.device), softmax, windows.side, windows.overlap)[1].cpu()
        found = {
            "MONAI": monai(softmax, ours, False)(part),
            "nnU-Net, which blends in float16": nnunet(softmax, ours, False)(part),
        }
    return {name: float((values[1].float().cpu() - wanted).abs().max()) for name, values in found.items()}


if __name__ == "__main__":
    main()
