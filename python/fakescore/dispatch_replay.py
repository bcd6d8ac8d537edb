"""Computes what a tape of TorchDispatchMode has recorded."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import torch

from .dispatch_ops import op_info, tensors_in
from .dispatch_tape import Constant, DispatchTape, Draw, Entry, View, key_of, plain_conditions
from .errors import BuildError, FakescoreError

_Storages = dict[int, torch.UntypedStorage]


def replay(tape: DispatchTape, targets: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The values of meta tensors on the tape, on the CPU.

    They are computed from what they depend on alone, and share storage as the targets do. The
    default generator's state and the default dtype are restored.

    Raises BuildError naming the operator that failed, or if a tensor is not on this tape.
    """
    if not all(tape.knows(targets)):
        raise BuildError.of(
            "replay",
            "a meta tensor is not on this tape: it was made elsewhere, or after the meta_init had "
            "ended",
            "make it under the meta_init",
        )
    with plain_conditions():
        views = [View.of(target, "replay") for target in targets]
        return _Replay(tape, views).run()


class _Replay:
    """Computes the storages behind some tensors from the entries that they depend on, in order."""

    def __init__(self, tape: DispatchTape, targets: Sequence[View]) -> None:
        self._tape = tape
        self._targets = targets
        self._target_keys = {target.key for target in targets}
        #: By entry: whether it only draws, to move the generator on for others.
        self._draws_only: dict[int, bool] = {}
        self._pending: list[int] = []
        self._wanted: set[int] = set()
        self._wanted_segments: set[int] = set()
        self._last_use: dict[int, int] = {}
        self._values: _Storages = {}
        self._loaded_segment: int | None = None
        self._paused: dict[int, torch.Tensor] = {}

    def run(self) -> list[torch.Tensor]:
        for key in self._target_keys:
            self._tape.check_unwritten(key)
        self._plan()
        self._find_last_uses()
        for index in sorted(self._draws_only):
            self._execute(index)
        return [target.on(self._values[target.key]) for target in self._targets]

    def _plan(self) -> None:
        for key in self._target_keys:
            self._want_writers(key, len(self._tape.entries))
        # What an entry wants lies before it: from the last one back, one pass sees everything.
        while self._pending:
            index = -heapq.heappop(self._pending)
            entry = self._tape.entries[index]
            if entry.draw is not None and self._tape.sequential:
                self._draws_only[index] &= entry.draw.skippable
                self._want_draws(entry.draw.segment, index)
            if not self._draws_only[index]:
                self._check_known(entry, index)
                for key in (*entry.reads, *entry.writes):
                    self._want_writers(key, index)

    def _check_known(self, entry: Entry, index: int) -> None:
        for key in entry.reads:
            name, since = self._tape.unknown.get(key, ("", len(self._tape.entries)))
            if index >= since:
                raise BuildError.of(
                    op_info(entry.op).name,
                    f"computes with {name}, whose weights are read after the module is built",
                    "compute it after the fill, or let the teacher have the result",
                )

    def _want_writers(self, key: int, before: int) -> None:
        # The walk goes back in time, so that whoever asks first asks for the most.
        if key in self._wanted:
            return
        self._wanted.add(key)
        for index in self._tape.writers[key]:
            if index < before:
                self._add(index, draws_only=False)

    def _want_draws(self, segment: int, before: int) -> None:
        if segment in self._wanted_segments:
            return
        self._wanted_segments.add(segment)
        for index in self._tape.segments[segment].entries:
            if index < before:
                self._add(index, draws_only=True)

    def _add(self, index: int, *, draws_only: bool) -> None:
        if index not in self._draws_only:
            heapq.heappush(self._pending, -index)
        self._draws_only[index] = self._draws_only.get(index, True) and draws_only

    def _find_last_uses(self) -> None:
        for index in sorted(self._draws_only):
            if not self._draws_only[index]:
                entry = self._tape.entries[index]
                self._last_use.update(dict.fromkeys((*entry.reads, *entry.writes), index))

    def _execute(self, index: int) -> None:
        entry = self._tape.entries[index]
        info = op_info(entry.op)
        arguments = self._real_arguments(entry, self._draws_only[index])
        lengths = _lengths(list(arguments.values()))
        torch.set_default_dtype(entry.default_dtype)
        if entry.draw is not None:
            self._prepare_generator(entry.draw)
        try:
            result = entry.op(**arguments)
        except FakescoreError:
            raise
        except Exception as error:
            raise BuildError.of(info.name, str(error)) from error
        if self._draws_only[index]:
            return
        if info.leaves_unset:
            _zero_new_bytes(result, lengths)
        self._keep_results(entry, result, lengths)
        self._drop_unneeded(entry, index)

    def _real_arguments(self, entry: Entry, draws_only: bool) -> dict[str, Any]:
        info = op_info(entry.op)
        real = {
            name: self._real(value, info.name, draws_only)
            for name, value in entry.arguments.items()
        }
        if info.takes_generator:
            real["generator"] = None
        if info.takes_device and (not entry.reads or real.get("device") is not None):
            real["device"] = torch.device("cpu")
        return real

    def _real(self, value: Any, op: str, draws_only: bool) -> Any:
        if isinstance(value, Constant):
            return value.tensor(op)
        if isinstance(value, View):
            if draws_only:
                return torch.empty_strided(
                    value.size, value.stride, dtype=value.dtype, device="cpu"
                )
            return value.on(self._values[value.key])
        if isinstance(value, (list, tuple)):
            return type(value)([self._real(item, op, draws_only) for item in value])
        return value

    def _prepare_generator(self, draw: Draw) -> None:
        generator = torch.default_generator
        if not self._tape.sequential:
            generator.manual_seed(draw.seed)
            return
        if self._loaded_segment == draw.segment:
            return
        if self._loaded_segment is not None:
            self._paused[self._loaded_segment] = generator.get_state()
        first_state = self._tape.segments[draw.segment].first_state
        generator.set_state(self._paused.get(draw.segment, first_state))
        self._loaded_segment = draw.segment

    def _keep_results(self, entry: Entry, result: Any, lengths: dict[int, int]) -> None:
        for tensor, meta in zip(tensors_in(result), entry.results, strict=True):
            if meta is not None and meta.key not in self._values:
                # A constant of the tape must not be handed out.
                can_take = key_of(tensor, op_info(entry.op).name) not in lengths
                self._values[meta.key] = _storage_for(meta, tensor, can_take, entry)

    def _drop_unneeded(self, entry: Entry, index: int) -> None:
        for key in (*entry.reads, *entry.writes):
            if self._last_use[key] == index and key not in self._target_keys:
                self._values.pop(key, None)


def _storage_for(
    meta: View, value: torch.Tensor, can_take: bool, entry: Entry
) -> torch.UntypedStorage:
    """A storage on which the geometry of `meta` has these values: the value's own, or a copy."""
    name = op_info(entry.op).name
    if value.size() != meta.size or value.dtype != meta.dtype:
        raise BuildError.of(
            name, "made a tensor of another size or dtype than it did when it was recorded"
        )
    own = View.of(value, name)
    same_layout = (own.stride, own.offset, own.is_conj, own.is_neg) == (
        meta.stride,
        meta.offset,
        meta.is_conj,
        meta.is_neg,
    )
    if can_take and same_layout and own.storage.nbytes() >= meta.storage.nbytes():
        return own.storage
    bytes_of_it = torch.zeros(meta.storage.nbytes(), dtype=torch.uint8, device="cpu")
    meta.on(bytes_of_it.untyped_storage()).copy_(value)
    return bytes_of_it.untyped_storage()


def _lengths(value: Any) -> dict[int, int]:
    """Of the storages of the tensors in a value."""
    storages = (tensor.untyped_storage() for tensor in tensors_in(value))
    return {int(storage._cdata): storage.nbytes() for storage in storages}


def _zero_new_bytes(result: Any, before: dict[int, int]) -> None:
    """Memory that no operation wrote to is the heap's: what a builder leaves unset is zero."""
    for tensor in tensors_in(result):
        storage = tensor.untyped_storage()
        kept = before.get(int(storage._cdata), 0)
        if storage.nbytes() > kept:
            fresh = torch.empty(0, dtype=torch.uint8, device="cpu")
            fresh.set_(storage, kept, (storage.nbytes() - kept,), (1,)).zero_()
