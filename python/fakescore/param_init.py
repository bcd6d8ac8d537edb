"""Memory for modules on meta that FSDP1 is to wrap."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import nn

_MARK = "_fakescore_memory"


def param_init_fn(device: torch.device | str | int) -> Callable[[nn.Module], None]:
    """What FSDP1 is given as its `param_init_fn`, where the module is then filled.

    FSDP1 calls it with each module of a unit before it flattens and cuts the unit's parameters. The
    module's own tensors that are on meta get memory on `device`, without values; ties are kept,
    which `module.to_empty(device=device, recurse=False)` undoes. One of these is for one module.

    Not collective.
    """
    # Not the memory itself: FSDP1 lets go of a unit's once it has cut it.
    made: dict[int, tuple[torch.Tensor, weakref.ref[torch.Tensor]]] = {}

    def allocated(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_meta:
            return tensor
        memory = made[id(tensor)][1]() if id(tensor) in made else None
        if memory is None:
            memory = torch.empty_like(tensor, device=device, requires_grad=False)
            if isinstance(tensor, nn.Parameter):
                memory = nn.Parameter(memory, requires_grad=tensor.requires_grad)
            memory.__dict__.update(tensor.__dict__)
            setattr(memory, _MARK, True)
            made[id(tensor)] = (tensor, weakref.ref(memory))
        return memory

    def allocate(module: nn.Module) -> None:
        for own in (module._parameters, module._buffers):
            for name, tensor in own.items():
                if tensor is not None:
                    own[name] = allocated(tensor)  # type: ignore[assignment]

    return allocate


def has_memory_to_fill(tensor: torch.Tensor) -> bool:
    """Whether it has got its memory by a `param_init_fn`."""
    return bool(getattr(tensor, _MARK, False))


def is_without_values(tensor: torch.Tensor) -> bool:
    """Whether it is on meta, or has memory that is yet to be filled."""
    return tensor.is_meta or has_memory_to_fill(tensor)
