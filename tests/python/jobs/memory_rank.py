"""A rank that fills a module in shards, one way after the other; rank 0 prints how the memory of all
ranks grew with each, in JSON.

memory_rank.py TEACHER, under torchrun
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


def smaps() -> dict[str, int]:
    """Bytes of this process: of its own, anonymous, and its share of what is of files."""
    lines = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    found = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}
    return {
        "private": found["Private_Clean"] + found["Private_Dirty"],
        "anonymous": found["Anonymous"],
        "share": found["Pss"],
        "share of files": found["Pss_File"],
    }


def resident(field: str) -> int:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    raise KeyError(field)


class Sampler(threading.Thread):
    """Looks at smaps again and again. What comes and goes between two looks it does not see."""

    def __init__(self) -> None:
        super().__init__()
        self._ended = threading.Event()
        self.looks = 0
        self.peaks = smaps()

    def run(self) -> None:
        while not self._ended.wait(0.001):
            self.looks += 1
            for name, value in smaps().items():
                self.peaks[name] = max(self.peaks[name], value)

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
    before = smaps()
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    resident_before = resident("VmHWM")
    sampler = Sampler()
    sampler.start()
    filled = fill(teacher, read, dim, DEPTH)
    resident_peak = resident("VmHWM")
    sampler.end()
    after = smaps()
    return {
        "rank": rank,
        "read": read,
        "dim": dim,
        "right": all(
            torch.equal(parameter.to_local(), value_of(layer).chunk(ranks, dim)[rank])
            for layer, parameter in enumerate(filled.parameters())
        ),
        "looks": sampler.looks,
        "resident peak": resident_peak - resident_before,
        "peak": {name: sampler.peaks[name] - before[name] for name in before},
        "after": {name: after[name] - before[name] for name in before},
    }


def main() -> None:
    dist.init_process_group("gloo")
    own = [growth(sys.argv[1], read, dim) for read, dim in WAYS]
    everyone: list[object] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    if dist.get_rank() == 0:
        print(json.dumps(everyone), flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
