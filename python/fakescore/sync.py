"""Modules that are real everywhere, made equal."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn

from . import _native, calls
from .errors import ConfigError
from .group import check_source, group_of
from .progress import Shower
from .tensors import registered_tensors, set_tensors
from .wrappers import refuse_sharded, unwrap


def sync_module_states(
    module: nn.Module,
    *,
    source: int = 0,
    process_group: dist.ProcessGroup | None = None,
    timeout: float | None = None,
) -> None:
    """Gives every rank the source's values of all parameters and buffers of a module, in place.

    Args:
        module: the same structure on every rank, with memory on the CPU or on one GPU of the rank.
            Names, shapes, dtypes, strides and ties are compared before anything moves.
        source: the rank of the group whose values count.
        process_group: the ranks; the default group if None. Without torch.distributed nothing
            moves.
        timeout: seconds without a sign of another rank after which it is lost; 300 if None.

    Raises:
        FakescoreError: one of its classes, the same on every rank: MismatchError naming the first
            tensor that differs, ConfigError for one without memory, CommError for a lost peer.

    Collective over the group. Work on a GPU begins after what is on the current stream, and has
    ended when the call returns.
    """
    group = group_of(process_group)
    check_source(source, group)
    calls.check_timeout(timeout)
    target = _native.classes.Target()
    device = next(
        (tensor.device for tensor in module.parameters() if tensor.is_cuda), torch.device("cpu")
    )
    communicator = calls.connect(group, device, timeout)
    with calls.agreed(communicator, target) as outcome:
        entries = registered_tensors(unwrap(module))
        for entry in entries:
            refuse_sharded(entry.name, entry.tensor)
        on_meta = next((entry.name for entry in entries if entry.tensor.is_meta), None)
        if on_meta is not None:
            raise ConfigError.of(
                on_meta, "is on the meta device", "fill the module with materialize"
            )
        set_tensors(target, entries, is_given=True)
    options = calls.options_json(root=source, verify=False)
    calls.run(
        communicator,
        lambda: communicator.sync(target, options),
        outcome,
        group.rank,
        Shower(),
    )
