"""What recording and replaying with TorchDispatchMode need to know of operators."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload

_LEAVE_MEMORY_UNSET = frozenset(
    f"aten::{name}"
    for name in (
        "empty",
        "empty_like",
        "empty_strided",
        "empty_permuted",
        "new_empty",
        "new_empty_strided",
        "resize_",
        "resize_as_",
        "resize",
        "resize_as",
        "_resize_output_",
        "_resize_output",
    )
)
# Others carry the tag data_dependent_output.
_READERS = frozenset(("aten::_local_scalar_dense", "aten::equal"))


@dataclass(frozen=True)
class OpInfo:
    """An operator, as its schema has it."""

    name: str
    arguments: tuple[str, ...]
    writes: frozenset[str]  #: arguments that it writes to
    returns: int
    has_out: bool  #: an out variant: what it writes to may change its size
    takes_device: bool
    takes_generator: bool
    takes_pin_memory: bool
    random: bool  #: its result depends on a generator
    reads_values: bool  #: returns numbers, not tensors, that depend on values
    dynamic_shape: bool  #: the shape of its result depends on values
    leaves_unset: bool  #: what it makes, or makes longer, holds whatever memory held


@functools.cache
def op_info(op: OpOverload) -> OpInfo:
    """Read once from the schema."""
    schema: Any = op._schema
    names = tuple(argument.name for argument in schema.arguments)
    written = [
        argument
        for argument in schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    dynamic_shape = torch.Tag.dynamic_output_shape in op.tags
    # Nobody promises that operators outside aten tag their use of the default generator, and a
    # seed that goes unused does no harm.
    is_foreign = not schema.name.startswith("aten::")
    return OpInfo(
        name=schema.name,
        arguments=names,
        writes=frozenset(argument.name for argument in written),
        returns=len(schema.returns),
        has_out=any(argument.is_out for argument in written),
        takes_device="device" in names,
        takes_generator="generator" in names,
        takes_pin_memory="pin_memory" in names,
        random="generator" in names or is_foreign or torch.Tag.nondeterministic_seeded in op.tags,
        reads_values=schema.name in _READERS
        or (
            torch.Tag.data_dependent_output in op.tags
            and not dynamic_shape
            and not _returns_tensors(schema)
        ),
        dynamic_shape=dynamic_shape,
        leaves_unset=schema.name in _LEAVE_MEMORY_UNSET,
    )


def _returns_tensors(schema: Any) -> bool:
    return any(
        result.type.isSubtypeOf(torch._C.TensorType.get()) or result.type.kind() == "ListType"
        for result in schema.returns
    )


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of an argument or result: one, or a list of them."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def map_tensors(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """An argument or result where `change` has replaced each tensor."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)([map_tensors(item, change) for item in value])
    return value
