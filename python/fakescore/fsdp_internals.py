"""What of torch's internals FSDP2 makes necessary: this file alone touches them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn

from .errors import ConfigError

#: Begins the names of attributes in which FSDP2 keeps what it knows of a module: meshes, groups,
#: and views of parameters.
STATE_OF_FSDP2 = "__composable_api_state_key"


def initialise_roots(module: nn.Module) -> None:
    """Runs FSDP2's lazy initialisation now, of the topmost modules that fully_shard has seen.

    Up to 2.14 it decides by requires_grad, at the first forward, in which dtype gradients are
    reduced: a fake score whose first forward is a frozen one, as in DMD2, would reduce them in the
    low precision, or fail (pytorch#186998). So parameters are trainable meanwhile, whatever they
    are to be. There is no public call. Where torch has no such method, the first forward does it.

    Raises ConfigError for a module that FSDP2 would refuse at its first forward.
    """
    with _trainable(module):
        for root in _roots(module):
            state: Any = root._get_fsdp_state()
            initialise = getattr(state, "_lazy_init", None)
            if initialise is None:
                continue
            try:
                initialise()
            except (AssertionError, RuntimeError, ValueError) as error:
                raise ConfigError.of(
                    "shard",
                    f"made a module that FSDP2 cannot run: {error}",
                    "shard parameters of one dtype in each unit, or give dtype for all of them",
                ) from error


def offloaded(module: nn.Module) -> set[int]:
    """The ids of parameters whose parts FSDP2's CPUOffloadPolicy keeps in host memory."""
    found: set[int] = set()
    part: Any
    for part in module.modules():
        if not hasattr(part, "_get_fsdp_state"):
            continue
        state: Any = part._get_fsdp_state()
        groups = getattr(state, "_fsdp_param_groups", None)
        if groups is None:  # up to 2.14
            groups = [getattr(state, "_fsdp_param_group", None)]
        for group in groups:
            for parameter in getattr(group, "fsdp_params", ()):
                if getattr(parameter, "offload_to_cpu", False):
                    found.add(id(parameter.sharded_param))
    return found


def _roots(module: nn.Module) -> Iterator[Any]:
    if hasattr(module, "_get_fsdp_state"):
        yield module
        return
    for child in module.children():
        yield from _roots(child)


@contextlib.contextmanager
def _trainable(module: nn.Module) -> Iterator[None]:
    frozen = [
        parameter
        for parameter in module.parameters()
        if not parameter.requires_grad and parameter.is_floating_point()
    ]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
