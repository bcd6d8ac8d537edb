#!/usr/bin/env python3
"""One rank of a job under torchrun that loads a teacher's file once, the way another tool does.

Rank 0 prints a line of JSON: seconds from all ranks being there to all ranks holding the weights on
their device, and whether each rank then held the file's bytes. The limits move the same number of
bytes, and nothing else.
"""
import argparse
import json
import os
import pathlib
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

PINNED_BYTES = 64 << 20
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16,
          "BF16": torch.bfloat16}
Tensors = dict[str, torch.Tensor]


@dataclass
class Job:
    path: pathlib.Path
    device: torch.device
    rank: int
    header: dict[str, dict] = field(init=False)

    def __post_init__(self) -> None:
        with open(self.path, "rb") as file:
            self.header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        self.header.pop("__metadata__", None)

    @property
    def bytes(self) -> int:
        return max(entry["data_offsets"][1] for entry in self.header.values())


def meta_module(job: Job) -> torch.nn.Module:
    """A module of the file's names, shapes and dtypes, without storage."""
    root = torch.nn.Module()
    for name, entry in job.header.items():
        *path, leaf = name.split(".")
        owner = root
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, torch.nn.Module())
            owner = owner.get_submodule(part)
        owner.register_parameter(leaf, torch.nn.Parameter(
            torch.empty(entry["shape"], dtype=DTYPES[entry["dtype"]], device="meta")))
    return root


def set_state_dict(job: Job) -> Tensors:
    module = meta_module(job).to_empty(device=job.device)
    state = load_file(job.path) if job.rank == 0 else {}
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(module, state, options=options)
    return module.state_dict()


def safetensors_each(job: Job) -> Tensors:
    return load_file(job.path, device=str(job.device))


def fastsafetensors_load(job: Job, group: object) -> Tensors:
    from fastsafetensors import SafeTensorsFileLoader

    # It uses GPUDirect Storage where there is any.
    loader = SafeTensorsFileLoader(group, str(job.device))
    loader.add_filenames({0: [str(job.path)]})
    buffer = loader.copy_files_to_device()
    tensors = {name: buffer.get_tensor(name) for name in loader.get_keys()}
    buffer.close()
    loader.close()
    return tensors


def fastsafetensors_each(job: Job) -> Tensors:
    from fastsafetensors import SingleGroup

    return fastsafetensors_load(job, SingleGroup())


def fastsafetensors_broadcast(job: Job) -> Tensors:
    return fastsafetensors_load(job, dist.group.WORLD)


def limit_copy(job: Job) -> Callable[[], None]:
    """From pinned memory to the first rank's device, in pieces as large as the pinned memory."""
    if job.rank != 0:
        return lambda: None
    pinned = torch.ones(PINNED_BYTES, dtype=torch.uint8, pin_memory=True)
    target = torch.empty(job.bytes, dtype=torch.uint8, device=job.device)

    def copy() -> None:
        for piece in target.split(PINNED_BYTES):
            piece.copy_(pinned[:piece.numel()], non_blocking=True)
    return copy


def limit_broadcast(job: Job) -> Callable[[], None]:
    """From one buffer on the first rank's device to one on each of the others."""
    buffer = torch.ones(job.bytes, dtype=torch.uint8, device=job.device)
    return lambda: dist.broadcast(buffer, src=0)


LOADERS = {"set_model_state_dict": set_state_dict, "safetensors": safetensors_each,
           "fastsafetensors": fastsafetensors_each,
           "fastsafetensors_broadcast": fastsafetensors_broadcast}
LIMITS = {"limit_copy": limit_copy, "limit_broadcast": limit_broadcast}


def equals_file(tensors: Tensors, job: Job) -> bool:
    def raw(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)

    with safe_open(job.path, "pt") as file:
        return tensors.keys() == job.header.keys() and all(
            torch.equal(raw(tensor), raw(file.get_tensor(name)))
            for name, tensor in tensors.items())


def timed(job: Job, action: Callable) -> tuple[float, object]:
    torch.cuda.synchronize()
    dist.barrier()
    begin = time.perf_counter()
    result = action()
    torch.cuda.synchronize()
    dist.barrier()
    return time.perf_counter() - begin, result


def run(name: str, job: Job) -> dict:
    if name in LIMITS:
        seconds, _ = timed(job, LIMITS[name](job))
        return {"name": name, "seconds": seconds, "bytes": job.bytes}
    seconds, tensors = timed(job, lambda: LOADERS[name](job))
    # As numbers, since the backends have no reduction of truth.
    same = torch.tensor(int(equals_file(tensors, job)), device=job.device)
    dist.all_reduce(same, op=dist.ReduceOp.MIN)
    return {"name": name, "seconds": seconds, "bytes": job.bytes, "equals_file": bool(same.item())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*LOADERS, *LIMITS])
    parser.add_argument("--teacher", type=pathlib.Path, required=True)
    args = parser.parse_args()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", device_id=device)
    job = Job(args.teacher, device, dist.get_rank())
    # Connections and contexts are made once in a process and shall not count.
    dist.broadcast(torch.ones(1 << 16, device=device), src=0)
    result = run(args.name, job)
    if job.rank == 0:
        print(json.dumps(result), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
