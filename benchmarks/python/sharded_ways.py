"""The ways to give a job whose module FSDP2 shards a teacher's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file
from teachers import Teacher
from torch import nn
from torch.distributed.checkpoint import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.fsdp import fully_shard
from transformers.distributed import DistributedConfig

import fakescore

_MOST_OF_A_CALL = 1 << 26


def shard(module: nn.Module) -> None:
    """By FSDP2: each entry of the outermost lists of blocks, and the root."""
    for blocks in _lists(module):
        for block in blocks:
            fully_shard(block)
    fully_shard(module)


def _lists(module: nn.Module) -> Iterator[nn.ModuleList]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from _lists(child)


def fakescore_auto(teacher: Teacher) -> nn.Module:
    return fakescore.create_fake_score_meta(teacher.from_pretrained, shard=shard)


def fakescore_root(teacher: Teacher) -> nn.Module:
    return fakescore.create_fake_score_meta(teacher.from_pretrained, shard=shard, read="root")


def fakescore_live(teacher: Teacher) -> Callable[[Teacher], nn.Module]:
    live = fakescore_auto(teacher)
    return lambda _: fakescore.create_fake_score_meta(teacher.from_pretrained, live, shard=shard)


def copy_limit(teacher: Teacher) -> Callable[[Teacher], nn.Module]:
    live = fakescore_auto(teacher)

    def copy(_: Teacher) -> nn.Module:
        parts = [_local(parameter) for parameter in live.parameters()]
        return _holder([torch.empty_like(part).copy_(part) for part in parts])

    return copy


def read_limit(teacher: Teacher) -> nn.Module:
    """Each rank its stretch of the file, all of them together all of it."""
    size = teacher.file.stat().st_size
    ranks, rank = dist.get_world_size(), dist.get_rank()
    begin, end = size * rank // ranks, size * (rank + 1) // ranks
    memory = torch.empty(end - begin, dtype=torch.uint8)
    with open(teacher.file, "rb", buffering=0) as file:
        view = memoryview(memory.numpy())
        file.seek(begin)
        while view:
            view = view[file.readinto(view[:_MOST_OF_A_CALL]) :]
    return _holder([memory])


def _local(parameter: nn.Parameter) -> torch.Tensor:
    part: torch.Tensor = parameter.detach().to_local()  # type: ignore[attr-defined]
    return part


def _holder(tensors: list[torch.Tensor]) -> nn.Module:
    return nn.ParameterList(nn.Parameter(tensor, requires_grad=False) for tensor in tensors)


def _empty(teacher: Teacher) -> nn.Module:
    with torch.device("meta"):
        module = teacher.from_config()
    shard(module)
    return module.to_empty(device="cpu")


def set_state_dict(teacher: Teacher) -> nn.Module:
    module = _empty(teacher)
    state: dict[str, Any] = load_file(teacher.file) if dist.get_rank() == 0 else {}
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
    set_model_state_dict(module, state, options=options)
    return module


def dcp_reader(teacher: Teacher) -> nn.Module:
    module = _empty(teacher)
    reader = HuggingFaceStorageReader(str(teacher.folder))
    names = reader.read_metadata().state_dict_metadata
    state = {name: value for name, value in module.state_dict().items() if name in names}
    dcp.load(state, storage_reader=reader)
    return module


def transformers_shards(teacher: Teacher) -> nn.Module:
    """Reads what a rank holds; shards each layer, the embeddings, and the rest as the root."""
    fsdp = DistributedConfig(fsdp_size=dist.get_world_size())
    module: nn.Module = teacher.cls.from_pretrained(
        teacher.folder, torch_dtype=teacher.dtype, distributed_config=fsdp
    )
    return module


def whole_then_shard(teacher: Teacher) -> nn.Module:
    module = teacher.from_pretrained()
    shard(module)
    return module
