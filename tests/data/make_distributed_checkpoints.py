#!/usr/bin/env python3
"""Write small distributed checkpoints, each as a job of its own ranks saves it, with its values.

    pip install "torch==2.11.*" safetensors numpy zstandard
    python make_distributed_checkpoints.py --out dcp

Every folder NAME is a checkpoint; NAME.safetensors beside it holds the whole tensors under the
checkpoint's own names. The values are seeded; ids of a save make the files differ from run to run.

  nested              one process: every dtype, strides, scalars and empty tensors under "model",
                      beside an optimizer's state, numbers and a generator's state
  0000003.net_model   FSDP2 on two ranks, named as FastGen's FSDP checkpointer does: uneven shards,
                      and a tensor of fewer rows than ranks, so that one rank's shard is empty
  mesh                DTensors on a 2 x 2 mesh, two files a rank
  safetensors         FileSystemWriter with SerializationFormat.SAFETENSORS on two ranks
  hf_shards           HuggingFaceStorageWriter(save_distributed=True) on two ranks: no .metadata
  zstd                compressed streams, which are refused
"""
import argparse
import json
import os
import shutil
import struct
import tempfile

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.checkpoint._extension import ZStandard
from torch.distributed.checkpoint.filesystem import SerializationFormat
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16",
    torch.int32: "I32", torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float32: "F32", torch.float64: "F64", torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2"}


def write_expected(path, tensors):
    """safetensors by hand: https://huggingface.co/docs/safetensors/index#format"""
    header, data = {}, b""
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].element_size()):
        flat = tensor.detach().contiguous().reshape(-1)
        raw = bytes(flat.view(torch.uint8).tolist()) if flat.numel() else b""
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def seeded(*shape, dtype=torch.float32):
    return torch.randn(*shape).to(dtype)


def save_nested(rank):
    model = {f"dtype.{name.lower()}": (torch.randn(3, 5) * 4).to(dtype)
             for dtype, name in DTYPES.items()}
    model["scalar"] = torch.tensor(2.5)
    model["empty"] = torch.empty(0, 4)
    model["transposed"] = seeded(4, 6).t()
    model["channels_last"] = seeded(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    model["part"] = seeded(6, 8)[2:4, 1:5]
    model["blocks"] = [{"weight": seeded(2, 2)}, {"weight": seeded(2, 2)}]
    optim = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": seeded(3, 5)}},
             "param_groups": [{"lr": 0.1, "params": [0]}]}
    dcp.save({"model": model, "optim": optim, "step": 3, "rng": torch.get_rng_state()},
             checkpoint_id="nested", no_dist=True)
    blocks = model.pop("blocks")
    for i, block in enumerate(blocks):
        model[f"blocks.{i}.weight"] = block["weight"]
    return {"model." + name: tensor for name, tensor in model.items()} | {
        "optim.state.0.step": optim["state"][0]["step"],
        "optim.state.0.exp_avg": optim["state"][0]["exp_avg"], "rng": torch.get_rng_state()}


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.register_buffer("counter", torch.tensor([41]))


class Network(nn.Module):
    """A transformer inside FastGen's wrapper, which has a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.transformer = Block(7)
        self.logvar = nn.Linear(7, 1)


def save_fsdp(rank):
    network = Network()
    whole = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    mesh = init_device_mesh("cpu", (2,))
    fully_shard(network.transformer, mesh=mesh)
    fully_shard(network, mesh=mesh)
    writer = dcp.FileSystemWriter("0000003.net_model")
    dcp.save(get_model_state_dict(network), storage_writer=writer)
    return whole


def save_mesh(rank):
    mesh = init_device_mesh("cpu", (2, 2))
    layouts = {
        "both": (seeded(5, 6), [Shard(0), Shard(1)]),
        "hybrid": (seeded(5, 3, dtype=torch.bfloat16), [Replicate(), Shard(0)]),
        "columns": (seeded(5, 3), [Shard(1), Replicate()]),
        "replicated": (seeded(4), [Replicate(), Replicate()]),
        "volume": (seeded(3, 4, 5), [Shard(2), Shard(1)]),
        "twice": (seeded(7), [Shard(0), Shard(0)]),
        "few": (seeded(1, 2), [Shard(0), Shard(0)]),
        "counts": (torch.arange(6).reshape(3, 2), [Shard(1), Shard(0)]),
        "fp8": (seeded(4, 3).to(torch.float8_e4m3fn), [Replicate(), Shard(0)]),
    }
    whole = {name: tensor for name, (tensor, _) in layouts.items()}
    state = {}
    for name, (tensor, placements) in layouts.items():
        if tensor.dtype == torch.float8_e4m3fn:  # gloo does not move it
            state[name] = distribute_tensor(tensor.view(torch.uint8), mesh, placements).view(
                tensor.dtype)
        else:
            state[name] = distribute_tensor(tensor, mesh, placements)
    dcp.save(state, storage_writer=dcp.FileSystemWriter("mesh", thread_count=2))
    return whole


def sharded_rows(whole):
    mesh = init_device_mesh("cpu", (2,))
    return {name: distribute_tensor(tensor, mesh, [Shard(0)]) for name, tensor in whole.items()}


def save_safetensors(rank):
    whole = {"a.weight": seeded(5, 3), "a.bias": seeded(5, dtype=torch.bfloat16)}
    writer = dcp.FileSystemWriter("safetensors",
                                  serialization_format=SerializationFormat.SAFETENSORS)
    dcp.save(sharded_rows(whole) | {"step": 3}, storage_writer=writer)
    return whole


def save_hf_shards(rank):
    whole = {"a.weight": seeded(5, 3), "a.bias": seeded(5, dtype=torch.bfloat16)}
    writer = HuggingFaceStorageWriter("hf_shards", save_distributed=True)
    dcp.save(sharded_rows(whole), storage_writer=writer)
    return whole


def save_zstd(rank):
    dcp.save({"a": torch.zeros(2)},
             storage_writer=dcp.FileSystemWriter("zstd", _extensions=[ZStandard()]))


JOBS = {"nested": (1, save_nested), "0000003.net_model": (2, save_fsdp), "mesh": (4, save_mesh),
        "safetensors": (2, save_safetensors), "hf_shards": (2, save_hf_shards),
        "zstd": (1, save_zstd)}


def run_rank(rank, name, ranks, store):
    dist.init_process_group("gloo", init_method=f"file://{store}/{name}", rank=rank,
                            world_size=ranks)
    torch.manual_seed(sorted(JOBS).index(name))
    whole = JOBS[name][1](rank)
    if rank == 0 and whole:
        write_expected(f"{name}.safetensors", whole)
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    out = parser.parse_args().out
    os.makedirs(out, exist_ok=True)
    os.chdir(out)  # a save notes its path: keep it relative
    for name, (ranks, _) in JOBS.items():
        shutil.rmtree(name, ignore_errors=True)
        with tempfile.TemporaryDirectory() as store:
            mp.spawn(run_rank, (name, ranks, store), nprocs=ranks)
        print(name, sum(entry.stat().st_size for entry in os.scandir(name)), "bytes")


if __name__ == "__main__":
    main()
