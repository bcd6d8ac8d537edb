"""A rank that fills a module in shards, in one way after the other.

Writes how its memory grew with each, to a file of JSON that its number is the name of.

memory_rank.py TEACHER FOLDER, under torchrun
"""

import ctypes
import gc
import json
import pathlib
import sys
import threading

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard

import fakescore
from support import end_process

WIDTH = 2048
DEPTH = 16
MODEL_BYTES = DEPTH * WIDTH * WIDTH * 4
#: Who reads, and the dimension that is sharded.
WAYS = [("all", 0), ("all", 1), ("root", 0), ("root", 1)]


def build(depth: int = DEPTH) -> nn.Module:
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(depth)))


def value_of(layer: int) -> torch.Tensor:
    """Unlike in each row, column and layer."""
    row = torch.arange(WIDTH, dtype=torch.float32)
    return torch.outer(row + 1, row * 2**-11 + 1) + layer


def shard(module: nn.Module, dim: int) -> None:
    for part in (*module, module):
        fully_shard(part, shard_placement_fn=lambda parameter: Shard(dim))


def anonymous() -> int:
    """Bytes that are of no file, by smaps.

    Its share of files' pages changes as other processes of the machine map them: `resident_peak`
    counts such pages in full.
    """
    rollup = pathlib.Path("/proc/self/smaps_rollup").read_text()
    return int(rollup.split("Anonymous:")[1].split()[0]) << 10


def resident_peak() -> int:
    """Bytes, pages of mapped files included. The kernel's own count: no peak escapes it."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


class Sampler(threading.Thread):
    """Looks at smaps again and again. What comes and goes between two looks it does not see."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = threading.Event()
        self.peak = anonymous()

    def run(self) -> None:
        while not self._ended.wait(0.001):
            self.peak = max(self.peak, anonymous())

    def end(self) -> None:
        self._ended.set()
        self.join()


def fill(teacher: str, read: str, dim: int, depth: int) -> nn.Module:
    filled = fakescore.create_fake_score_meta(
        lambda: build(depth),
        teacher,
        shard=lambda module: shard(module, dim),
        read=read,
        timeout=60,
        progress=False,
    )
    assert fakescore.last_report().read == read
    return filled


def growth(teacher: str, read: str, dim: int) -> dict[str, object]:
    rank, ranks = dist.get_rank(), dist.get_world_size()
    # What is of a process's first call: threads, connections, modules of Python.
    fill(teacher, read, dim, depth=1)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or the call would grow into what an earlier one has left
    dist.barrier()
    before = anonymous()
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    resident = resident_peak()
    sampler = Sampler()
    sampler.start()
    filled = fill(teacher, read, dim, DEPTH)
    resident = resident_peak() - resident
    sampler.end()
    after = anonymous()
    return {
        "rank": rank,
        "read": read,
        "dim": dim,
        "right": all(
            torch.equal(parameter.to_local(), value_of(layer).chunk(ranks, dim)[rank])
            for layer, parameter in enumerate(filled.parameters())
        ),
        "resident peak": resident,
        "anonymous peak": sampler.peak - before,
        "anonymous after": after - before,
    }


def main() -> None:
    dist.init_process_group("gloo")
    own = [growth(sys.argv[1], read, dim) for read, dim in WAYS]
    pathlib.Path(sys.argv[2], f"{dist.get_rank()}.json").write_text(json.dumps(own))
    dist.barrier()
    dist.destroy_process_group()
    end_process()


if __name__ == "__main__":
    main()
