"""What of torch's internals FSDP2 and FSDP1 make necessary: this file alone touches them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.dlpack import from_dlpack

from .errors import ConfigError
from .wrappers import imported_fsdp, unwrapped_name

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


@dataclass(frozen=True)
class FlatPart:
    """What this rank holds of a parameter that FSDP1 has flattened into one with its neighbours."""

    flat: nn.Parameter  #: the one that they have in common
    sizes: tuple[int, ...]  #: of the parameter, whole
    begin: int  #: among its elements in row-major order
    values: torch.Tensor  #: from there on: FSDP1's memory, behind a storage of its own


#: By the id of the module that owns the parameter, and its name there.
FlatParts = dict[int, dict[str, FlatPart]]


def is_wrapped_by_fsdp1(module: nn.Module) -> bool:
    """Whether it is FSDP1's wrapper itself."""
    fsdp = imported_fsdp()
    return fsdp is not None and isinstance(module, fsdp.FullyShardedDataParallel)


def is_flat_parameter(tensor: torch.Tensor) -> bool:
    """Whether it holds parameters of other names."""
    return bool(getattr(tensor, "_is_flat_param", False))


def refuse_without_wrapper(name: str, parameter: torch.Tensor) -> None:
    """Raises ConfigError for a parameter of a unit whose wrapper is not in the module."""
    if is_flat_parameter(parameter) or getattr(parameter, "_fsdp_flattened", False):
        raise ConfigError.of(
            name,
            "is of a unit of FSDP1 whose wrapper is not in the module",
            "give the wrapper, and not the module in it",
        )


def computes_on_gpus(module: nn.Module) -> bool:
    """Whether FSDP1 has wrapped it for GPUs, wherever it keeps the parameters meanwhile."""
    part: Any
    for part in module.modules():
        if is_wrapped_by_fsdp1(part) and part.compute_device.type == "cuda":
            return True
    return False


def flat_parts(module: nn.Module) -> FlatParts:
    """What this rank holds of every parameter that FSDP1 has flattened; empty without FSDP1.

    FSDP1 puts the parameters of a unit one after the other, with gaps where it aligns them, and
    cuts what comes of it into as many stretches of one length as there are ranks. There is no
    public call that says so, and its state dicts are copies, which are gathered first. Units that
    are gathered are resharded, for they would go on with what they have; the next forward gathers
    them again.

    Raises ConfigError for a unit that is in use, for what is no stretch of a parameter's elements
    in row-major order, and where torch keeps all this otherwise.
    """
    found: FlatParts = {}
    wrappers = [
        (unwrapped_name(name), part)
        for name, part in module.named_modules()
        if is_wrapped_by_fsdp1(part)
    ]
    if not wrappers:
        return found
    there = {id(parameter) for parameter in module.parameters()}
    for unit, wrapper in wrappers:
        try:
            _add_unit(wrapper, unit, found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError.of(
                unit or "module",
                f"is wrapped by FSDP1, whose flat parameters torch {torch.__version__} keeps in "
                f"another way: {error!r}",
                "give device='cpu' and wrap the module once it is filled, or shard it by FSDP2's "
                "fully_shard",
            ) from error
        _check_ignored(wrapper, unit, there)
    return found


def _add_unit(wrapper: Any, unit: str, found: FlatParts) -> None:
    handle = wrapper._handle
    if handle is None:  # no parameters of its own
        return
    flat = handle.flat_param
    _reshard(handle, unit)
    own = flat._local_shard if hasattr(flat, "_local_shard") else flat.data
    for info, sizes, is_row_major, extension, place in zip(
        flat._param_infos,
        flat._shapes,
        flat._contiguities,
        flat._param_extensions,
        flat._shard_param_infos,
        strict=True,
    ):
        name = ".".join(filter(None, (unit, unwrapped_name(info.module_name), info.param_name)))
        _check_flattened(name, tuple(sizes), is_row_major, extension)
        begin, count, offset = 0, 0, 0
        if place.in_shard:
            begin, count = place.intra_param_start_idx, place.numel_in_shard
            offset = place.offset_in_shard
        values = _with_own_storage(own.detach()[offset : offset + count])
        part = FlatPart(flat, tuple(sizes), begin, values)
        found.setdefault(id(info.module), {})[info.param_name] = part
    for info in flat._shared_param_infos:  # other names of these
        found.setdefault(id(info.module), {})[info.param_name] = found[id(info.prim_module)][
            info.prim_param_name
        ]


def _reshard(handle: Any, unit: str) -> None:
    if not hasattr(handle.flat_param, "_local_shard"):
        return  # before its first forward
    if handle._training_state.name != "IDLE":
        raise ConfigError.of(
            unit or "module",
            f"is in use by FSDP1 ({handle._training_state.name})",
            "call outside of summon_full_params, forward and backward",
        )
    if handle.uses_sharded_strategy and not handle.needs_unshard():
        handle.reshard(True)
        handle.post_reshard()
        handle._prefetched = False
    # What was put behind a parameter by its .data is to reach the flat one first.
    if handle._use_orig_params and handle._writeback_orig_params():
        handle._use_sharded_views()


def _with_own_storage(tensor: torch.Tensor) -> torch.Tensor:
    # As bytes, for DLPack does not know every dtype; and it wants the tensor's device.
    with torch.cuda.device_of(tensor):  # type: ignore[no-untyped-call]
        return from_dlpack(tensor.view(torch.uint8)).view(tensor.dtype)


def _check_flattened(name: str, sizes: tuple[int, ...], is_row_major: bool, extension: Any) -> None:
    if extension is not None:
        raise ConfigError.of(
            name,
            "is sharded by tensor parallelism and then flattened by FSDP1",
            "use FSDP2's fully_shard, whose parameters say which part a rank holds",
        )
    if not is_row_major:
        raise ConfigError.of(
            name,
            "was flattened by FSDP1 in the order of its memory, which is not row-major",
            "make it contiguous before it is wrapped",
        )
    if not sizes:
        raise ConfigError.of(
            name, "has no dimension, and was flattened by FSDP1", "give it one of size 1"
        )


def _check_ignored(wrapper: Any, unit: str, there: set[int]) -> None:
    # What takes the place of a parameter on meta is another object, which FSDP1 does not ignore.
    ignored = getattr(wrapper, "_ignored_params", ())
    if any(parameter.is_meta and id(parameter) not in there for parameter in ignored):
        raise ConfigError.of(
            unit or "module",
            "was to ignore parameters on meta, which FSDP1 has flattened all the same",
            "give ignored_states modules, and not parameters",
        )
