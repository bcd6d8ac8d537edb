"""Modules whose tensors get a teacher's values on every rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from . import _native, calls
from .errors import BuildError, ConfigError
from .explicit_init import Init, with_init
from .group import check_source, device_for, group_of
from .meta import drop_records, meta_init, record_of
from .pretrained import rebound
from .report import Report, report_of
from .teachers import Checkpoint, KeyMap, Teacher, apply_key_map, native_parts, native_teacher
from .tensors import Kind, ModuleTensor, registered_tensors, unregistered_tensors
from .wrappers import unwrap, unwrapped_name

#: Which parameters are to be trained.
Trainable = bool | Callable[[str, nn.Parameter], bool]

_last: Report | None = None


def last_report() -> Report | None:
    """What the last call of this process that filled a module did; None before the first."""
    return _last


def create_fake_score_meta(
    build: Callable[[], nn.Module],
    teacher: Teacher | None = None,
    *,
    shard: None = None,
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
    progress: calls.Progress = None,
) -> nn.Module:
    """Builds a teacher's fake score on every rank, without a copy of it anywhere.

    Every rank calls `build` under `meta_init`, so that nothing is allocated. The source reads the
    teacher and broadcasts it into storage that each rank has allocated for itself; where all ranks
    are on one host and see the teacher's files, each reads them. What the teacher does not hold
    (missing keys, non-persistent buffers, plain tensor attributes) is computed on the source from
    the record of `build`, and broadcast too. All ranks then hold the same bits.

    Args:
        build: returns the module; it may call constructors, `from_config` and `from_pretrained` of
            diffusers and transformers (see `meta_init`).
        teacher: a path (a safetensors or PyTorch file, an index, a folder, a distributed
            checkpoint; `Checkpoint` says more of one), several paths, a state dict, or a module.
            Its tensors are on the CPU or on the source's GPU. Needed on the source alone: other
            ranks may pass None, or the module on meta. None on the source: what `build` gave to
            `from_pretrained`.
        shard: has its place here; shards cannot be filled yet.
        source: the rank of the group that has the teacher.
        process_group: the ranks; the default group if None. Without torch.distributed it is this
            process alone. Control messages go over the group's store, tensors over its backend.
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
            itself (on meta). Parameters of integers never do.
        read: "auto", "root" or "all": who reads the teacher's files.
        timeout: seconds without a sign of another rank after which it is lost; 300 if None.
        verify: compare a digest of every tensor across ranks at the end.
        progress: see `Progress`.

    Returns:
        The module in training mode, with real tensors behind the objects that `build` made.

    Raises:
        FakescoreError: one of its classes, the same on every rank, within the timeout. After a
            CommError the process group cannot be used any more.

    Collective over the group. Work on a GPU begins after what is on the current stream, and has
    ended when the call returns.
    """
    if shard is not None:
        raise ConfigError.of(
            "shard", "cannot be filled yet", "fill the module whole, and shard it afterwards"
        )

    def build_on_meta() -> nn.Module:
        with meta_init():
            module = rebound(build)()
        if not isinstance(module, nn.Module):
            raise BuildError.of(
                "build", f"returned a {type(module).__name__}", "return a torch.nn.Module"
            )
        return module

    return _fill(
        build_on_meta,
        teacher,
        init=None,
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
    progress: calls.Progress = None,
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


@dataclass
class _Prepared:
    """What one rank brings to a call."""

    module: nn.Module
    teacher: Any
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
    progress: calls.Progress,
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
        timeout_ms=None,
        strict=strict,
        verify=verify,
    )
    communicator = calls.connect(group, chosen, timeout)
    target = _native.classes.Target()

    def prepare() -> _Prepared:
        module = make_module()
        native = _teacher_for(unwrap(module), teacher, map_keys, is_source, group.rank)
        entries, recorded = _set_target(target, unwrap(module), dtype, dtype_rules)
        if init is not None and is_source:
            recorded = with_init(entries, recorded, init, native)
        target.set_recorded(recorded)
        return _Prepared(module, native, _choose_trained(entries, trainable))

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
        calls.shower(progress, is_source),
    )
    assert prepared is not None
    global _last
    _last = report_of(reply)
    drop_records(prepared.module)
    for parameter, trains in prepared.trained:
        parameter.requires_grad_(trains)
    return prepared.module.train()


def _teacher_for(
    module: nn.Module, teacher: Teacher | None, map_keys: KeyMap | None, is_source: bool, rank: int
) -> Any:
    if teacher is None:
        parts = _remembered(module)
        if parts:
            return native_parts(parts, map_keys)
    native = native_teacher(teacher, is_source=is_source, rank=rank)
    # In memory there is something on the source alone.
    in_memory = isinstance(teacher, (nn.Module, Mapping))
    if teacher is not None and (is_source or not in_memory):
        apply_key_map(native, map_keys)
    return native


def _remembered(module: nn.Module) -> list[tuple[str, Checkpoint]]:
    """The weights that `from_pretrained` did not read, and the parts of the module they are of."""
    found = []
    for name, part in module.named_modules():
        record = record_of(part)
        if record is not None and record.pretrained is not None:
            where = record.pretrained
            checkpoint = Checkpoint(where.path, variant=where.variant, subfolder=where.subfolder)
            found.append((unwrapped_name(name), checkpoint))
    return found


def _set_target(
    target: Any,
    module: nn.Module,
    dtype: torch.dtype | None,
    dtype_rules: Mapping[str, torch.dtype] | None,
) -> tuple[list[ModuleTensor], list[torch.Tensor | None]]:
    """Gives the target a module's tensors; returns them, and what each is computed from."""
    tape = _tape_of(module)
    entries = registered_tensors(module)
    if tape is not None:
        entries += unregistered_tensors(module, lambda tensor: bool(tape.knows([tensor])[0]))
    casts = dtype is not None or bool(dtype_rules)
    recorded = _recorded(entries, tape, casts)
    _native.value_of(
        target.set_tensors(
            [entry.name for entry in entries],
            [entry.tensor for entry in entries],
            [int(entry.kind) for entry in entries],
            False,
        )
    )
    if tape is not None:
        target.set_tape(tape)
    if casts:
        rules = dict(dtype_rules or {})
        _native.value_of(
            target.cast(
                "" if dtype is None else _dtype_name(dtype),
                list(rules),
                [_dtype_name(rule) for rule in rules.values()],
            )
        )
    return entries, recorded


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _tape_of(module: nn.Module) -> Any:
    inits = {
        id(record.init): record.init
        for record in (record_of(part) for part in module.modules())
        if record is not None
    }
    if len(inits) > 1:
        raise ConfigError.of(
            "module",
            f"has parts that were made under {len(inits)} different meta_init",
            "make all of it under one, or fill the parts one by one",
        )
    return next(iter(inits.values())).tape if inits else None


def _recorded(entries: list[ModuleTensor], tape: Any, casts: bool) -> list[torch.Tensor | None]:
    """For each tensor what its value is computed from: itself, or what it was when it was made.

    None where nobody knows: memory of which there is no record may hold anything.
    """
    known = tape.knows([entry.tensor for entry in entries]) if tape is not None else []
    recorded: list[torch.Tensor | None] = []
    for index, entry in enumerate(entries):
        record = record_of(entry.owner) if entry.owner is not None else None
        if known and known[index]:
            # A cast gives the object another storage.
            recorded.append(entry.tensor.detach() if casts else entry.tensor)
        elif record is None:
            recorded.append(None)
        elif entry.tensor.is_meta:
            recorded.append(record.tensors.get(entry.local_name))
        else:
            recorded.append(entry.tensor)
    return recorded


def _choose_trained(
    entries: list[ModuleTensor], trainable: Trainable
) -> list[tuple[nn.Parameter, bool]]:
    chosen = []
    for entry in entries:
        tensor = entry.tensor
        if entry.kind is not Kind.PARAMETER or not isinstance(tensor, nn.Parameter):
            continue
        can_train = tensor.is_floating_point() or tensor.is_complex()
        wanted = trainable(entry.name, tensor) if callable(trainable) else trainable
        chosen.append((tensor, can_train and bool(wanted)))
    return chosen
