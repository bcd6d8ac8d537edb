"""A teacher that FSDP1 has sharded, which takes all ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.distributed as dist
from torch import nn

from . import calls
from .errors import TeacherError
from .fsdp_internals import flat_parts, is_wrapped_by_fsdp1
from .sharding import OwnPart
from .tensors import Kind, registered_tensors
from .wrappers import unwrap


def agree_on_fsdp1(communicator: Any, teacher: object, rank: int) -> bool:
    """Whether all ranks have a teacher that FSDP1 has sharded, whose state dict is collective."""
    kinds = ("another teacher", "a teacher that FSDP1 has sharded")
    own = _is_sharded(teacher)
    found = calls.compare(communicator, kinds[own], "kind of teacher", rank)
    if found.other_rank >= 0:
        raise TeacherError.of(
            "teacher",
            f"rank 0 has {found.of_rank_0}, but rank {found.other_rank} has {found.of_other_rank}",
            "give every rank the same module: to gather its parts takes all of them",
        )
    return own


def parts_of_fsdp1(
    communicator: Any, teacher: nn.Module, make_module: Callable[[], nn.Module], rank: int
) -> Callable[[], Mapping[str, Any] | None]:
    """Gives what this rank has of a teacher that FSDP1 has sharded, as the module is to have it;
    nothing where a rank could not make its module, which the call goes on to say.

    To take boxes is collective, and knows no deadline of ours: all ranks have to be ready for it.
    """

    def kind_of_module() -> str:
        return "flattened by FSDP1" if flat_parts(unwrap(make_module())) else "not flattened"

    found_kind = calls.attempt(communicator, kind_of_module)
    try:
        kind = found_kind()
    except BaseException:
        kind = "none"

    def nothing() -> None:
        found_kind()

    found = calls.compare(communicator, kind, "kind of module", rank)
    if kind == "none" or found.other_rank >= 0:
        return nothing
    if kind == "not flattened":
        return calls.attempt(communicator, lambda: _boxes(teacher))
    return lambda: _stretches(teacher)


def _is_sharded(teacher: object) -> bool:
    """Whether its state dict has parts, which all ranks have to ask for together."""
    return isinstance(teacher, nn.Module) and any(map(_is_sharding, teacher.modules()))


def _is_sharding(part: Any) -> bool:
    return (
        is_wrapped_by_fsdp1(part)
        and part.sharding_strategy.name != "NO_SHARD"
        and dist.get_world_size(part.process_group) > 1  # of one rank it shards nothing
    )


def _boxes(teacher: nn.Module) -> Mapping[str, Any]:
    """The parts that a rank has, as boxes.

    Collective: one unit after the other is gathered, and cut anew.
    """
    from torch.distributed.checkpoint.state_dict import get_model_state_dict

    return get_model_state_dict(teacher)


def _stretches(teacher: nn.Module) -> Mapping[str, Any]:
    """The parts that a rank has, as FSDP1 keeps them: stretches of flattened tensors."""
    kinds = (Kind.PARAMETER, Kind.BUFFER)
    return {
        entry.name: entry.tensor.detach()
        if entry.shard is None
        else OwnPart(entry.part, entry.shard)
        for entry in registered_tensors(unwrap(teacher))
        if entry.kind in kinds
    }
