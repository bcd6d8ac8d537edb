"""What people wrap modules in, and what that does to names."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from .errors import ConfigError

_TAKEN_OUT = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
_PEFT = ["base_model", "model"]


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel and DataParallel."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    while isinstance(module, wrappers):
        module = module.module
    return module


def unwrapped_name(name: str) -> str:
    """A tensor's name without what torch.compile, checkpointing, FSDP and PEFT put into it.

    As apply_key_map does it with the teacher's.
    """
    parts = [part for part in name.split(".") if part not in _TAKEN_OUT]
    if parts[:2] == _PEFT:
        parts = parts[2:]
    return ".".join(part for part in parts if part != "base_layer")


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether it is a DTensor. By attribute, as ModelOpt has it."""
    return hasattr(tensor, "full_tensor")


def is_sharded_tensor(tensor: torch.Tensor) -> bool:
    """Whether it is a ShardedTensor, the older way of torch to say what each rank has."""
    return hasattr(tensor, "local_shards")


def refuse_sharded(name: str, tensor: torch.Tensor) -> None:
    """Raises ConfigError for a tensor of which this rank has a part only."""
    if is_sharded(tensor):
        raise ConfigError.of(
            name,
            "is a DTensor, of which each rank has a part only",
            "make whole modules equal, before they are sharded",
        )
    refuse_zero_3(name, tensor)


def refuse_zero_3(name: str, tensor: torch.Tensor) -> None:
    """Raises ConfigError for a parameter whose memory DeepSpeed has taken away."""
    if hasattr(tensor, "ds_id"):
        raise ConfigError.of(
            name,
            "is a parameter that DeepSpeed's ZeRO-3 has split",
            "fill the module before DeepSpeed wraps it",
        )


def imported_fsdp() -> Any:
    """torch.distributed.fsdp, or None. Whoever has sharded something has imported it; to import it
    here takes most of a second."""
    return sys.modules.get("torch.distributed.fsdp")
