"""A module and its teacher, as the C++ library takes them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from . import _native
from .errors import ConfigError
from .meta import Record, meta_init, record_of
from .param_init import has_memory_to_fill, is_without_values
from .recorders import Tape, Values
from .teachers import (
    KeyMap,
    Part,
    Teacher,
    apply_key_map,
    has_parts,
    native_parts,
    native_teacher,
    state_dict_of,
)
from .tensors import ModuleTensor, registered_tensors, set_tensors, unregistered_tensors
from .wrappers import unwrapped_name


def teacher_for(
    module: nn.Module, teacher: Teacher | None, map_keys: KeyMap | None, is_source: bool, rank: int
) -> Any:
    """What reads the teacher of a module on this rank."""
    if teacher is None:
        parts = _remembered(module)
        if parts:
            return native_parts(parts, map_keys)
    if isinstance(teacher, nn.Module):
        teacher = state_dict_of(teacher)
    native = native_teacher(teacher, is_source=is_source, rank=rank)
    # Whole tensors in memory are the source's alone.
    is_others = isinstance(teacher, Mapping) and not has_parts(teacher)
    if teacher is not None and (is_source or not is_others):
        apply_key_map(native, map_keys)
    return native


def _remembered(module: nn.Module) -> list[Part]:
    """The weights that `from_pretrained` did not read, and the parts of the module they are of."""
    found = []
    for name, part in module.named_modules():
        record = record_of(part)
        if record is not None and record.pretrained is not None:
            found.append(Part.of(unwrapped_name(name), record.pretrained))
    return found


class TargetTensors(NamedTuple):
    """A module's tensors, as a target has them."""

    entries: list[ModuleTensor]
    recorded: Values  #: what each is computed from
    left_on_meta: list[str]  #: what nobody registered or recorded, and so nobody fills


def set_target(
    target: Any,
    module: nn.Module,
    tape: Tape | None,
    dtype: torch.dtype | None,
    dtype_rules: Mapping[str, torch.dtype] | None,
) -> TargetTensors:
    """Gives the target a module's tensors."""
    entries, left = _entries(module, tape)
    casts = dtype is not None or bool(dtype_rules)
    if casts:
        _refuse_cast_shards(entries)
    recorded = _recorded(entries, tape, casts)
    _refuse_untied(entries, recorded)
    set_tensors(target, entries, is_given=False)
    if tape is not None:
        tape.attach(target)
    if casts:
        _cast(target, dtype, dtype_rules)
    return TargetTensors(entries, recorded, left)


def _entries(module: nn.Module, tape: Tape | None) -> tuple[list[ModuleTensor], list[str]]:
    """All that can be filled, and the names of what else is on meta."""
    entries = registered_tensors(module)
    others = [entry for entry in unregistered_tensors(module, entries) if entry.tensor.is_meta]
    if tape is None:
        return entries, [entry.name for entry in others]
    known = tape.knows([entry.tensor for entry in others])
    entries += itertools.compress(others, known)
    left = [entry.name for entry, is_known in zip(others, known, strict=True) if not is_known]
    return entries, left


def cast_on_meta(
    module: nn.Module, dtype: torch.dtype | None, dtype_rules: Mapping[str, torch.dtype] | None
) -> None:
    """Gives a module that is yet to be sharded its dtypes."""
    if dtype is None and not dtype_rules:
        return
    tape = tape_of(module)
    entries, _ = _entries(module, tape)
    _refuse_cast_shards(entries)
    target = _native.classes.Target()
    set_tensors(target, entries, is_given=False)
    _cast(target, dtype, dtype_rules)


def _cast(
    target: Any, dtype: torch.dtype | None, dtype_rules: Mapping[str, torch.dtype] | None
) -> None:
    rules = dict(dtype_rules or {})
    _native.value_of(
        target.cast(
            "" if dtype is None else _dtype_name(dtype),
            list(rules),
            [_dtype_name(rule) for rule in rules.values()],
        )
    )


def _refuse_cast_shards(entries: list[ModuleTensor]) -> None:
    first = next((entry.name for entry in entries if entry.shard is not None), None)
    if first is not None:
        raise ConfigError.of(
            first,
            "is sharded already, so that dtype and dtype_rules come too late",
            "cast the module before it is sharded, or let create_fake_score_meta shard it",
        )


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def tape_of(module: nn.Module) -> Tape | None:
    """The record of a module's construction. Raises ConfigError where its parts have several."""
    init = _init_of(module)
    return None if init is None else init.tape


def check_unread_weights(module: nn.Module, teacher: Teacher | None) -> None:
    """Before the source is asked for values. Raises BuildError for what the fill would undo."""
    init = _init_of(module)
    if init is None or init.tape is None:
        return
    for weights in init.unread_weights:
        weights.refuse_what_needs_them(init.tape, are_the_teacher=teacher is None)


def _init_of(module: nn.Module) -> meta_init | None:
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
    return next(iter(inits.values()), None)


def _recorded(entries: list[ModuleTensor], tape: Tape | None, casts: bool) -> Values:
    """For each tensor what its value is computed from: itself, or what it was when it was made.

    None where nobody knows: memory of which there is no record may hold anything, and so may what
    `to_empty` has given to a module that was made under `meta_init`.
    """
    known = tape.knows([entry.part for entry in entries]) if tape is not None else []
    # FSDP1 wraps no module on meta. Of what to_empty has made for it no memory says anything, and
    # what was recorded counts; param_init_fn leaves alone what had memory.
    is_flattened = any(entry.flattened_from for entry in entries)
    by_record = is_flattened and not any(has_memory_to_fill(entry.tensor) for entry in entries)
    was_given_memory = any(
        entry.shard is None and not is_without_values(entry.tensor) and _was_meta(entry)
        for entry in entries
    )
    recorded: Values = []
    for index, entry in enumerate(entries):
        if known and known[index]:
            # A cast gives the object another storage.
            recorded.append(entry.tensor.detach() if casts else entry.tensor)
        elif is_without_values(entry.tensor) or entry.shard is not None or by_record:
            recorded.append(_when_made(entry))
        elif was_given_memory and (_was_meta(entry) or not _is_as_made(entry)):
            recorded.append(None)
        else:
            recorded.append(entry.tensor if _record_of_owner(entry) is not None else None)
    return recorded


def _record_of_owner(entry: ModuleTensor) -> Record | None:
    return record_of(entry.owner) if entry.owner is not None else None


def _was_meta(entry: ModuleTensor) -> bool:
    record = _record_of_owner(entry)
    return record is not None and record.was_meta(entry.local_name)


def _when_made(entry: ModuleTensor) -> torch.Tensor | None:
    record = _record_of_owner(entry)
    return None if record is None else record.tensor(entry.local_name)


def _is_as_made(entry: ModuleTensor) -> bool:
    """Of what was real at once: whether it has its values still, in whatever memory and dtype."""
    was = _when_made(entry)
    if was is None or was.is_meta or was.shape != entry.part.shape:
        return False
    return torch.equal(was.to(entry.part.device, entry.part.dtype), entry.part)


def _refuse_untied(entries: list[ModuleTensor], recorded: Values) -> None:
    """Raises ConfigError where what was one tensor is sharded as two."""
    first: dict[tuple[Any, ...], ModuleTensor] = {}
    for entry, was in zip(entries, recorded, strict=True):
        if was is None:
            continue
        place = (was.untyped_storage()._cdata, was.storage_offset(), was.shape, was.stride())
        other = first.setdefault(place, entry)
        if other.shard is None and entry.shard is None:
            continue
        if other.part.untyped_storage()._cdata == entry.part.untyped_storage()._cdata:
            continue
        raise ConfigError.of(
            f"{other.name} and {entry.name}",
            "are one tensor in the module, but were sharded apart: they would train as two",
            _REMEDY_OF_FSDP1 if entry.flattened_from else _REMEDY_OF_FSDP2,
        )


_REMEDY_OF_FSDP2 = (
    "shard them in one unit, as fully_shard([first, second]) does, or leave both to the root's"
)
_REMEDY_OF_FSDP1 = (
    "wrap them in one unit, and give FSDP1 param_init_fn=fakescore.param_init_fn(device), which "
    "keeps ties"
)
