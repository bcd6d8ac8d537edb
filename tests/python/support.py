"""What the tests share."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import nn

MODELS = pathlib.Path(__file__).parents[1] / "data" / "models"
#: For calls whose peers are all there: long enough for a busy machine, short enough for a test.
TIMEOUT = 60.0


class Scheduler:
    """No module, and it holds a tensor."""

    def __init__(self) -> None:
        self.sigmas = torch.linspace(0, 1, 7) ** 2


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(width, 3 * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.to_qkv(self.norm(x)).chunk(3, -1)[0]


class Net(nn.Module):
    """Ties, a buffer of each kind, and tensors that nobody registered."""

    def __init__(self, width: int = 8, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(16, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 16, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.tensor([2.0]))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("freqs", torch.arange(width) / 3, persistent=False)
        self.mask = torch.ones(width, width).tril()
        self.scheduler = Scheduler()
        self.extra = {"tables": [torch.randn(3)]}

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids) * self.scale + self.freqs
        for block in self.blocks:
            x = block(x)
        return self.head(x) @ torch.eye(16)


def seeded(seed: int = 5) -> Net:
    """The same on every rank."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net()


def named(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    a, b = (t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(a, b)


def differences(a: nn.Module, b: nn.Module) -> list[str]:
    """Names of parameters and buffers that are not the same bits, or are in one alone."""
    left, right = dict(named(a)), dict(named(b))
    return sorted(
        name
        for name in left.keys() | right.keys()
        if name not in left or name not in right or not same_bits(left[name], right[name])
    )


def same_on_all_ranks(module: nn.Module) -> bool:
    """Whether all ranks hold the same bits; collective."""
    own = [tensor.detach().float().cpu().numpy().tobytes() for _, tensor in named(module)]
    everyone: list[object] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    return all(theirs == everyone[0] for theirs in everyone)


def texts_of_all_ranks(text: str) -> list[str]:
    everyone: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(everyone, text)
    return everyone


def end_process(status: int = 0) -> NoReturn:
    """Ends a rank of torchrun at once.

    Gloo's threads let go of Python's tensors some time after an operation. If Python is ending by
    then, the process is aborted; modules in shards keep these threads until then.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def environment(**more: str) -> dict[str, str]:
    """For a process that imports what tests share."""
    path = [str(pathlib.Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "OMP_NUM_THREADS": "1",
        **more,
    }


def run_python(*arguments: object) -> None:
    """In a process of its own; fails with what it wrote to standard error."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
