"""The tensors of a module, under their names."""

from __future__ import annotations

import collections
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import nn

from . import _native
from .fsdp_internals import (
    STATE_OF_FSDP2,
    FlatPart,
    flat_parts,
    is_wrapped_by_fsdp1,
    refuse_without_wrapper,
)
from .meta import Record, meta_init
from .sharding import Parts, Shard, native_shards
from .wrappers import is_sharded, refuse_zero_3, unwrapped_name


class Kind(IntEnum):
    """fakescore::TensorKind."""

    PARAMETER = 0
    BUFFER = 1
    NON_PERSISTENT_BUFFER = 2
    UNREGISTERED = 3


@dataclass(frozen=True)
class ModuleTensor:
    """A tensor object of a module, and where it is."""

    name: str  #: without what wrappers put in
    tensor: torch.Tensor
    kind: Kind
    owner: nn.Module | None  #: whose parameter or buffer it is; None if nobody registered it
    local_name: str  #: with the owner
    part: torch.Tensor  #: what this rank holds of it: itself, unless it is sharded
    shard: Shard | None = None  #: which part that is

    @property
    def flattened_from(self) -> tuple[int, ...]:
        """The whole parameter's sizes before FSDP1 flattened it; empty if it did not."""
        return self.shard.flattened_from if self.shard is not None else ()


def registered_tensors(module: nn.Module) -> list[ModuleTensor]:
    """Every parameter and buffer, under each of its names, in the order of registration.

    Raises ConfigError for one of which nobody can say what part this rank has.
    """
    found = []
    parts = Parts()
    flattened = flat_parts(module)
    flat_ids = {id(part.flat) for own in flattened.values() for part in own.values()}
    for prefix, owner in module.named_modules(remove_duplicate=False):
        beginning = prefix + "." if prefix else ""
        flat = flattened.get(id(owner), {})
        # With its use_orig_params FSDP1 registers what it has flattened, and else takes it out.
        for local_name in dict.fromkeys([*owner._parameters, *flat]):
            parameter = owner._parameters.get(local_name)
            if local_name in flat:
                found.append(_flattened(beginning, local_name, parameter, flat[local_name], owner))
            elif parameter is not None and id(parameter) not in flat_ids:
                refuse_without_wrapper(unwrapped_name(beginning + local_name), parameter)
                found.append(
                    _registered(
                        beginning, local_name, parameter, Kind.PARAMETER, owner, parts=parts
                    )
                )
        for local_name, buffer in owner._buffers.items():
            if buffer is None:
                continue
            persistent = local_name not in owner._non_persistent_buffers_set
            kind = Kind.BUFFER if persistent else Kind.NON_PERSISTENT_BUFFER
            found.append(_registered(beginning, local_name, buffer, kind, owner, parts=parts))
    return found


def _registered(
    beginning: str,
    local_name: str,
    tensor: torch.Tensor,
    kind: Kind,
    owner: nn.Module,
    *,
    parts: Parts,
) -> ModuleTensor:
    name = unwrapped_name(beginning + local_name)
    refuse_zero_3(name, tensor)
    part, shard = parts.of(name, tensor)
    return ModuleTensor(name, tensor, kind, owner, local_name, part, shard)


def _flattened(
    beginning: str,
    local_name: str,
    parameter: torch.Tensor | None,
    flat: FlatPart,
    owner: nn.Module,
) -> ModuleTensor:
    name = unwrapped_name(beginning + local_name)
    tensor = flat.flat if parameter is None else parameter
    shard = Shard.of_flattened(flat)
    return ModuleTensor(name, tensor, Kind.PARAMETER, owner, local_name, flat.values, shard)


def set_tensors(target: Any, entries: list[ModuleTensor], *, is_given: bool) -> None:
    """Gives a target of the C++ library tensors whose memory is to be made, or is there."""
    _native.value_of(
        target.set_tensors(
            [entry.name for entry in entries],
            [entry.part for entry in entries],
            [int(entry.kind) for entry in entries],
            is_given,
        )
    )
    _native.value_of(target.set_shards(*native_shards([entry.shard for entry in entries])))


# What no tensor of a module is looked for in.
_OPAQUE = (
    str,
    bytes,
    bytearray,
    int,
    float,
    complex,
    bool,
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    torch.dtype,
    torch.device,
    torch.Size,
    torch.Generator,
    Record,  # what the module's tensors were before a cast
    meta_init,
)
# No sets: their order differs from rank to rank.
_SEQUENCES = (list, tuple, collections.deque)
# What a module has of its own, beside what was assigned to it.
_MODULE_STATE = frozenset(nn.Module().__dict__) - {"training"}


def unregistered_tensors(
    module: nn.Module, registered: Iterable[ModuleTensor]
) -> list[ModuleTensor]:
    """Tensors that the module's attributes lead to beside those registered, without shards.

    They are found in lists, tuples, dicts and the attributes of other objects, of whatever
    class and depth, each under the first path that leads to it. What only a closure holds is not
    found.
    """
    found = []
    seen = {id(entry.tensor) for entry in registered}
    # Depth first, in the order of attributes: the same on every rank. Objects that are made on the
    # way are kept, so that no id is used twice.
    pending: list[tuple[str, Any]] = [("", module)]
    while pending:
        path, value = pending.pop()
        if value is None or isinstance(value, _OPAQUE) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if not is_sharded(value):
                found.append(ModuleTensor(path, value, Kind.UNREGISTERED, None, "", value))
            continue
        pending.extend(reversed([(_join(path, name), child) for name, child in _children(value)]))
    return found


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield str(key), child
    elif isinstance(value, _SEQUENCES):
        for index, child in enumerate(value):
            yield str(index), child
    attributes = getattr(value, "__dict__", None)
    if isinstance(value, nn.Module) and is_wrapped_by_fsdp1(value):
        yield from value._modules.items()  # the rest is FSDP1's own
    elif isinstance(value, nn.Module):
        for name, child in value.__dict__.items():
            if name not in _MODULE_STATE and not name.startswith(STATE_OF_FSDP2):
                yield name, child
        yield from value._modules.items()
    elif isinstance(attributes, dict):
        yield from ((str(name), child) for name, child in attributes.items())
    for slot in _slots(type(value)):
        if hasattr(value, slot):
            yield slot, getattr(value, slot)


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if isinstance(slot, str) and slot not in ("__dict__", "__weakref__"):
                yield slot
