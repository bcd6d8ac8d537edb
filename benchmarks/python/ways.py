"""The ways to give every rank a module with a teacher's weights, as their documentation has them.

Nothing is mended afterwards: what a way leaves wrong is in the tables.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import sharded_ways
import torch
import torch.distributed as dist
from accelerate import init_empty_weights, load_checkpoint_in_model
from safetensors.torch import load_file
from teachers import Teacher
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from transformers import PreTrainedModel

import fakescore


def fakescore_auto(teacher: Teacher) -> nn.Module:
    return fakescore.create_fake_score_meta(teacher.from_pretrained)


def fakescore_root(teacher: Teacher) -> nn.Module:
    return fakescore.create_fake_score_meta(teacher.from_pretrained, read="root")


def set_state_dict(teacher: Teacher) -> nn.Module:
    with torch.device("meta"):
        module = teacher.from_config()
    module.to_empty(device="cpu")
    state: dict[str, Any] = load_file(teacher.file) if dist.get_rank() == 0 else {}
    # Not strict, for a file has a tied weight under one of its names.
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
    set_model_state_dict(module, state, options=options)
    return module


def accelerate_empty(teacher: Teacher) -> nn.Module:
    with init_empty_weights():
        module = teacher.from_config()
    if isinstance(module, PreTrainedModel):
        module.tie_weights()  # as accelerate asks for
    load_checkpoint_in_model(module, str(teacher.file), device_map={"": "cpu"})
    return module


def from_pretrained(teacher: Teacher) -> nn.Module:
    return teacher.from_pretrained()


def deepcopy_broadcast(teacher: Teacher) -> nn.Module:
    if dist.get_rank() == 0:
        module = copy.deepcopy(teacher.from_pretrained())
    else:
        module = teacher.from_config()
    for tensor in [*module.parameters(), *module.buffers()]:
        dist.broadcast(tensor.detach(), src=0)
    return module


Build = Callable[[Teacher], nn.Module]


def _as_it_is(build: Build) -> Callable[[Teacher], Build]:
    return lambda _: build


class Way(NamedTuple):
    title: str
    #: Called before the time that counts; gives what is called within it.
    prepare: Callable[[Teacher], Build]
    is_for_transformers_alone: bool = False

    def suits(self, cls: type) -> bool:
        return not self.is_for_transformers_alone or issubclass(cls, PreTrainedModel)


class Limit(NamedTuple):
    """The least that a host has to do for the same; what it gives is no module like the teacher."""

    title: str
    prepare: Callable[[Teacher], Build]


OURS = {
    "fakescore": Way("`create_fake_score_meta`", _as_it_is(fakescore_auto)),
    "fakescore_root": Way('`create_fake_score_meta(read="root")`', _as_it_is(fakescore_root)),
}
PEERS = {
    "set_state_dict": Way(
        "meta, `to_empty`, `set_model_state_dict(broadcast_from_rank0=True)`",
        _as_it_is(set_state_dict),
    ),
    "accelerate": Way(
        "accelerate: `init_empty_weights`, `load_checkpoint_in_model` on every rank",
        _as_it_is(accelerate_empty),
    ),
    "from_pretrained": Way("`from_pretrained` on every rank", _as_it_is(from_pretrained)),
    "deepcopy": Way(
        "`from_pretrained` and `deepcopy` on rank 0, the constructor on the others, "
        "`dist.broadcast` of each tensor",
        _as_it_is(deepcopy_broadcast),
    ),
}
SHARDED_OURS = {
    "fakescore_shards": Way(
        "`create_fake_score_meta(shard=)`", _as_it_is(sharded_ways.fakescore_auto)
    ),
    "fakescore_shards_root": Way(
        '`create_fake_score_meta(shard=, read="root")`', _as_it_is(sharded_ways.fakescore_root)
    ),
    "fakescore_shards_live": Way(
        "`create_fake_score_meta(shard=)` of a live teacher in the same shards",
        sharded_ways.fakescore_live,
    ),
}
SHARDED_PEERS = {
    "set_state_dict_shards": Way(
        "meta, `fully_shard`, `to_empty`, `set_model_state_dict(broadcast_from_rank0=True)`",
        _as_it_is(sharded_ways.set_state_dict),
    ),
    "dcp_reader": Way(
        "meta, `fully_shard`, `to_empty`, `dcp.load` with `HuggingFaceStorageReader`",
        _as_it_is(sharded_ways.dcp_reader),
    ),
    "transformers_shards": Way(
        "`from_pretrained(distributed_config=DistributedConfig(fsdp_size=))` of transformers",
        _as_it_is(sharded_ways.transformers_shards),
        is_for_transformers_alone=True,
    ),
    "whole_then_shard": Way(
        "`from_pretrained` on every rank, then `fully_shard`",
        _as_it_is(sharded_ways.whole_then_shard),
    ),
}
SHARDED_LIMITS = {
    "read_limit": Limit(
        "limit: each rank reads as many bytes of the file into fresh pages, in sequence",
        _as_it_is(sharded_ways.read_limit),
    ),
    "copy_limit": Limit(
        "limit: each rank copies its shards of a live module into fresh pages",
        sharded_ways.copy_limit,
    ),
}
WHOLE: dict[str, Way | Limit] = {**OURS, **PEERS}
SHARDED: dict[str, Way | Limit] = {**SHARDED_OURS, **SHARDED_PEERS, **SHARDED_LIMITS}
WAYS = {**WHOLE, **SHARDED}
ALL_OURS = {**OURS, **SHARDED_OURS}
