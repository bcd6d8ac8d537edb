"""Construction on the meta device, with a record of every initialisation."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as module_hooks

from . import _native
from .errors import ConfigError
from .function_mode import MetaFunctionMode
from .pretrained import Pretrained, config_only

_RECORD = "_fakescore_record"


class Record:
    """What a module's own parameters and buffers were at the end of a `meta_init`.

    A tape follows tensors; this follows names, for what takes their place before they are filled:
    `module.to(dtype)` makes new buffers, wrappers make new parameters.
    """

    def __init__(self, init: meta_init, module: nn.Module) -> None:
        self.init = init
        self._module = weakref.ref(module)
        self.tensors: dict[str, torch.Tensor] = {}
        self.pretrained: Pretrained | None = None

    def close(self) -> None:
        """Keeps the tensors as they are now."""
        module = self._module()
        if module is None:
            return
        for name, tensor in {**module._parameters, **module._buffers}.items():
            if tensor is not None and tensor.is_meta:
                self.tensors[name] = tensor.detach()

    def __deepcopy__(self, memo: dict[int, Any]) -> Record | None:
        module = self._module()
        copied = memo.get(id(module)) if module is not None else None
        if not isinstance(copied, nn.Module):
            return None
        record = Record(self.init, copied)
        record.tensors = dict(self.tensors)
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
        part.__dict__.pop(_RECORD, None)


class meta_init(contextlib.AbstractContextManager["meta_init"]):
    """While it is entered, this thread makes tensors on the meta device, and what would have been
    computed is recorded.

    Whatever device is named, tensors that factories make are meta tensors; reading a value
    (`.item()`) computes it at once. `torch.tensor` and `torch.from_numpy` make real tensors on the
    CPU. `from_pretrained` of diffusers and transformers makes the module from its config alone, and
    remembers where its weights are.

    Args:
        seed: of what is recorded; the default generator's seed if not given.
        sequential: draw as eager construction under the same seed does, to the bit. Else each
            random operation has a seed of its own, so that any tensor can be computed alone.

    Raises:
        BuildError: for an operation that cannot be recorded, naming it.

    Not collective. For one thread; can be entered once.
    """

    def __init__(self, *, seed: int | None = None, sequential: bool = False) -> None:
        self._seed = seed
        self._sequential = sequential
        self._records: list[Record] = []
        self._guard: Any = _native.classes.Guard()
        self._stack = contextlib.ExitStack()
        self._entered = False
        self.tape: Any = None

    def __enter__(self) -> meta_init:
        if self._entered:
            raise ConfigError.of("meta_init", "was entered before", "make another one")
        self._entered = True
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._hooked())
            stack.enter_context(config_only(self.remember))
            # What diffusers and transformers do at the end of a constructor must see the guard.
            _native.value_of(self._guard.begin(self._sequential, _as_signed(self._seed)))
            stack.callback(lambda: _native.value_of(self._guard.end()))
            self.tape = self._guard.tape()
            stack.enter_context(MetaFunctionMode())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)
        for record in self._records:
            record.close()

    def note(self, record: Record) -> None:
        """A record of a module that was made under this."""
        self._records.append(record)

    def remember(self, module: nn.Module, pretrained: Pretrained) -> None:
        """Where a module's weights are, that were not read."""
        self._record(module).pretrained = pretrained

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
            if tensor is not None:
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


def _as_signed(seed: int | None) -> int | None:
    if seed is None:
        return None
    if not 0 <= seed < 2**64:
        raise ConfigError.of("seed", f"{seed} is not from 0 to 2**64 - 1", "give such a number")
    return seed - 2**64 if seed >= 2**63 else seed
