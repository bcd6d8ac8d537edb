"""The record of what a builder did, for recording with TorchDispatchMode."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._ops import OpOverload

from .dispatch_seeds import SeedSource, default_generator_kept, moved_on
from .errors import BuildError


class TensorUse(enum.IntEnum):
    """What recorded operations did with a tensor; numbers are those of the C++ library."""

    NONE = 0
    READ = 1
    WRITTEN = 2


@dataclass(frozen=True)
class View:
    """A storage, and the geometry of a tensor on it.

    The tape follows storages, not tensor objects, so that detach(), .data and views need no
    entries. It keeps each alive, so that no address is used twice.
    """

    storage: torch.UntypedStorage
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int
    is_conj: bool
    is_neg: bool

    @classmethod
    def of(cls, tensor: torch.Tensor, op: str) -> View:
        """Raises BuildError, naming the operator, for a tensor that is not a plain strided one."""
        return cls(
            storage=storage_of(tensor, op),
            dtype=tensor.dtype,
            size=tensor.size(),
            stride=tensor.stride(),
            offset=int(tensor.storage_offset()),
            is_conj=tensor.is_conj(),
            is_neg=tensor.is_neg(),
        )

    @property
    def key(self) -> int:
        return int(self.storage._cdata)

    def on(self, storage: torch.UntypedStorage) -> torch.Tensor:
        """The same geometry on a real storage."""
        if self.size.numel() and self._last_byte() > storage.nbytes():
            # set_ would make the storage longer instead.
            raise BuildError.of("storage", "a replayed storage is smaller than a tensor in it")
        plain = torch.empty(0, dtype=self.dtype, device=storage.device)
        plain.set_(storage, self.offset, self.size, self.stride)
        if self.is_conj:
            plain = plain.conj()
        return torch._neg_view(plain) if self.is_neg else plain

    def _last_byte(self) -> int:
        last = sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        return (self.offset + last + 1) * self.dtype.itemsize


def storage_of(tensor: torch.Tensor, op: str) -> torch.UntypedStorage:
    """Raises BuildError, naming the operator, for a tensor that is not a plain strided one."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        raise BuildError.of(
            op,
            "uses or makes a sparse, quantized or nested tensor",
            "make such tensors after meta construction",
        )
    return tensor.untyped_storage()


def key_of(tensor: torch.Tensor, op: str) -> int:
    """What the tape knows a tensor's storage by."""
    return int(storage_of(tensor, op)._cdata)


@dataclass(frozen=True)
class Constant:
    """A real tensor that an operation read."""

    view: View
    watched: torch.Tensor | None  #: too large to copy: it must not have changed at replay
    version: int

    def tensor(self, op: str) -> torch.Tensor:
        """Raises BuildError, naming the operator, if the tensor has changed."""
        if self.watched is not None and self.watched._version != self.version:
            raise BuildError.of(
                op,
                "a real tensor that this op used under meta_init has changed since",
                "leave the tensor as it is until the module is real, or clone it first",
            )
        return self.view.on(self.view.storage)


@dataclass(frozen=True)
class Draw:
    """What a random operation draws from."""

    seed: int  #: of its own
    segment: int  #: drawing sequentially: which of the tape's
    skippable: bool  #: how much it draws depends on its result's size only, not on values


@dataclass
class Entry:
    """One recorded operation."""

    op: OpOverload
    arguments: dict[str, Any]  #: as called, with a View or a Constant for each tensor
    default_dtype: torch.dtype
    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)  #: written to, or made
    results: list[View | None] = field(default_factory=list)  #: None where a result is not meta
    draw: Draw | None = None


@dataclass
class Segment:
    """Draws that follow one another from one state of one generator."""

    first_state: torch.Tensor
    expected_state: torch.Tensor  #: the generator's, unless somebody seeds it
    entries: list[int] = field(default_factory=list)


class DispatchTape:
    """Holds meta tensors and constants only. Not thread-safe."""

    def __init__(self, *, seed: int | None, sequential: bool) -> None:
        self.seeds = SeedSource(seed)
        self.sequential = sequential
        self.entries: list[Entry] = []
        #: For each storage, the entries that made it or wrote to it, in order.
        self.writers: dict[int, list[int]] = {}
        #: Storages of meta tensors that are, in eager construction, views of a real tensor.
        self.constant_views: set[int] = set()
        self.segments: list[Segment] = []
        self._last_segment: dict[torch.Generator, int] = {}
        self._made: list[torch.Tensor] = []
        self._watched: dict[int, list[tuple[torch.Tensor, int]]] = {}
        self._handed_out: set[int] = set()
        #: By storage, the name of the tensor and the entry from which on its value is another.
        self.unknown: dict[int, tuple[str, int]] = {}

    def knows(self, tensors: Sequence[torch.Tensor]) -> list[bool]:
        """Whether each is a meta tensor on this tape."""
        return [
            tensor.is_meta
            and tensor.layout is torch.strided
            and int(tensor.untyped_storage()._cdata) in self.writers
            for tensor in tensors
        ]

    def uses_since(self, tensors: Sequence[torch.Tensor], since: int) -> list[TensorUse]:
        """What the operations after the first `since` did with each tensor's storage."""
        uses: dict[int, TensorUse] = {}
        for entry in self.entries[since:]:
            for key in entry.reads:
                uses.setdefault(key, TensorUse.READ)
            uses.update(dict.fromkeys(entry.writes, TensorUse.WRITTEN))
        return [uses.get(key_of(tensor, "uses_since"), TensorUse.NONE) for tensor in tensors]

    def mark_unknown(self, name: str, tensor: torch.Tensor, since: int) -> None:
        """From that operation on this tensor's value is not what was recorded."""
        self.unknown[key_of(tensor, name)] = (name, since)

    def append(self, entry: Entry) -> None:
        index = len(self.entries)
        for key in dict.fromkeys(entry.writes):
            self.writers.setdefault(key, []).append(index)
        if entry.draw is not None and self.sequential:
            self.segments[entry.draw.segment].entries.append(index)
        self.entries.append(entry)

    def made_with(self, keys: Sequence[int]) -> list[int]:
        """The storages that were last written to together with one of these."""
        return [written for key in keys for written in self.entries[self.writers[key][-1]].writes]

    def note_made(self, tensor: torch.Tensor) -> None:
        """A meta tensor that may be written to after recording has ended."""
        self._made.append(tensor)

    def segment_of(self, generator: torch.Generator) -> int:
        """That of a draw from this generator now."""
        state = generator.get_state()
        last = self._last_segment.get(generator)
        if last is not None and torch.equal(self.segments[last].expected_state, state):
            return last
        self.segments.append(Segment(state, moved_on(generator)))
        self._last_segment[generator] = len(self.segments) - 1
        return len(self.segments) - 1

    def close(self, tensors: Sequence[torch.Tensor]) -> None:
        """Recording has ended: writes to what was made, and to `tensors`, are watched from here."""
        with unseen_by_modes():
            for tensor in (*self._made, *tensors):
                if tensor.is_inference() or not self.knows([tensor])[0]:
                    continue
                alias = tensor.detach()  # one version counter, and no graph
                key = int(alias.untyped_storage()._cdata)
                self._watched.setdefault(key, []).append((alias, alias._version))
        self._made.clear()

    def check_unwritten(self, key: int) -> None:
        """Raises BuildError where a tensor was written to after recording had ended."""
        if key in self._handed_out:
            return  # what has become real may well be written to
        if any(tensor._version != version for tensor, version in self._watched.get(key, ())):
            raise BuildError.of(
                "in-place op",
                "a meta tensor was written to after the meta_init had ended, so the write was "
                "not recorded",
                "write to it under the meta_init, or after it was made real",
            )

    def hand_out(self, tensors: Sequence[torch.Tensor]) -> None:
        """These become real."""
        metas = (tensor for tensor in tensors if tensor.is_meta)
        self._handed_out.update(key_of(tensor, "materialize") for tensor in metas)


@contextlib.contextmanager
def unseen_by_modes() -> Iterator[None]:
    """No mode sees what is called, neither this package's nor the builder's."""
    with torch._C._DisableTorchDispatch(), torch._C.DisableTorchFunction():
        yield


@contextlib.contextmanager
def plain_conditions() -> Iterator[None]:
    """What is computed is the same whatever the caller has switched on."""
    dtype = torch.get_default_dtype()
    with (
        unseen_by_modes(),
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        default_generator_kept(),
    ):
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
