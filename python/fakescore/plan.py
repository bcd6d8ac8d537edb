"""What filling a module would do, found out without a byte."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from . import _native, calls
from .errors import ConfigError
from .fill import build_on_meta
from .forecast import Forecast, forecast_of, forecast_options
from .target import check_unread_weights, set_target, tape_of, teacher_for
from .teachers import KeyMap, Teacher
from .wrappers import unwrap


@dataclass(frozen=True)
class Plan:
    """What a job would do."""

    world_size: int
    taken: str  #: which file of the teacher's path
    in_place: tuple[str, ...]  #: filled with the teacher's own bytes
    cast: tuple[str, ...]  #: whose dtype is not the teacher's
    assembled: tuple[str, ...]  #: copied by the reading rank first, for layout, views or a cast
    replayed: tuple[str, ...]  #: computed from the record of their initialisation
    missing: tuple[str, ...]  #: of the module, not in the teacher
    unexpected: tuple[str, ...]  #: of the teacher, not in the module
    skipped: tuple[str, ...]  #: of the teacher, and no weights
    wire_bytes: int  #: that the source broadcasts, if it reads alone
    broadcasts: int
    storage_bytes: int  #: of the module, on every rank
    mapped_bytes: int  #: of files, on a rank that reads: page cache, one for all ranks of a host
    #: who reads and sends how much, and how long that takes; two where it depends on the files
    forecasts: tuple[Forecast, ...]
    strict_failure: str | None  #: what the job would raise for missing and unexpected keys


def plan_fake_score(
    build: Callable[[], nn.Module],
    teacher: Teacher | None = None,
    *,
    world_size: int = 1,
    hosts: int = 1,
    ranks_per_copy: int = 1,
    figures: str | pathlib.Path | None = None,
    dtype: torch.dtype | None = None,
    dtype_rules: Mapping[str, torch.dtype] | None = None,
    map_keys: KeyMap | None = None,
    strict: bool = False,
    read: str = "auto",
) -> Plan:
    """What `create_fake_score_meta` of the same arguments would do in a job of so many ranks.

    Builds on meta, opens the teacher but reads none of its tensors, and allocates nothing.

    Args:
        hosts: on which the ranks lie in equal numbers.
        ranks_per_copy: ranks that share one copy of the module, as FSDP2's shards do; the others
            hold replicas. With 1 every rank holds whole tensors. The forecasts alone know of it.
        figures: what `fakescore measure` wrote: the forecasts then say how long the job takes.

    Raises:
        FakescoreError: what the job would raise before it moves bytes, but for `strict_failure`.

    Not collective.
    """
    if world_size < 1:
        raise ConfigError.of("world_size", f"is {world_size}", "give at least 1")
    module = unwrap(build_on_meta(build))
    target = _native.classes.Target()
    native = teacher_for(module, teacher, map_keys, is_source=True, rank=0)
    tape = tape_of(module)
    check_unread_weights(module, teacher)
    recorded = set_target(target, module, tape, dtype, dtype_rules).recorded
    target.set_recorded(recorded if tape is None else tape.planned(recorded))
    options = calls.options_json(root=0, read=read, device="cpu", strict=strict, verify=False)
    shape = forecast_options(world_size, hosts, ranks_per_copy, figures)
    reply = _native.value_of(target.plan(native, world_size, options, calls.options_json(**shape)))
    return Plan(
        world_size=reply["world_size"],
        taken=reply["choice"]["taken"],
        in_place=tuple(reply["in_place"]),
        cast=tuple(key["name"] for key in reply["cast"]),
        assembled=tuple(reply["assembled"]),
        replayed=tuple(tensor["name"] for tensor in reply["replayed"]),
        missing=tuple(reply["missing"]),
        unexpected=tuple(reply["unexpected"]),
        skipped=tuple(reply["skipped"]),
        wire_bytes=reply["wire_bytes"],
        broadcasts=reply["broadcasts"],
        storage_bytes=reply["memory"]["storage"],
        mapped_bytes=reply["memory"]["mapped_files"],
        forecasts=tuple(forecast_of(each) for each in reply["forecasts"]),
        strict_failure=reply["strict_failure"],
    )
