"""What torch's functions do under a `meta_init` before the recorder sees them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._device import _device_constructors

from .errors import BuildError

_IS_META: Any = torch.Tensor.is_meta.__get__  # type: ignore[attr-defined]
_MOVES = (torch.Tensor.cpu, torch.Tensor.cuda, torch.Tensor.pin_memory)
_TO_PYTHON = {
    torch.Tensor.numpy: "numpy",
    torch.Tensor.tolist: "tolist",
    torch.Tensor.__array__: "numpy",
}


class MetaFunctionMode(TorchFunctionMode):
    """Lets no device have a say, and explains what has no values yet.

    A device is one that the builder names, or a context or default of torch's: a machine that
    lacks it would refuse before the recorder is asked. Those contexts are below this mode, so that
    what is named here stands.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if (
            func == _IS_META
            and sys._getframe(1).f_globals.get("__name__") == torch.nn.init.__name__
        ):
            # From 2.15 on some of its functions leave a meta tensor as it is.
            return False
        named = dict(kwargs or {})
        _refuse_autocast(func)
        if func in _device_constructors():
            named["device"] = "cpu"
            named.pop("pin_memory", None)
        elif func is torch.Tensor.new_tensor:
            named["device"] = "cpu"  # of Python's numbers, as torch.tensor
        elif func is torch.Tensor.to:
            return _to(*args, **named)
        elif func in _MOVES:
            return args[0]
        elif func in _TO_PYTHON and args[0].is_meta:
            raise BuildError.of(
                f"Tensor.{_TO_PYTHON[func]}",
                "is called under meta_init on a tensor that has no values yet",
                "use torch's operations, or .item() for one value; or make the tensor from Python "
                "numbers with torch.tensor, which is real",
            )
        elif named.get("device") is not None and args and isinstance(args[0], torch.Tensor):
            named["device"] = args[0].device  # new_zeros and the like
        return func(*args, **named)


def _refuse_autocast(func: Callable[..., Any]) -> None:
    # Recorders are above or below autocast: none sees both that it is on and what was called.
    if not (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")):
        return
    if getattr(func, "__name__", "") == "__get__":  # of an attribute
        return
    raise BuildError.of(
        resolve_name(func) or str(func),
        "is called under meta_init with autocast enabled",
        "build the module without autocast",
    )


def _to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Tensor.to without its device."""
    copy = bool(kwargs.pop("copy", False))
    if len(args) > 3:  # to(device, dtype, non_blocking, copy)
        copy = bool(args[3])
        args = args[:3]
    _, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs)
    target = tensor.dtype if dtype is None else dtype
    if memory_format is not None:
        return tensor.to(dtype=target, copy=copy, memory_format=memory_format)
    return tensor.to(dtype=target, copy=copy)
