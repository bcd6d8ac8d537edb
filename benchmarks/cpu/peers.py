#!/usr/bin/env python3
"""Gives every rank a copy of a teacher the way a Python program does today, once, and prints a line
of JSON with the fields of load_benchmark's (benchmarks/README.md).

A rank is a fork of one process that has done all imports. What these ways leave wrong by themselves
(ties that to_empty or an assignment breaks, rotary tables that no file holds) is mended within the
time, as a user must.
"""
import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import pathlib
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.utils import _sync_module_states

import machine
from teacher_module import Structure, TeacherModule, build, read_structure, rotary_tables

PAGE_BYTES = 4096
BLOCK_BYTES = 512
COALESCED_BYTES = 250 << 20  # what FSDP1 and DDP pass


@dataclass
class Job:
    teacher: pathlib.Path
    structure: Structure
    rank: int
    ranks: int
    phases: dict[str, float] = field(default_factory=dict)
    last: float = 0

    def mark(self, phase: str) -> None:
        """Ends a phase."""
        now = time.perf_counter()
        self.phases[phase] = self.phases.get(phase, 0) + now - self.last
        self.last = now

    def on_meta(self) -> TeacherModule:
        module = build(self.structure, "meta")
        self.mark("build")
        return module

    def mended(self, module: TeacherModule) -> TeacherModule:
        module.tie()
        module.reset_buffers()
        return module

    def empty(self) -> TeacherModule:
        module = self.mended(self.on_meta().to_empty(device="cpu"))
        self.mark("to_empty")
        return module

    def assigned(self) -> TeacherModule:
        """Its weights are the mapped file's pages."""
        module = self.on_meta()
        module.load_state_dict(load_file(self.teacher), strict=False, assign=True)
        self.mark("assign")
        return self.mended(module)


def load_state_dict_copy(job: Job) -> TeacherModule:
    module = job.empty()
    module.load_state_dict(load_file(job.teacher), strict=False)
    return module


def load_state_dict_assign(job: Job) -> TeacherModule:
    return job.assigned()


def set_state_dict(job: Job) -> TeacherModule:
    module = job.on_meta()
    state = load_file(job.teacher) if job.rank == 0 else {}
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
    set_model_state_dict(module, state, options=options)
    return job.mended(module)


def broadcast_each(job: Job) -> TeacherModule:
    module = job.assigned() if job.rank == 0 else job.empty()
    for parameter in module.parameters():
        dist.broadcast(parameter.data, src=0)
    for buffer in module.buffers():
        dist.broadcast(buffer, src=0)
    return module


def broadcast_coalesced(job: Job) -> TeacherModule:
    module = job.assigned() if job.rank == 0 else job.empty()
    _sync_module_states(module, dist.group.WORLD, COALESCED_BYTES, 0, ())
    return module


PEERS: dict[str, Callable[[Job], TeacherModule]] = {
    peer.__name__: peer for peer in (load_state_dict_copy, load_state_dict_assign, set_state_dict,
                                     broadcast_each, broadcast_coalesced)}


def kibibytes(path: str, *keys: str) -> int:
    """The bytes of lines "KEY: N kB" together."""
    with open(path) as file:
        values = dict(line.split(":", 1) for line in file if line.count(":") == 1)
    return sum(int(values[key].split()[0]) for key in keys) << 10


def anonymous_bytes() -> int:
    return kibibytes("/proc/self/smaps_rollup", "Pss_Anon", "Pss_Shmem")


class AnonymousPeak:
    """While entered, a thread reads anonymous_bytes(): not for runs that are timed."""

    def __enter__(self) -> "AnonymousPeak":
        self.bytes = anonymous_bytes()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def sample(self) -> None:
        while not self.stop.wait(0.002):
            self.bytes = max(self.bytes, anonymous_bytes())

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def raw(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def compare(module: TeacherModule, job: Job) -> dict:
    state = module.state_dict()
    first = ""
    with safe_open(job.teacher, "pt") as file:
        for name in file.keys():
            want, got = file.get_tensor(name), state[name]
            if got.is_meta or got.dtype != want.dtype or not torch.equal(raw(got), raw(want)):
                first = first or name
    tables = module.rope.freqs_cos, module.rope.freqs_sin
    return {"first_difference": first,
            "buffers_right": all(not table.is_meta and torch.equal(table, want)
                                 for table, want in zip(tables, rotary_tables())),
            "ties_right": all(module.get_parameter(alias) is module.get_parameter(owner)
                              for alias, owner in module.ties.items())}


def all_pages(module: TeacherModule) -> tuple[torch.Tensor, torch.Tensor]:
    """The process's memory from the module's lowest byte to its highest, and where in it each page
    of the module's begins."""
    tensors = [tensor for tensor in [*module.parameters(), *module.buffers()]
               if not tensor.is_meta and tensor.nbytes > 0]
    low = min(tensor.data_ptr() for tensor in tensors)
    high = max(tensor.data_ptr() + tensor.nbytes for tensor in tensors)
    memory = (ctypes.c_ubyte * (high - low)).from_address(low)
    begins = [torch.arange(tensor.data_ptr() - low, tensor.data_ptr() - low + tensor.nbytes,
                           PAGE_BYTES) for tensor in tensors]
    return torch.frombuffer(memory, dtype=torch.uint8), torch.cat(begins)


def write_first(module: TeacherModule) -> dict:
    """As load_benchmark's: one loop in C++ over all pages, not one call of Python's for each."""
    memory, pages = all_pages(module)
    nothing = torch.zeros(len(pages), dtype=torch.uint8)
    memory.index_add_(0, pages[:0], nothing[:0])  # what torch does at the first such call
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    dist.barrier()
    begin = time.perf_counter()
    memory.index_add_(0, pages, nothing)
    dist.barrier()
    return {"first_write_seconds": time.perf_counter() - begin,
            "first_write_faults": resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults,
            "anonymous_written": anonymous_bytes()}


def load_once(peer: str, job: Job) -> tuple[TeacherModule, dict]:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # a new peak of the resident set
    anonymous_before = anonymous_bytes()
    dist.barrier()
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = job.last = time.perf_counter()
    module = PEERS[peer](job)
    job.mark(peer)
    dist.barrier()
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF)
    return module, {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "faults": after.ru_minflt - before.ru_minflt,
        "disk_bytes": (after.ru_inblock - before.ru_inblock) * BLOCK_BYTES,
        "anonymous_before": anonymous_before, "anonymous_loaded": anonymous_bytes(),
        "resident_peak": kibibytes("/proc/self/status", "VmHWM")}


def size_of(module: TeacherModule) -> dict:
    storages = {tensor.untyped_storage().data_ptr(): tensor.nbytes
                for tensor in [*module.parameters(), *module.buffers()]}
    return {"model_bytes": sum(storages.values()), "tensors": len(storages)}


def run_rank(peer: str, job: Job, sample: bool, store: str, result: Connection) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=job.rank,
                            world_size=job.ranks)
    dist.broadcast(torch.zeros(1), 0)  # opens the connections
    machine.give_pages(job.teacher.stat().st_size, job.ranks, dist.barrier)
    if sample:
        with AnonymousPeak() as peak:
            module, measured = load_once(peer, job)
        measured["anonymous_peak"] = peak.bytes
    else:
        module, measured = load_once(peer, job)
    measured |= write_first(module) | compare(module, job)
    result.send(size_of(module) | {"phases": job.phases, "rank": measured})
    dist.barrier()
    os._exit(0)  # nothing of the fork is to be ended in order


def run(peer: str, args: argparse.Namespace) -> dict:
    structure = read_structure(args.teacher)
    gc.freeze()  # no collection shall copy this process's heap into its forks
    context = multiprocessing.get_context("fork")
    forks = []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(args.ranks):
            receiver, sender = context.Pipe(duplex=False)
            job = Job(args.teacher, structure, rank, args.ranks)
            fork = context.Process(target=run_rank, daemon=True, args=(
                peer, job, args.sample, f"{folder}/store", sender))
            fork.start()
            sender.close()
            forks.append(receiver)
        try:
            results = [fork.recv() for fork in forks]
        except EOFError:
            sys.exit(f"error: a rank of {peer} ended without a result; its message is above")
    phases = {phase: max(result["phases"].get(phase, 0) for result in results)
              for result in results for phase in result["phases"]}
    return {"model_bytes": results[0]["model_bytes"], "tensors": results[0]["tensors"],
            "phases": phases, "by_rank": [result["rank"] for result in results]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--teacher", type=pathlib.Path, required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--sample", action="store_true",
                        help="find the peak of memory, which costs time")
    args = parser.parse_args()
    # A warm-up as load_benchmark's; one OpenMP thread a rank.
    torch.set_num_threads(1)
    torch.nn.Linear(64, 64, dtype=torch.bfloat16)
    print(json.dumps(run(args.peer, args)), flush=True)


if __name__ == "__main__":
    main()
