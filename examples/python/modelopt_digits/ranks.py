"""The ranks of a job: each in a process of its own, or all of them in one."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.distributed as dist

Value = TypeVar("Value")


class Rank:
    """What a rank has to itself: its random numbers."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self._state = torch.Generator().manual_seed(seed).get_state()
        self._gpu_state = (
            torch.Generator(device).manual_seed(seed).get_state() if device.type == "cuda" else None
        )

    @contextlib.contextmanager
    def drawing(self) -> Iterator[None]:
        """Inside, torch's default generators are this rank's, wherever their last use left them."""
        torch.set_rng_state(self._state)
        if self._gpu_state is not None:
            torch.cuda.set_rng_state(self._gpu_state)
        yield
        self._state = torch.get_rng_state()
        if self._gpu_state is not None:
            self._gpu_state = torch.cuda.get_rng_state()


class Ranks:
    """All ranks, of which this process does the work of one, or of all.

    Args:
        seed: of the first rank; each of the others has the next one.
        in_this_process: how many ranks there are, all of them here, without torch.distributed.
            None joins the job of torchrun as one rank.
        device: "cpu", or "cuda", which is the GPU of torchrun's local rank.
    """

    def __init__(self, seed: int, in_this_process: int | None = None, device: str = "cpu") -> None:
        self.device = torch.device(device)
        if device == "cuda":
            self.device = torch.device(device, int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(self.device)
        if in_this_process is None:
            dist.init_process_group("nccl" if device == "cuda" else "gloo")
            self.count = dist.get_world_size()
            first, here = dist.get_rank(), 1
        else:
            self.count = in_this_process
            first, here = 0, in_this_process
        self.here = [Rank(seed + index, self.device) for index in range(first, first + here)]
        self.first_is_here = first == 0

    def gather(self, here: list[Value]) -> list[Value]:
        """The lists of all processes, one after the other."""
        if not dist.is_initialized():
            return here
        lists: list[list[Value]] = [[] for _ in range(self.count)]
        dist.all_gather_object(lists, here)
        return [value for values in lists for value in values]

    def mean(self, here: list[torch.Tensor]) -> torch.Tensor:
        """The mean over all ranks. Of two, it has the same bits in one process and in two."""
        total = functools.reduce(torch.add, here)
        if dist.is_initialized():
            dist.all_reduce(total)
        return total / self.count

    def leave(self) -> None:
        """Ends this process's part in the job."""
        if dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()

    def end(self) -> None:
        """Ends a process of a job, at once.

        Gloo's threads let go of Python's tensors some time after an operation. If Python is ending
        by then, the process is aborted; modules in shards keep these threads until then.
        """
        if len(self.here) < self.count:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
