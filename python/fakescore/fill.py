"""Modules whose tensors get a teacher's values on every rank."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn

from . import _native, calls
from .errors import BuildError, ConfigError, HostMemoryError
from .explicit_init import Init, is_covered, with_init
from .fsdp1_teacher import agree_on_fsdp1, parts_of_fsdp1
from .fsdp_internals import computes_on_gpus, initialise_roots, is_flat_parameter
from .group import check_source, device_for, group_of
from .meta import drop_records, meta_init
from .pretrained import rebound
from .progress import Progress, shower
from .report import Report, report_of
from .sharding import (
    allocate_shards,
    apply_shard,
    check_flat_devices,
    has_shards_of_gpus,
    move_whole_tensors,
)
from .target import cast_on_meta, check_unread_weights, set_target, tape_of, teacher_for
from .teachers import (
    KeyMap,
    Teacher,
    native_teacher,
    tensor_names,
)
from .tensors import Kind, ModuleTensor
from .wrappers import unwrap

#: Which parameters are to be trained.
Trainable = bool | Callable[[str, nn.Parameter], bool]

_LOGGER = logging.getLogger("fakescore")
_last: Report | None = None


def last_report() -> Report | None:
    """What the last call of this process that filled a module did; None before the first."""
    return _last


def create_fake_score_meta(
    build: Callable[[], nn.Module],
    teacher: Teacher | None = None,
    *,
    shard: Callable[[nn.Module], Any] | None = None,
    source: int = 0,
    process_group: dist.ProcessGroup | None = None,
    device: torch.device | str | int | None = None,
    dtype: torch.dtype | None = None,
    dtype_rules: Mapping[str, torch.dtype] | None = None,
    map_keys: KeyMap | None = None,
    strict: bool = False,
    trainable: Trainable = True,
    read: str = "auto",
    timeout: float | None = None,
    verify: bool = False,
    progress: Progress = None,
) -> nn.Module:
    """Builds a teacher's fake score on every rank, without a copy of it anywhere.

    Every rank calls `build` under `meta_init`, so that nothing is allocated. The source reads the
    teacher and sends it into storage that each rank has allocated for itself. Where all ranks
    see the teacher's files, they share the reading and send in turn, or on CPUs of one host
    each reads them. What the teacher does not hold
    (missing keys, non-persistent buffers, plain tensor attributes) is computed on the source from
    the record of `build`, and sent too. All ranks then hold the same bits.

    Args:
        build: returns the module; it may call constructors, `from_config` and `from_pretrained` of
            diffusers and transformers (see `meta_init`).
        teacher: a path (a safetensors or PyTorch file, an index, a folder, a distributed
            checkpoint; `Checkpoint` says more of one), several paths, a state dict, or a module.
            Its tensors are on the CPU or on the source's GPU. Needed on the source alone: other
            ranks may pass None, or the module on meta. One in shards (FSDP, tensor parallelism) is
            given on every rank. None on the source: what `build` gave to `from_pretrained`.
        shard: shards the module while it is on meta, such as by fully_shard on its blocks and on
            itself; may return another one. It gets the dtypes of `dtype` and `dtype_rules`. Each
            rank then reads what it holds of the teacher's files, or receives it (see
            docs/sharding.md).
        source: the rank of the group that has the teacher.
        process_group: the ranks; the default group if None. Without torch.distributed it is this
            process alone. Control messages go over the group's store, tensors over its backend, or
            on CPUs of one host through memory that its ranks share.
        device: where the tensors are to be. None: this rank's current GPU if the group has NCCL,
            else the CPU.
        dtype: of all floating-point parameters and buffers; None leaves what `build` makes.
        dtype_rules: exceptions: ECMAScript regular expressions that are searched for in names.
        map_keys: what the teacher's names are called in the module: a prefix to strip; a dict whose
            keys are regular expressions and whose values replace them ($1 is the first group), or
            merges, {"to_qkv": ["to_q", "to_k", "to_v"]}, which concatenate (see `Merge`); or a
            callable from a name to one, or to None to leave it out. What wrappers put into names is
            taken off afterwards.
        strict: missing and unexpected keys are errors; else they are in the report.
        trainable: whether a parameter requires gradients: True, or a callable of its name and
            itself, before it is filled. Parameters of integers never do.
        read: who reads the teacher's files: "root", the source; "all", each rank what it holds;
            "turns", the ranks share the reading and send in turn; "auto": as
            docs/sharding.md has it.
        timeout: seconds without a sign of another rank after which it is lost; 300 if None.
        verify: compare a digest of every tensor across ranks at the end, of shards between
            ranks that keep the same part.
        progress: see `Progress`.

    Returns:
        The module in training mode, with real tensors behind the objects that `build` made.

    Raises:
        FakescoreError: one of its classes, the same on every rank, within the timeout. After a
            CommError the process group cannot be used any more.

    Collective over the group. Work on a GPU begins after what is on the current stream, and has
    ended when the call returns.
    """

    def build_sharded() -> nn.Module:
        module = build_on_meta(build)
        cast_on_meta(unwrap(module), dtype, dtype_rules)
        assert shard is not None
        return apply_shard(shard, module)

    filled = _fill(
        build_sharded if shard else lambda: build_on_meta(build),
        teacher,
        init=None,
        source=source,
        process_group=process_group,
        device=device,
        dtype=None if shard else dtype,
        dtype_rules=None if shard else dtype_rules,
        map_keys=map_keys,
        strict=strict,
        trainable=trainable,
        read=read,
        timeout=timeout,
        verify=verify,
        progress=progress,
    )
    if shard is not None:
        initialise_roots(filled)
    return filled


def materialize(
    module: nn.Module,
    teacher: Teacher | None = None,
    *,
    init: Init | None = None,
    source: int = 0,
    process_group: dist.ProcessGroup | None = None,
    device: torch.device | str | int | None = None,
    dtype: torch.dtype | None = None,
    dtype_rules: Mapping[str, torch.dtype] | None = None,
    map_keys: KeyMap | None = None,
    strict: bool = False,
    trainable: Trainable = True,
    read: str = "auto",
    timeout: float | None = None,
    verify: bool = False,
    progress: Progress = None,
) -> nn.Module:
    """The second step of `create_fake_score_meta`: fills a module that is there.

    Between `meta_init` and this call a trainer may do what it does with a module on meta: cast it,
    wrap it, rename it. Modules made under `torch.device("meta")` can be filled as well, and ones
    with memory (`to_empty`, or real on the source alone), whose storage is replaced. A tensor that
    neither the teacher nor a record explains is then an error that names all such tensors, unless
    `init` gives it.

    Args:
        module: the same structure on every rank.
        init: how such tensors get their values, on the source alone: a callable, which gets a copy
            of each module that has one as its own, with zeros on the CPU for its own tensors, and
            writes values into it; "reset_parameters", that method of each such module; or "keep",
            the values that the source's own module has.

    The other arguments, the result and the errors are as `create_fake_score_meta` has them.

    Collective over the group.
    """
    return _fill(
        lambda: module,
        teacher,
        init=init,
        source=source,
        process_group=process_group,
        device=device,
        dtype=dtype,
        dtype_rules=dtype_rules,
        map_keys=map_keys,
        strict=strict,
        trainable=trainable,
        read=read,
        timeout=timeout,
        verify=verify,
        progress=progress,
    )


def build_on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` makes under `meta_init`. Raises BuildError for what is no module."""
    with meta_init():
        module = rebound(build)()
    if not isinstance(module, nn.Module):
        raise BuildError.of(
            "build", f"returned a {type(module).__name__}", "return a torch.nn.Module"
        )
    return module


def _warn_of_misses(report: Report) -> None:
    # Names that are there under others: what is missing then got random values.
    if report.missing and report.unexpected:
        _LOGGER.warning(
            "%d tensors of the module are not in the teacher (%s, ...) and %d of the teacher's are "
            "not in the module (%s, ...): see last_report(), map_keys and strict",
            len(report.missing),
            report.missing[0],
            len(report.unexpected),
            report.unexpected[0],
        )


def _warn_of_meta(left: list[str]) -> None:
    # Ranks may differ in what is real of these: they cannot be filled without a record.
    if left:
        _LOGGER.warning(
            "%d tensors that nobody registered stay on the meta device (%s, ...): register them as "
            "buffers, or build the module under meta_init",
            len(left),
            left[0],
        )


@dataclass
class _Prepared:
    """What one rank brings to a call."""

    module: nn.Module
    teacher: Any
    entries: list[ModuleTensor]
    left_on_meta: list[str]
    trained: list[tuple[nn.Parameter, bool]]


def _fill(
    make_module: Callable[[], nn.Module],
    teacher: Teacher | None,
    *,
    init: Init | None,
    source: int,
    process_group: dist.ProcessGroup | None,
    device: torch.device | str | int | None,
    dtype: torch.dtype | None,
    dtype_rules: Mapping[str, torch.dtype] | None,
    map_keys: KeyMap | None,
    strict: bool,
    trainable: Trainable,
    read: str,
    timeout: float | None,
    verify: bool,
    progress: Progress,
) -> nn.Module:
    group = group_of(process_group)
    check_source(source, group)
    calls.check_timeout(timeout)
    chosen = device_for(device, group)
    is_source = group.rank == source
    options = calls.options_json(
        root=source,
        read=read,
        device=str(chosen),
        strict=strict,
        verify=verify,
    )
    communicator = calls.connect(group, chosen, timeout)

    def given() -> Teacher | None:
        return teacher

    if agree_on_fsdp1(communicator, teacher, group.rank):
        make_module = calls.attempt(communicator, make_module)
        given = parts_of_fsdp1(communicator, cast("nn.Module", teacher), make_module, group.rank)
    target = _native.classes.Target()

    def prepare() -> _Prepared:
        module = make_module()
        allocate_shards(unwrap(module), chosen)
        native = teacher_for(unwrap(module), given(), map_keys, is_source, group.rank)
        tape = tape_of(unwrap(module))
        entries, recorded, left = set_target(target, unwrap(module), tape, dtype, dtype_rules)
        check_flat_devices(entries, chosen)
        if is_source:
            check_unread_weights(unwrap(module), teacher)
        if tape is not None and is_source:
            names = [entry.name for entry in entries]
            recorded = tape.values(
                names, recorded, lambda: is_covered(entries, set(tensor_names(native)))
            )
        if init is not None and is_source:
            recorded = with_init(entries, recorded, init, native)
        target.set_recorded(recorded)
        return _Prepared(module, native, entries, left, _choose_trained(entries, trainable))

    prepared: _Prepared | None = None
    with calls.agreed(communicator, target) as outcome:
        prepared = prepare()
    nothing = native_teacher(None, is_source=False, rank=group.rank)
    native = nothing if prepared is None else prepared.teacher
    reply = calls.run(
        communicator,
        lambda: communicator.fill(target, native, options),
        outcome,
        group.rank,
        shower(progress, is_source),
    )
    assert prepared is not None
    global _last
    _last = report_of(reply)
    _warn_of_misses(_last)
    if chosen.type == "cpu" and (
        has_shards_of_gpus(prepared.entries) or computes_on_gpus(prepared.module)
    ):
        _move_whole_tensors(communicator, prepared.entries, group.rank)
    _warn_of_meta(prepared.left_on_meta)
    drop_records(prepared.module)
    for parameter, trains in prepared.trained:
        parameter.requires_grad_(trains)
    return prepared.module.train()


def _move_whole_tensors(communicator: Any, entries: list[ModuleTensor], rank: int) -> None:
    failure: MemoryError | None = None
    try:
        move_whole_tensors(entries)
    except MemoryError as error:
        failure = error
    found = calls.compare(communicator, str(failure or ""), "buffers on GPUs", rank)
    first = (0, found.of_rank_0) if found.of_rank_0 else (found.other_rank, found.of_other_rank)
    if first[0] >= 0 and first[1]:
        raise HostMemoryError.of(
            "buffers",
            f"of rank {first[0]} do not fit its GPU: {first[1]}",
            "use more ranks, or a smaller batch beside them",
        ) from failure


def _choose_trained(
    entries: list[ModuleTensor], trainable: Trainable
) -> list[tuple[nn.Parameter, bool]]:
    chosen = []
    of_flat: dict[int, tuple[str, bool]] = {}
    for entry in entries:
        tensor = entry.tensor
        if entry.kind is not Kind.PARAMETER or not isinstance(tensor, nn.Parameter):
            continue
        can_train = tensor.is_floating_point() or tensor.is_complex()
        wanted = trainable(entry.name, tensor) if callable(trainable) else trainable
        trains = can_train and bool(wanted)
        chosen.append((tensor, trains))
        if is_flat_parameter(tensor):
            name, others_train = of_flat.setdefault(id(tensor), (entry.name, trains))
            if trains != others_train:
                raise ConfigError.of(
                    f"{name} and {entry.name}",
                    "are one flat parameter of FSDP1, of which trainable wants one trained alone",
                    "give FSDP1 use_orig_params=True, or wrap them as different units",
                )
    return chosen
