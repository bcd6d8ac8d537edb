"""The two ways in which a `meta_init` records, and the choice between them."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import torch

from . import _native
from .dispatch_recorder import DispatchRecorder
from .dispatch_replay import replay
from .dispatch_tape import DispatchTape, TensorUse
from .errors import BuildError, ConfigError, FakescoreError

#: "key": the C++ library's, on the dispatch key DeferredInit. "mode": TorchDispatchMode. "auto":
#: what the environment variable FAKESCORE_RECORDER says, else the key where PyTorch has it.
RecorderName = Literal["auto", "key", "mode"]
_VARIABLE = "FAKESCORE_RECORDER"

Values = list[torch.Tensor | None]
#: For each tensor, whether the teacher has its values for sure.
Covered = Callable[[], Sequence[bool]]


class Tape(Protocol):
    """What was recorded."""

    def knows(self, tensors: Sequence[torch.Tensor]) -> Sequence[bool]:
        """Whether each is a meta tensor of this record."""

    def size(self) -> int:
        """How many operations are on it."""

    def uses_since(self, tensors: Sequence[torch.Tensor], since: int) -> Sequence[TensorUse]:
        """What the operations after the first `since` did with each tensor's storage."""

    def mark_unknown(self, name: str, tensor: torch.Tensor, since: int) -> None:
        """From that operation on weights that are read later decide this tensor's value.

        A replay that would compute with it raises BuildError, with `name`.
        """

    def attach(self, target: Any) -> None:
        """Lets a target of the C++ library have it."""

    def values(self, names: Sequence[str], recorded: Values, covered: Covered) -> Values:
        """`recorded`, on the source, with values where a target cannot compute what may be needed.

        `names` are for errors.
        """

    def planned(self, recorded: Values) -> Values:
        """`recorded` for a plan, which asks only whether there is a value."""


class Recorder(contextlib.AbstractContextManager["Recorder"], Protocol):
    """While it is entered, what this thread does is recorded on its tape."""

    @property
    def tape(self) -> Tape: ...

    def close(self, tensors: Sequence[torch.Tensor]) -> None:
        """After it was left, with the tensors of the modules that were made."""


class _KeyTape:
    def __init__(self, native: Any) -> None:
        self._native = native

    def knows(self, tensors: Sequence[torch.Tensor]) -> Sequence[bool]:
        known: Sequence[bool] = self._native.knows(list(tensors))
        return known

    def size(self) -> int:
        return int(self._native.size())

    def uses_since(self, tensors: Sequence[torch.Tensor], since: int) -> Sequence[TensorUse]:
        return [TensorUse(use) for use in self._native.uses_since(list(tensors), since)]

    def mark_unknown(self, name: str, tensor: torch.Tensor, since: int) -> None:
        self._native.mark_unknown(name, tensor, since)

    def attach(self, target: Any) -> None:
        target.set_tape(self._native)

    def values(self, names: Sequence[str], recorded: Values, covered: Covered) -> Values:
        return recorded

    def planned(self, recorded: Values) -> Values:
        return recorded


class _KeyRecorder(contextlib.AbstractContextManager["_KeyRecorder"]):
    def __init__(self, seed: int | None, sequential: bool) -> None:
        self._seed = seed
        self._sequential = sequential
        self._guard: Any = _native.classes.Guard()

    @property
    def tape(self) -> Tape:
        return _KeyTape(self._guard.tape())

    def __enter__(self) -> _KeyRecorder:
        signed = self._seed
        if signed is not None and signed >= 2**63:
            signed -= 2**64
        _native.value_of(self._guard.begin(self._sequential, signed))
        return self

    def __exit__(self, *exception: Any) -> None:
        _native.value_of(self._guard.end())

    def close(self, tensors: Sequence[torch.Tensor]) -> None:
        pass  # the guard has seen to it


class _ModeTape:
    def __init__(self, tape: DispatchTape) -> None:
        self._tape = tape

    def knows(self, tensors: Sequence[torch.Tensor]) -> Sequence[bool]:
        return self._tape.knows(tensors)

    def size(self) -> int:
        return len(self._tape.entries)

    def uses_since(self, tensors: Sequence[torch.Tensor], since: int) -> Sequence[TensorUse]:
        return self._tape.uses_since(tensors, since)

    def mark_unknown(self, name: str, tensor: torch.Tensor, since: int) -> None:
        self._tape.mark_unknown(name, tensor, since)

    def attach(self, target: Any) -> None:
        pass  # it gets values

    def values(self, names: Sequence[str], recorded: Values, covered: Covered) -> Values:
        try:
            in_teacher = covered()
        except FakescoreError:
            return recorded  # the call fails the same way, once all ranks have built
        wanted = {
            index: tensor
            for index, (tensor, is_covered) in enumerate(zip(recorded, in_teacher, strict=True))
            if tensor is not None and tensor.is_meta and not is_covered
        }
        try:
            values = replay(self._tape, list(wanted.values()))
        except BuildError as error:
            first = names[next(iter(wanted))]
            others = f" or one of {len(wanted) - 1} more tensors" if len(wanted) > 1 else ""
            raise BuildError.of(
                error.subject, f"{error.message}; wanted for {first}{others}", error.remedy
            ) from error
        self._tape.hand_out([tensor for tensor in recorded if tensor is not None])
        computed = list(recorded)
        for index, value in zip(wanted, values, strict=True):
            computed[index] = value
        return computed

    def planned(self, recorded: Values) -> Values:
        return [
            torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)  # takes no memory
            if tensor is not None and self.knows([tensor])[0]
            else tensor
            for tensor in recorded
        ]


class _ModeRecorder(contextlib.AbstractContextManager["_ModeRecorder"]):
    def __init__(self, seed: int | None, sequential: bool) -> None:
        self._tape = DispatchTape(seed=seed, sequential=sequential)
        self._mode = DispatchRecorder(self._tape)

    @property
    def tape(self) -> Tape:
        return _ModeTape(self._tape)

    def __enter__(self) -> _ModeRecorder:
        self._mode.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        self._mode.__exit__(*exception)  # type: ignore[no-untyped-call]

    def close(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tape.close(tensors)


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Meanwhile nothing of this thread is recorded, by whichever recorder."""
    pause: Any = _native.classes.Pause()
    # Not without function modes: torch._dynamo tries them out as it is imported.
    with torch._C._DisableTorchDispatch():
        pause.begin()
        try:
            yield
        finally:
            pause.end()


def make_recorder(name: RecorderName, *, seed: int | None, sequential: bool) -> Recorder:
    """Raises ConfigError for a name that is none, or a recorder that cannot work here."""
    if seed is not None and not 0 <= seed < 2**64:
        raise ConfigError.of("seed", f"{seed} is not from 0 to 2**64 - 1", "give such a number")
    if _chosen(name) == "mode":
        return _ModeRecorder(seed, sequential)
    return _KeyRecorder(seed, sequential)


def _chosen(name: str) -> str:
    what = "recorder"
    if name == "auto":
        what = _VARIABLE
        name = os.environ.get(_VARIABLE, "auto")
    if name == "auto":
        return "key" if sees_key() else "mode"
    if name not in ("key", "mode"):
        raise ConfigError.of(what, f"is {name!r}", "give auto, key or mode")
    if name == "key" and not sees_key():
        raise ConfigError.of(
            what, "is 'key', but this torch has no dispatch key DeferredInit", "give auto or mode"
        )
    return name


@functools.cache
def sees_key() -> bool:
    """Whether there is the dispatch key, and what is called under it is seen."""
    guard: Any = _native.classes.Guard()
    if not guard.is_supported():
        return False
    _native.value_of(guard.begin(False, 0))
    try:
        return bool(guard.tape().knows([torch.empty(1, device="cpu")])[0])
    finally:
        _native.value_of(guard.end())


__all__ = [
    "Recorder",
    "RecorderName",
    "Tape",
    "TensorUse",
    "Values",
    "make_recorder",
    "sees_key",
    "unrecorded",
]
