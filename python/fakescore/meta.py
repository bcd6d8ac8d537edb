"""Construction on the meta device, with a record of every initialisation."""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as module_hooks

from .dispatch_tape import unseen_by_modes
from .errors import BuildError, ConfigError
from .function_mode import MetaFunctionMode
from .pretrained import Pretrained, config_only
from .recorders import Recorder, RecorderName, Tape, make_recorder, unrecorded
from .unread_weights import UnreadWeights

_RECORD = "_fakescore_record"


class Record:
    """What a module's own parameters and buffers were at the end of a `meta_init`.

    A tape follows tensors; this follows names, for what takes their place before they are filled:
    `module.to(dtype)` makes new buffers, wrappers make new parameters.
    """

    def __init__(self, init: meta_init, module: nn.Module) -> None:
        self.init = init
        self._module = weakref.ref(module)
        #: With the version that each had then; None for what has none, and for what is real.
        self._tensors: dict[str, tuple[torch.Tensor, int | None]] = {}
        self.pretrained: Pretrained | None = None

    def close(self) -> list[torch.Tensor]:
        """Keeps the tensors as they are now, and returns the module's own.

        Unrecorded, and unseen by modes.
        """
        module = self._module()
        if module is None:
            return []
        own = {
            name: tensor
            for name, tensor in {**module._parameters, **module._buffers}.items()
            if tensor is not None
        }
        for name, tensor in own.items():
            # One version counter with the module's own, and no graph.
            is_counted = tensor.is_meta and not tensor.is_inference()
            version = tensor._version if is_counted else None
            self._tensors[name] = (tensor.detach(), version)
        return [tensor for tensor in own.values() if tensor.is_meta]

    def tensor(self, name: str) -> torch.Tensor | None:
        """What was recorded under a name. Raises BuildError if it was written to since."""
        if name not in self._tensors:
            return None
        tensor, version = self._tensors[name]
        if version is not None and tensor._version != version:
            module = self._module()
            raise BuildError.of(
                f"{type(module).__name__}.{name}",
                "was written to on meta after the meta_init had ended, so that the write was not "
                "recorded",
                "write to it under the meta_init, or after it is filled",
            )
        return tensor

    def forget(self) -> None:
        """Lets go of the tensors: the meta_init may live on."""
        self._tensors.clear()

    def was_meta(self, name: str) -> bool:
        """Whether it was recorded under this name, and was on meta."""
        return name in self._tensors and self._tensors[name][0].is_meta

    def __deepcopy__(self, memo: dict[int, Any]) -> Record | None:
        module = self._module()
        copied = memo.get(id(module)) if module is not None else None
        if not isinstance(copied, nn.Module):
            return None
        record = Record(self.init, copied)
        record._tensors = dict(self._tensors)
        record.pretrained = self.pretrained
        self.init.note(record)
        return record

    def __reduce__(self) -> Any:
        # A record is of this process alone: what is saved has none.
        return (type(None), ())


def record_of(module: nn.Module) -> Record | None:
    """The record of a module's own tensors, if it was made under a `meta_init`."""
    record = module.__dict__.get(_RECORD)
    return record if isinstance(record, Record) else None


def drop_records(module: nn.Module) -> None:
    """Of a module that has been filled."""
    for part in module.modules():
        record = part.__dict__.pop(_RECORD, None)
        if record is not None:
            record.forget()


class meta_init(contextlib.AbstractContextManager["meta_init"]):
    """While it is entered, this thread makes tensors on the meta device, and what would have been
    computed is recorded.

    Whatever device is named, tensors that factories make are meta tensors; reading a value
    (`.item()`) computes it at once. `torch.tensor` and `torch.from_numpy` make real tensors on the
    CPU. `from_pretrained` of diffusers and transformers makes the module from its config alone, and
    remembers where its weights are: in a folder, or in the hub's cache; nothing is downloaded.

    Args:
        seed: of what is recorded; the default generator's seed if not given.
        sequential: draw as eager construction under the same seed does, to the bit. Else each
            random operation has a seed of its own, so that any tensor can be computed alone.
        recorder: "key", the C++ library's; "mode", on PyTorch's TorchDispatchMode; or "auto": what
            the environment variable FAKESCORE_RECORDER says, else the first where PyTorch has the
            dispatch key that it needs.

    Raises:
        BuildError: for an operation that cannot be recorded, naming it.

    Not collective. For one thread; can be entered once.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        sequential: bool = False,
        recorder: RecorderName = "auto",
    ) -> None:
        self._make_recorder = functools.partial(
            make_recorder, recorder, seed=seed, sequential=sequential
        )
        self._recorder: Recorder | None = None
        self._records: list[Record] = []
        self._stack = contextlib.ExitStack()
        self._entered = False
        self._thread = 0
        self.tape: Tape | None = None
        self.unread_weights: list[UnreadWeights] = []

    def __enter__(self) -> meta_init:
        if self._entered:
            raise ConfigError.of("meta_init", "was entered before", "make another one")
        self._entered = True
        self._thread = threading.get_ident()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._hooked())
            stack.enter_context(config_only(self.remember))
            # What diffusers and transformers do at the end of a constructor must be recorded.
            self._recorder = self._make_recorder()
            stack.enter_context(self._recorder)
            self.tape = self._recorder.tape
            stack.enter_context(MetaFunctionMode())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)
        with unrecorded(), unseen_by_modes():  # by an outer meta_init
            tensors = [tensor for record in self._records for tensor in record.close()]
        if self._recorder is not None:
            self._recorder.close(tensors)

    def note(self, record: Record) -> None:
        """A record of a module that was made under this."""
        self._records.append(record)

    def remember(self, module: nn.Module, pretrained: Pretrained) -> None:
        """Where a module's weights are, that were not read."""
        self._record(module).pretrained = pretrained
        if self.tape is not None:
            self.unread_weights.append(UnreadWeights(module, pretrained, self.tape))

    def _record(self, module: nn.Module) -> Record:
        record = record_of(module)
        if record is None or record.init is not self:
            record = Record(self, module)
            module.__dict__[_RECORD] = record
            self.note(record)
        return record

    @contextlib.contextmanager
    def _hooked(self) -> Any:
        def on_tensor(module: nn.Module, name: str, tensor: torch.Tensor | None) -> None:
            # The hooks are the process's.
            if tensor is not None and threading.get_ident() == self._thread:
                self._record(module)

        handles = (
            module_hooks.register_module_parameter_registration_hook(on_tensor),
            module_hooks.register_module_buffer_registration_hook(on_tensor),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
