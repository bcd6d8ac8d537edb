"""Loads the C++ library, and turns its replies into values and exceptions."""

from __future__ import annotations

import json
import pathlib
from typing import Any, Protocol

import torch

from . import _build
from .errors import from_reply

_INSTALL = "pip install --no-build-isolation --force-reinstall --no-deps fakescore"


def _check_torch() -> None:
    if torch.__version__ == _build.TORCH_VERSION:
        return
    raise ImportError(
        f"fakescore {_build.VERSION} was built for torch {_build.TORCH_VERSION}, but this is torch "
        f"{torch.__version__}; build it for this one: {_INSTALL} (or . in its source folder)"
    )


def _load() -> Any:
    _check_torch()
    library = pathlib.Path(__file__).parent / "lib" / "libfakescore_python.so"
    try:
        torch.classes.load_library(str(library))
    except OSError as error:
        raise ImportError(
            f"{library} cannot be loaded: {error}; build it again: {_INSTALL}"
        ) from error
    return torch.classes.fakescore


classes: Any = _load()


class Communicator(Protocol):
    """torch.classes.fakescore.Communicator: see python/binding/communicator.hpp."""

    def make_local(self, timeout_ms: int) -> str: ...
    def adopt(self, group: Any, device: torch.device, timeout_ms: int) -> str: ...
    def begin_work(self, what: str) -> str: ...
    def end_work(self) -> None: ...
    def compare(self, value: str, what: str) -> str: ...
    def fill(self, target: Any, teacher: Any, options: str) -> str: ...
    def sync(self, target: Any, options: str) -> str: ...
    def interrupt(self) -> None: ...
    def abandon(self) -> None: ...
    def progress(self) -> tuple[str, int, int]: ...


def value_of(reply: str) -> Any:
    """What a call returned. Raises what it raised, as an exception of fakescore.errors."""
    parsed = json.loads(reply)
    if "error" in parsed:
        raise from_reply(parsed["error"])
    return parsed["value"]
