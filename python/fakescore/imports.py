"""Modules that a builder is the first to import."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .recorders import unrecorded

_LOADERS = (
    importlib.machinery.SourceFileLoader,
    importlib.machinery.SourcelessFileLoader,
    importlib.machinery.ExtensionFileLoader,
)
Found = Callable[[types.ModuleType], None]


class _Finder(importlib.abc.MetaPathFinder):
    """Lets modules be imported as they would be elsewhere: their tensors outlive the recording."""

    def __init__(self, on_import: Mapping[str, Found]) -> None:
        self._on_import = on_import
        self._thread = threading.get_ident()

    def find_spec(
        self, fullname: str, path: Any, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if threading.get_ident() != self._thread:
            return None
        spec = self._find_elsewhere(fullname, path, target)
        if spec is None or type(spec.loader) not in _LOADERS:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_unrecorded(module: types.ModuleType) -> None:
            with unrecorded():
                execute(module)
            if fullname in self._on_import:
                self._on_import[fullname](module)

        loader.exec_module = execute_unrecorded
        return spec

    def _find_elsewhere(
        self, fullname: str, path: Any, target: types.ModuleType | None
    ) -> importlib.machinery.ModuleSpec | None:
        for finder in sys.meta_path:
            if isinstance(finder, _Finder):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                return spec
        return None


@contextlib.contextmanager
def seen_imports(on_import: Mapping[str, Found]) -> Iterator[None]:
    """Meanwhile no import of this thread is recorded; `on_import` is told of some, by name."""
    finder = _Finder(on_import)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
