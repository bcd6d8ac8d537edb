"""What a call did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CastKey:
    """A tensor whose dtype is not the teacher's."""

    name: str
    source: str  #: the teacher's dtype, such as "BFloat16"
    target: str


@dataclass(frozen=True)
class Phase:
    """One phase of a call, on the slowest rank."""

    name: str
    seconds: float
    bytes: int  #: sent by one rank or several, or read by each for itself


@dataclass(frozen=True)
class Report:
    """What filling a module did; the same on every rank."""

    world_size: int
    backend: str
    read: str  #: who read the teacher: "root"; "all", each for itself; "turns", each byte once
    read_reason: str  #: why the source alone did, or what else there is to say; may be empty
    read_bytes: tuple[int, ...]  #: of the teacher's tensors, what each rank read, by rank
    sent_bytes: tuple[int, ...]  #: to other ranks, by rank; once for each that it sent to
    received_bytes: tuple[int, ...]  #: from other ranks, by rank
    hosts: tuple[int, ...]  #: by rank: its host, numbered in the order of their first ranks
    link_sent_bytes: tuple[int, ...]  #: by host: to other hosts
    link_received_bytes: tuple[int, ...]  #: by host: from other hosts
    missing: tuple[str, ...]  #: of the module, not in the teacher
    unexpected: tuple[str, ...]  #: of the teacher, not in the module
    skipped: tuple[str, ...]  #: of the teacher, and no tensors: `_extra_state`
    replayed: tuple[str, ...]  #: not the teacher's values: those of their initialisation
    cast: tuple[CastKey, ...]
    taken: str  #: which file of the teacher's path was read; empty for one in memory
    passed_over: tuple[str, ...]  #: weights beside it that were not
    phases: tuple[Phase, ...]
    bytes: int  #: of all phases
    seconds: float  #: of the slowest rank
    peak_host_bytes: tuple[int, ...]  #: peak resident set of the process, by rank
    peak_device_bytes: tuple[int, ...]  #: of torch's allocator, by rank; empty for CPUs
    digest: str | None  #: of every tensor, with verify=True


def report_of(reply: dict[str, Any]) -> Report:
    """The report in a reply of the C++ library."""
    return Report(
        world_size=reply["world_size"],
        backend=reply["backend"],
        read=reply["read"],
        read_reason=reply["read_reason"],
        read_bytes=tuple(reply["read_bytes"]),
        sent_bytes=tuple(reply["sent_bytes"]),
        received_bytes=tuple(reply["received_bytes"]),
        hosts=tuple(reply["hosts"]),
        link_sent_bytes=tuple(reply["link_sent_bytes"]),
        link_received_bytes=tuple(reply["link_received_bytes"]),
        missing=tuple(reply["missing"]),
        unexpected=tuple(reply["unexpected"]),
        skipped=tuple(reply["skipped"]),
        replayed=tuple(reply["replayed"]),
        cast=tuple(CastKey(key["name"], key["from"], key["to"]) for key in reply["cast"]),
        taken=reply["choice"]["taken"],
        passed_over=tuple(reply["choice"]["passed_over"]),
        phases=tuple(Phase(**phase) for phase in reply["phases"]),
        bytes=reply["bytes"],
        seconds=reply["seconds"],
        peak_host_bytes=tuple(reply["peak_host_bytes"]),
        peak_device_bytes=tuple(reply["peak_device_bytes"]),
        digest=reply["digest"],
    )
