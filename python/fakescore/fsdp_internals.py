"""What of torch's internals FSDP2 makes necessary: this file alone touches them."""

from __future__ import annotations

from typing import Any

from torch import nn

from .errors import ConfigError


def initialise_root(module: nn.Module) -> None:
    """Runs FSDP2's lazy initialisation now, where `module` is the root of a fully_shard.

    Up to 2.14 it decides by requires_grad, at the first forward, in which dtype gradients are
    reduced: a fake score whose first forward is a frozen one, as in DMD2, would reduce them in the
    low precision, or fail (pytorch#186998). There is no public call. Where torch has no such
    method, the first forward does it.

    Raises ConfigError for a module that FSDP2 would refuse at its first forward.
    """
    root: Any = module
    state: Any = root._get_fsdp_state() if hasattr(root, "_get_fsdp_state") else None
    initialise = getattr(state, "_lazy_init", None)
    if initialise is None:
        return
    try:
        initialise()
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError.of(
            "shard",
            f"made a module that FSDP2 cannot run: {error}",
            "shard parameters of one dtype in each unit, or give dtype for all of them",
        ) from error
