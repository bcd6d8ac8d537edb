"""The ranks of a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from .errors import ConfigError


@dataclass(frozen=True)
class Group:
    """The ranks that make a call together."""

    rank: int
    world_size: int
    boxed: Any  #: the c10d process group for TorchScript; None for this process alone
    has_nccl: bool


def group_of(process_group: dist.ProcessGroup | None) -> Group:
    """The group, or the default one; without torch.distributed this process alone.

    Raises ConfigError where this rank is not in the group.
    """
    if not dist.is_available() or not dist.is_initialized():
        if process_group is not None:
            raise ConfigError.of(
                "process_group",
                "is given, but torch.distributed is not initialized",
                "call torch.distributed.init_process_group first",
            )
        return Group(rank=0, world_size=1, boxed=None, has_nccl=False)
    group = dist.group.WORLD if process_group is None else process_group
    if not isinstance(group, dist.ProcessGroup):
        raise ConfigError.of(
            "process_group", "does not have this rank in it", "call it on the group's ranks alone"
        )
    return Group(
        rank=dist.get_rank(group),
        world_size=dist.get_world_size(group),
        boxed=group.boxed(),
        has_nccl="nccl" in str(dist.get_backend_config(group)),
    )


def device_for(device: torch.device | str | int | None, group: Group) -> torch.device:
    """The device that is meant, with its index."""
    if device is None:
        uses_gpu = group.has_nccl and torch.cuda.is_available()
        chosen = torch.device("cuda" if uses_gpu else "cpu")
    elif isinstance(device, int):
        chosen = torch.device("cuda", device)
    else:
        chosen = torch.device(device)
    if chosen.type not in ("cpu", "cuda"):
        raise ConfigError.of(
            "device", f"is {chosen}", "give cpu or cuda, or move the module afterwards"
        )
    if chosen.type == "cuda" and chosen.index is None:
        chosen = torch.device("cuda", torch.cuda.current_device())
    return chosen


def check_source(source: int, group: Group) -> None:
    """Raises ConfigError for a source that is no rank of the group."""
    if not 0 <= source < group.world_size:
        raise ConfigError.of(
            "source",
            f"{source} is not a rank of a group of {group.world_size} ranks",
            "give a rank of the group, from 0 on",
        )
