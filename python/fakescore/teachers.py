"""What a teacher may be, for the C++ library."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from . import _native
from .errors import ConfigError, TeacherError
from .pretrained import Pretrained
from .sharding import OwnPart, Parts, Shard, native_shards, part_of
from .wrappers import imported_fsdp, is_sharded, is_sharded_tensor, refuse_zero_3, unwrap


@dataclass(frozen=True)
class Checkpoint:
    """A path, where it takes more than that to say what is meant.

    path: a file, an index, a folder or a distributed checkpoint (docs/teachers.md).
    key: under which a PyTorch file nests its state dict, or the prefix in a distributed checkpoint.
    variant: of a folder's files: "fp16" means diffusion_pytorch_model.fp16.safetensors.
    subfolder: below the folder, that holds the weights: "transformer".
    """

    path: str | os.PathLike[str]
    key: str = ""
    variant: str = ""
    subfolder: str = ""


@dataclass(frozen=True)
class Merge:
    """Several of the teacher's tensors that the module has as one: concatenated along `dim`."""

    parts: Sequence[str]
    dim: int = 0


Path = str | os.PathLike[str] | Checkpoint
Teacher = Path | Sequence[Path] | Mapping[str, Any] | nn.Module
OneKeyMap = str | Mapping[str, str | Sequence[str] | Merge] | Callable[[str], str | None]
KeyMap = OneKeyMap | Sequence[OneKeyMap]


def native_teacher(
    teacher: Path | Sequence[Path] | Mapping[str, Any] | None, *, is_source: bool, rank: int
) -> Any:
    """What reads it. Raises ConfigError for what is no teacher; a missing one fails when opened."""
    holder = _native.classes.Teacher()
    if isinstance(teacher, Mapping):
        if is_source or has_parts(teacher):
            _set_state_dict(holder, teacher)
            return holder
        teacher = None  # it may be on meta there, and is not asked
    if teacher is None:
        description = f"the teacher of rank {rank}"
        _native.value_of(
            holder.set_nothing(
                description,
                "give the source a path, a state dict or a module, or build with from_pretrained",
            )
        )
        return holder
    if isinstance(teacher, (str, os.PathLike, Checkpoint)):
        _set_path(holder, teacher)
        return holder
    if not isinstance(teacher, Sequence) or not teacher:
        raise ConfigError.of(
            "teacher",
            f"is a {type(teacher).__name__}",
            "give a path, a sequence of paths, a state dict or a module",
        )
    parts = []
    for path in teacher:
        part = _native.classes.Teacher()
        _set_path(part, path)
        parts.append(part)
    _native.value_of(holder.combine(parts))
    return holder


def state_dict_of(teacher: nn.Module) -> Mapping[str, Any]:
    """A module's state dict; of one that FSDP2 has sharded, the parts, wherever it stands."""
    fsdp = imported_fsdp()
    for part in teacher.modules():
        if fsdp is not None and isinstance(part, fsdp.FSDPModule):
            part.reshard()  # after a forward the root's parameters are gathered
    state_dict: Mapping[str, Any] = unwrap(teacher).state_dict()
    return state_dict


def has_parts(state_dict: Mapping[str, Any]) -> bool:
    """Whether each rank has a part of it, with values."""
    return any(
        isinstance(value, OwnPart)
        or ((is_sharded(value) or is_sharded_tensor(value)) and not part_of(value).is_meta)
        for value in state_dict.values()
        if isinstance(value, (torch.Tensor, OwnPart))
    )


@dataclass(frozen=True)
class Part:
    """A part of a module, with the checkpoint that its `from_pretrained` was given."""

    name: str  #: in the module; empty for all of it
    checkpoint: Checkpoint
    fit: Callable[[str], str] | None  #: from a name in it to one in the part

    @classmethod
    def of(cls, name: str, where: Pretrained) -> Part:
        """With the weights that its `from_pretrained` did not read."""
        checkpoint = Checkpoint(where.path, variant=where.variant, subfolder=where.subfolder)
        return cls(name, checkpoint, where.fit)


def native_parts(parts: Sequence[Part], key_map: KeyMap | None) -> Any:
    """What reads checkpoints of parts of a module, whose names get the parts' before them."""
    holders = []
    for part in parts:
        holder = _native.classes.Teacher()
        _set_path(holder, part.checkpoint)
        apply_key_map(holder, key_map)
        if part.fit is not None:
            _fit(holder, part.fit)
        if part.name:
            beginning = part.name.replace("$", "$$") + "."
            _native.value_of(holder.rename_keys(["^=" + beginning]))
        holders.append(holder)
    combined = _native.classes.Teacher()
    _native.value_of(combined.combine(holders))
    return combined


def tensor_names(holder: Any) -> list[str]:
    """The names of a teacher's tensors, as they are by now. Raises what opening it raises."""
    return [tensor["name"] for tensor in _native.value_of(holder.tensors())]


def _fit(holder: Any, fit: Callable[[str], str]) -> None:
    try:
        names = tensor_names(holder)
    except TeacherError:
        return  # other ranks need not have it, and on the source the call will say so
    fitting = [fit(name) for name in names]
    if fitting != names:
        _native.value_of(holder.map_names(names, fitting, "from_pretrained"))


def _set_path(holder: Any, path: Path) -> None:
    if not isinstance(path, Checkpoint):
        path = Checkpoint(path)
    where = os.path.abspath(os.fspath(path.path))
    _native.value_of(holder.set_path(where, path.key, path.variant, path.subfolder))


def _set_state_dict(holder: Any, state_dict: Mapping[str, Any]) -> None:
    names: list[str] = []
    tensors: list[torch.Tensor] = []
    shards: list[Shard | None] = []
    parts = Parts()
    for name, value in state_dict.items():
        if isinstance(value, OwnPart):
            names.append(name)
            shards.append(value.shard)
            tensors.append(value.values)
            continue
        if not isinstance(value, torch.Tensor):
            if name.split(".")[-1] == "_extra_state":
                continue
            raise ConfigError.of(
                f"teacher[{name!r}]",
                f"is a {type(value).__name__} and no tensor",
                "give the model's own state dict, as model.state_dict() makes it",
            )
        refuse_zero_3(f"teacher[{name!r}]", value)
        part, shard = parts.of(name, value)
        if part.is_meta:
            raise ConfigError.of(
                f"teacher[{name!r}]",
                "is on the meta device, on the source itself",
                "give the source a teacher with values, or say by source= which rank has them",
            )
        names.append(name)
        shards.append(shard)
        tensors.append(part.detach())
    _native.value_of(holder.set_state_dict(names, tensors, *native_shards(shards)))


def apply_key_map(holder: Any, key_map: KeyMap | None) -> None:
    """Gives the teacher's tensors the names that the map says, then takes off what wrappers put in.

    Raises ConfigError for a map that is malformed.
    """
    one_by_one: Sequence[OneKeyMap | None] = (
        key_map if isinstance(key_map, (list, tuple)) else [cast("OneKeyMap | None", key_map)]
    )
    for one in one_by_one:
        if one is not None:
            _apply(holder, one)
    _native.value_of(holder.unwrap_names())
    # PEFT's adapters that are injected into a module put this in alone.
    _native.value_of(holder.rename_keys([r"\bbase_layer\.="]))


def _apply(holder: Any, key_map: OneKeyMap) -> None:
    if isinstance(key_map, str):
        _native.value_of(holder.strip_prefix(key_map))
    elif isinstance(key_map, Mapping):
        for name, target in key_map.items():
            if isinstance(target, str):
                _native.value_of(holder.rename_keys([_rule(name, target)]))
            else:
                merge = target if isinstance(target, Merge) else Merge(tuple(target))
                parts = list(merge.parts)
                _native.value_of(holder.merge_keys([name], [len(parts)], parts, [merge.dim]))
    elif callable(key_map):
        names = tensor_names(holder)
        renamed = [key_map(name) for name in names]
        for name, result in zip(names, renamed, strict=True):
            if result is not None and not (isinstance(result, str) and result):
                raise ConfigError.of(
                    "map_keys",
                    f"returned {result!r} for {name!r}",
                    "return a name, or None to leave the tensor out",
                )
        _native.value_of(holder.map_names(names, [name or "" for name in renamed], "map_keys"))
    else:
        raise ConfigError.of(
            "map_keys",
            f"is a {type(key_map).__name__}",
            "give a prefix, a dict of regular expressions or merges, or a callable",
        )


def _rule(pattern: str, target: str) -> str:
    """A rule of TeacherSource::rename_keys."""
    if "\\1" in target or "\\g<" in target:
        raise ConfigError.of(
            f"map_keys[{pattern!r}]",
            f"has Python's reference to a group in {target!r}",
            "write $1 for the first group: the expressions are ECMAScript's",
        )
    return pattern.replace("=", "\\=") + "=" + target
