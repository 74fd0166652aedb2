"""Several training processes as one: torchrun starts them, one a GPU; without torchrun there is one, and
nothing here does anything.
"""

import os
from typing import Any

import torch
from torch import Tensor, distributed

from app.errors import InputError


def join(name: str) -> torch.device:
    """Meet the other processes that torchrun started; the device of this one.

    `name` is "cpu", "cuda" (this process's own GPU) or "auto": the GPU where there is one. Raises InputError
    for a GPU that is not there.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError("--device cuda: torch sees no GPU; wanted cpu, or a machine with one")
    kind = "cuda" if there and name != "cpu" else "cpu"
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return torch.device(kind)
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    return torch.device(kind, int(os.environ["LOCAL_RANK"])) if kind == "cuda" else torch.device(kind)


def leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def count() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """0 for the process that validates and writes; it alone has rank 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, with its gradient: a loss made of such sums is that of the whole batch,
    wherever its patches lie.
    """
    if count() == 1:
        return values
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


def first_says(yes: bool, device: torch.device) -> bool:
    """What the process of rank 0 says, in all of them."""
    if count() == 1:
        return yes
    answer = torch.tensor(int(yes), device=device)
    distributed.broadcast(answer, src=0)
    return bool(answer)


class _Sum(torch.autograd.Function):
    """Sum over the processes.

    Each of them computes the same loss from it, so the gradients are summed too.
    """

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total
