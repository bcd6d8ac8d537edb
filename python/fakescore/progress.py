"""How far a call is, as its caller wants to see it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

_LOGGER = logging.getLogger("fakescore")

#: True or None: on the source a bar of tqdm on a terminal, lines of `logging` elsewhere. False:
#: nothing. A callable gets phase, bytes done and bytes in all, a few times a second, on the calling
#: thread of each rank that gives one; what it raises is logged, and it is not called again.
Progress = bool | Callable[[str, int, int], None] | None


class Shower:
    """Shows nothing."""

    def show(self, phase: str, done: int, total: int) -> None:
        """Where a call is; `phase` is empty before its first byte."""

    def __enter__(self) -> Shower:
        return self

    def __exit__(self, *exception: Any) -> None:
        """The call has ended."""


def shower(progress: Progress, is_source: bool) -> Shower:
    """What shows the progress of a call."""
    if callable(progress):
        return _Callback(progress)
    if progress is False or not is_source:
        return Shower()
    if sys.stderr.isatty():
        try:
            return _Bars()
        except ImportError:
            pass
    return _Lines()


class _Callback(Shower):
    def __init__(self, callback: Callable[[str, int, int], None]) -> None:
        self._callback = callback
        self._failed = False

    def show(self, phase: str, done: int, total: int) -> None:
        if not phase or self._failed:
            return
        try:
            self._callback(phase, done, total)
        except Exception:
            # The other ranks are in the middle of the call, and this one is well.
            self._failed = True
            _LOGGER.exception("the progress callback failed, and is not called again")


class _Bars(Shower):
    """A bar of tqdm for each phase that lasts."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._make: Any = tqdm
        self._bar: Any = None
        self._phase = ""

    def show(self, phase: str, done: int, total: int) -> None:
        if not phase:
            return
        if phase != self._phase:
            if self._bar is not None:
                self._bar.update(self._bar.total - self._bar.n)  # or the next had not begun
                self._bar.close()
            self._phase = phase
            self._bar = self._make(total=total, desc=phase, unit="B", unit_scale=True)
        self._bar.update(done - self._bar.n)

    def __exit__(self, *exception: Any) -> None:
        if self._bar is not None:
            self._bar.close()


class _Lines(Shower):
    """A line for each tenth of a phase."""

    def __init__(self) -> None:
        self._shown = ("", -1)

    def show(self, phase: str, done: int, total: int) -> None:
        if not phase or not total:
            return
        shown = (phase, 10 * done // total)
        if shown != self._shown:
            self._shown = shown
            _LOGGER.info("%s: %d of %d bytes", phase, done, total)
