"""Values for tensors that neither a teacher nor a record explains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from .errors import ConfigError
from .teachers import tensor_names
from .tensors import Kind, ModuleTensor

#: Called with a module whose own tensors are zeros on the CPU, in the manner of
#: `reset_parameters`; or that method of each module; or the values that are there.
Init = Callable[[nn.Module], Any] | Literal["reset_parameters", "keep"]


def with_init(
    entries: list[ModuleTensor],
    recorded: list[torch.Tensor | None],
    init: Init,
    teacher: Any,
) -> list[torch.Tensor | None]:
    """`recorded`, with the values that `init` gives where there are none.

    Raises ConfigError for a module that has no such method, or a tensor without values.
    """
    in_teacher = set(tensor_names(teacher))
    explained = {_storage(entry) for entry in entries if _is_read(entry, in_teacher)}
    completed = list(recorded)
    copies: dict[int, nn.Module] = {}
    of_owner: dict[int, list[ModuleTensor]] = {}
    for entry in entries:
        of_owner.setdefault(id(entry.owner), []).append(entry)
    for index, entry in enumerate(entries):
        if recorded[index] is not None or _storage(entry) in explained or entry.owner is None:
            continue
        if init == "keep":
            completed[index] = _kept(entry)
            continue
        if id(entry.owner) not in copies:
            own = of_owner[id(entry.owner)]
            copies[id(entry.owner)] = _initialised(entry.owner, own, entry.name, init)
        made = copies[id(entry.owner)]
        value = {**made._parameters, **made._buffers}[entry.local_name]
        completed[index] = None if value is None else value.detach()
    return completed


def is_covered(entries: Sequence[ModuleTensor], in_teacher: set[str]) -> list[bool]:
    """Whether the teacher surely has all that is in the storage of each.

    Where it may lack a part, the whole storage is computed, and then overwritten.
    """
    read: dict[int, list[torch.Tensor]] = {}
    for entry in entries:
        if _is_read(entry, in_teacher):
            read.setdefault(_storage(entry), []).append(entry.part)
    lacking = {
        _storage(entry)
        for entry in entries
        if not any(_spans(whole, entry.part) for whole in read.get(_storage(entry), []))
    }
    return [_storage(entry) not in lacking for entry in entries]


def _spans(whole: torch.Tensor, part: torch.Tensor) -> bool:
    if part.stride() == whole.stride() and _bytes(part) == _bytes(whole):
        return True
    return (
        _has_no_gaps(whole)
        and _bytes(whole).start <= _bytes(part).start
        and _bytes(part).stop <= _bytes(whole).stop
    )


def _has_no_gaps(tensor: torch.Tensor) -> bool:
    dimensions = zip(tensor.stride(), tensor.shape, strict=True)
    expected = 1
    for stride, size in sorted(dimension for dimension in dimensions if dimension[1] != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def _bytes(tensor: torch.Tensor) -> range:
    """From a tensor's first byte in its storage to its last."""
    begin = tensor.storage_offset() * tensor.itemsize
    if tensor.numel() == 0:
        return range(begin, begin)
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    elements = 1 + sum((size - 1) * stride for size, stride in pairs)
    return range(begin, begin + elements * tensor.itemsize)


def _is_read(entry: ModuleTensor, in_teacher: set[str]) -> bool:
    return entry.kind in (Kind.PARAMETER, Kind.BUFFER) and entry.name in in_teacher


def _storage(entry: ModuleTensor) -> int:
    return int(entry.part.untyped_storage()._cdata)


def _kept(entry: ModuleTensor) -> torch.Tensor:
    if entry.shard is not None:
        raise ConfigError.of(
            entry.name,
            'is a shard: of the whole tensor, the source has nothing for init="keep" to keep',
            "give a callable, or a teacher that has it",
        )
    if not entry.tensor.is_meta:
        return entry.tensor.detach()
    raise ConfigError.of(
        entry.name,
        'is on the meta device on the source, so that init="keep" has nothing to keep',
        "give a callable, or a teacher that has it",
    )


def _initialised(owner: nn.Module, own: Sequence[ModuleTensor], name: str, init: Init) -> nn.Module:
    """A copy of a module with values in its own tensors, which are whole, on the CPU."""
    # Not copy.copy: FSDP2's classes make another module of it.
    made = object.__new__(type(owner))
    made.__dict__ = dict(owner.__dict__)
    made._parameters = {
        key: None if value is None else nn.Parameter(_zeros(value), requires_grad=False)
        for key, value in owner._parameters.items()
    }
    for entry in own:
        if entry.flattened_from:
            # Where FSDP1 registers none, it has put a view of its own in the parameter's place.
            made.__dict__.pop(entry.local_name, None)
            whole = torch.zeros(entry.flattened_from, dtype=entry.part.dtype)
            made._parameters[entry.local_name] = nn.Parameter(whole, requires_grad=False)
    made._buffers = {
        key: None if value is None else _zeros(value) for key, value in owner._buffers.items()
    }
    if callable(init):
        init(made)
        return made
    reset = getattr(made, "reset_parameters", None)
    if init != "reset_parameters" or reset is None:
        raise ConfigError.of(
            name,
            f"is of a {type(owner).__name__}, which has no method {init}",
            "give init a callable that takes such a module, or build it under meta_init",
        )
    reset()
    return made


def _zeros(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros(tensor.shape, dtype=tensor.dtype, device="cpu")
