"""Records what a builder does with PyTorch's public TorchDispatchMode.

It sees operators below autograd, composites already taken apart; the C++ library's recorder sees
them above, whole. What is recorded, and the values, are otherwise the same.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from .dispatch_ops import map_tensors, op_info, tensors_in
from .dispatch_replay import replay
from .dispatch_seeds import default_generator_kept
from .dispatch_tape import (
    Constant,
    DispatchTape,
    Draw,
    Entry,
    View,
    key_of,
    storage_of,
    unseen_by_modes,
)
from .errors import BuildError

_LARGEST_COPIED_CONSTANT = 1 << 20


class DispatchRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, this thread's operations go on its tape."""

    def __init__(self, tape: DispatchTape) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tape = tape

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        with unseen_by_modes():
            return _Call(func, args, kwargs or {}, self._tape).run()


class _Call:
    """One call of one operator: decides whether it runs on real tensors, runs on meta tensors and
    is recorded, or needs values at once."""

    def __init__(
        self, op: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], tape: DispatchTape
    ) -> None:
        self._op = op
        self._info = op_info(op)
        self._tape = tape
        self._arguments = {**dict(zip(self._info.arguments, args, strict=False)), **kwargs}
        self._has_meta = False
        self._has_real = False
        self._writes_meta = False
        self._writes_real = False
        #: By storage, the meta tensors that a meta kernel got in the place of real ones.
        self._stand_ins: dict[int, torch.Tensor] = {}

    def run(self) -> Any:
        self._classify_arguments()
        if self._runs_as_called():
            return self._call_real(self._arguments)
        if self._has_meta and (self._info.reads_values or self._writes_real):
            return self._call_real(self._with_values())
        return self._record()

    def _refuse(self, message: str, remedy: str) -> NoReturn:
        raise BuildError.of(self._info.name, message, remedy)

    def _classify_arguments(self) -> None:
        for name, value in self._arguments.items():
            is_written = name in self._info.writes
            for tensor in tensors_in(value):
                if not tensor.is_meta:
                    self._has_real = True
                    self._writes_real |= is_written
                    continue
                self._has_meta = True
                self._writes_meta |= is_written
                self._check_known(key_of(tensor, self._info.name), is_written)
        if self._writes_real and self._writes_meta:
            # It would run at once, on a copy of the meta tensor's value that nobody sees again.
            self._refuse(
                "writes to a real and to a meta tensor at once",
                "make every tensor that it writes to under the meta_init, or call it once for each",
            )

    def _check_known(self, key: int, is_written: bool) -> None:
        if key not in self._tape.writers:
            self._refuse(
                "uses a meta tensor that was not made under this meta_init",
                "make the tensor under the meta_init, or pass a real one",
            )
        if is_written and key in self._tape.constant_views:
            self._refuse("writes to a view of a real tensor", "clone the view first")

    def _runs_as_called(self) -> bool:
        if self._has_meta:
            return False
        if not self._info.takes_device:
            return True
        device = self._arguments.get("device")
        # Builders pass on the device of tensors that they made: what says meta is recorded.
        if device is not None and torch.device(device).type == "meta":
            return False
        return self._has_real

    def _call_real(self, arguments: dict[str, Any]) -> Any:
        if not self._info.random:
            return self._op(**arguments)
        if self._tape.sequential:
            self._refuse(
                "draws random numbers immediately, before the recorded ops have drawn theirs",
                "leave out sequential=True",
            )
        seed = self._tape.seeds.next(arguments.get("generator"))
        with default_generator_kept() as generator:
            generator.manual_seed(seed)
            return self._op(**self._without_generator(arguments))

    def _without_generator(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "generator": None} if self._info.takes_generator else arguments

    def _with_values(self) -> dict[str, Any]:
        """The arguments, with the values of meta tensors."""
        metas = [tensor for tensor in tensors_in(list(self._arguments.values())) if tensor.is_meta]
        values = iter(replay(self._tape, metas))
        arguments = {
            name: map_tensors(value, lambda tensor: next(values) if tensor.is_meta else tensor)
            for name, value in self._arguments.items()
        }
        if self._info.takes_device:
            arguments["device"] = torch.device("cpu")
        return arguments

    def _record(self) -> Any:
        entry = self._entry()
        if self._info.random:
            entry.draw = self._draw()
        result = self._call_on_meta()
        self._check_written_arguments()
        makes_storage = self._note_results(entry, result)
        if self._info.returns == 0 and not self._info.writes:
            # It only raises where values are wrong: of whatever came with those.
            entry.writes += self._tape.made_with(entry.reads)
        # A pure view needs no entry: its storage and geometry say everything.
        if makes_storage or entry.writes:
            self._tape.append(entry)
        return result

    def _entry(self) -> Entry:
        entry = Entry(self._op, {}, torch.get_default_dtype())
        for name, value in self._arguments.items():
            for tensor in tensors_in(value):
                if tensor.is_meta:
                    entry.reads.append(key_of(tensor, self._info.name))
                    if name in self._info.writes:
                        entry.writes.append(entry.reads[-1])
            entry.arguments[name] = map_tensors(value, self._remembered)
        if self._info.takes_pin_memory:
            entry.arguments["pin_memory"] = None
        return entry

    def _remembered(self, tensor: torch.Tensor) -> View | Constant:
        view = View.of(tensor, self._info.name)
        if tensor.is_meta:
            return view
        # An inference tensor has no version to watch.
        if tensor.nbytes <= _LARGEST_COPIED_CONSTANT or tensor.is_inference():
            return Constant(View.of(tensor.detach().clone(), self._info.name), None, 0)
        return Constant(view, tensor, tensor._version)

    def _draw(self) -> Draw:
        generator = self._arguments.get("generator")
        seed = self._tape.seeds.next(generator)
        segment = 0
        if self._tape.sequential:
            segment = self._tape.segment_of(generator or torch.default_generator)
        skippable = all(
            name in self._info.writes or not any(True for _ in tensors_in(value))
            for name, value in self._arguments.items()
        )
        return Draw(seed, segment, skippable)

    def _call_on_meta(self) -> Any:
        if not self._info.dynamic_shape:
            try:
                return self._op(**self._meta_arguments())
            except NotImplementedError:
                pass
            except Exception:
                # Some operators read values on the way, which meta tensors answer with a plain
                # error. If the mistake is the caller's, the real run says so too, and better.
                if self._info.writes or not self._has_meta:
                    raise
        return self._written_arguments() if self._info.writes else self._learn_geometry()

    def _meta_arguments(self) -> dict[str, Any]:
        # A meta kernel asks no generator, and some refuse a CPU one.
        arguments = self._without_generator(self._arguments)
        arguments = {name: map_tensors(value, self._stand_in) for name, value in arguments.items()}
        if self._info.takes_device and (not self._has_meta or arguments.get("device") is not None):
            arguments["device"] = torch.device("meta")
        if self._info.takes_pin_memory:
            arguments["pin_memory"] = None
        return arguments

    def _stand_in(self, tensor: torch.Tensor) -> torch.Tensor:
        # Meta kernels take CPU scalars, and type promotion treats them as scalars.
        if tensor.is_meta or tensor.dim() == 0:
            return tensor
        meta = _empty_meta_like(tensor)
        self._stand_ins[key_of(meta, self._info.name)] = meta
        return meta

    def _learn_geometry(self) -> Any:
        arguments = self._without_generator(self._with_values())
        with default_generator_kept():
            result = self._op(**arguments)

        def emptied(tensor: torch.Tensor) -> torch.Tensor:
            storage_of(tensor, self._info.name)
            return _empty_meta_like(tensor)

        return map_tensors(result, emptied)

    def _written_arguments(self) -> Any:
        """The result of an operator that returns what it was given to write to."""
        written = [value for name, value in self._arguments.items() if name in self._info.writes]
        if self._info.returns == 0:
            return None
        if self._info.has_out or len(written) != self._info.returns:
            self._refuse(
                "writes to a meta tensor but cannot run on the meta device",
                "use the variant of the op that returns a new tensor",
            )
        return written[0] if len(written) == 1 else tuple(written)

    def _check_written_arguments(self) -> None:
        for name in self._info.writes:
            for tensor in tensors_in(self._arguments.get(name)):
                if key_of(tensor, self._info.name) in self._stand_ins:
                    self._refuse(
                        "makes a meta tensor share the storage of a real one",
                        "clone the real tensor",
                    )

    def _note_results(self, entry: Entry, result: Any) -> bool:
        """Whether the operator made a storage."""
        made: set[int] = set()
        for tensor in tensors_in(result):
            if not tensor.is_meta:
                entry.results.append(None)
                continue
            view = View.of(tensor, self._info.name)
            # What the operator was given to write to is known.
            if view.key not in self._tape.writers and view.key not in made:
                made.add(view.key)
                entry.writes.append(view.key)
                if view.key in self._stand_ins:
                    self._tape.constant_views.add(view.key)
            if not self._info.writes:
                self._tape.note_made(tensor)
            entry.results.append(view)
        return bool(made)


def _empty_meta_like(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")
