"""Runs calls of the C++ library: off the calling thread, so that Ctrl-C ends them."""

from __future__ import annotations

import contextlib
import functools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from . import _native
from .errors import ConfigError, FakescoreError
from .group import Group
from .progress import Shower

_LOOK_SECONDS = 0.1

Made = TypeVar("Made")


def connect(group: Group, device: torch.device, timeout: float | None) -> _native.Communicator:
    """A communicator over a group. `timeout` is in seconds. Collective; an interrupt ends it on all
    ranks."""
    milliseconds = 300_000 if timeout is None else max(1, round(timeout * 1000))
    communicator: _native.Communicator = _native.classes.Communicator()
    if group.boxed is None:
        _native.value_of(communicator.make_local(milliseconds))
    else:
        adopt = functools.partial(communicator.adopt, group.boxed, device, milliseconds)
        run(communicator, adopt, Outcome(), group.rank, Shower())
    return communicator


def check_timeout(timeout: float | None) -> None:
    """Raises ConfigError for what is no number of seconds above 0."""
    if timeout is not None and not timeout > 0:
        raise ConfigError.of("timeout", f"is {timeout}", "give seconds, more than 0")


class _Call(threading.Thread):
    """One call, on the stream that is current where it was made."""

    def __init__(self, call: Callable[[], str]) -> None:
        super().__init__(name="fakescore", daemon=True)
        self._call = call
        uses_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self._stream = torch.cuda.current_stream() if uses_gpu else None
        self._reply = ""
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            if self._stream is None:
                self._reply = self._call()
            else:
                with torch.cuda.device(self._stream.device), torch.cuda.stream(self._stream):
                    self._reply = self._call()
        except BaseException as failure:  # handed to the calling thread
            self._failure = failure

    def result(self) -> str:
        if self._failure is not None:
            raise self._failure
        return self._reply


@dataclass
class Outcome:
    """What came of a rank's own part of a call."""

    failure: Exception | None = None
    interrupt: BaseException | None = None


@contextlib.contextmanager
def agreed(communicator: _native.Communicator, target: Any) -> Iterator[Outcome]:
    """A rank's own part of a call, for which the others wait as long as it takes.

    Where it fails, the call that is made with `target` raises the same on all ranks.
    """
    outcome = Outcome()
    try:
        _native.value_of(communicator.begin_work("build"))
        yield outcome
    except Exception as error:
        outcome.failure = error
        _set_failure(target, error)
    except BaseException as error:
        outcome.interrupt = error
        target.set_failure("internal", "", f"was interrupted by {type(error).__name__}", "")
    finally:
        communicator.end_work()


def attempt(communicator: _native.Communicator, work: Callable[[], Made]) -> Callable[[], Made]:
    """Does it now, while the others wait; returns what returns what it made, or raises what it
    raised: there, where all ranks hear of it."""
    made: list[Made] = []
    failure: BaseException | None = None
    try:
        _native.value_of(communicator.begin_work("build"))
        made.append(work())
    except BaseException as error:
        failure = error
    finally:
        communicator.end_work()

    def result() -> Made:
        if failure is not None:
            raise failure
        return made[0]

    return result


def _set_failure(target: Any, error: Exception) -> None:
    if isinstance(error, FakescoreError):
        target.set_failure(error.code, error.subject, error.message, error.remedy)
    elif isinstance(error, MemoryError):
        target.set_failure("memory", "", str(error) or "out of memory", "")
    else:
        target.set_failure("build", "", f"{type(error).__name__}: {error}", "")


def run(
    communicator: _native.Communicator,
    call: Callable[[], str],
    outcome: Outcome,
    rank: int,
    shower: Shower,
) -> Any:
    """The value of a call's reply. An interrupt ends the call on all ranks and is raised here."""
    thread = _Call(call)
    thread.start()
    try:
        with shower:
            ended = False
            while not ended:  # a call that ends at once is shown as well
                thread.join(_LOOK_SECONDS)
                ended = not thread.is_alive()
                shower.show(*communicator.progress())
    except BaseException:
        communicator.interrupt()
        thread.join()
        communicator.abandon()  # where it had ended, the others go on to what would follow
        raise
    if outcome.interrupt is not None:
        raise outcome.interrupt
    try:
        return _native.value_of(thread.result())
    except FakescoreError as error:
        if outcome.failure is not None and error.rank == rank:
            raise error from outcome.failure
        raise


@dataclass
class Comparison:
    """fakescore::Comparison: rank 0's text, and the lowest rank that has another one."""

    of_rank_0: str
    other_rank: int  #: -1 if all ranks have rank 0's
    of_other_rank: str


def compare(communicator: _native.Communicator, text: str, what: str, rank: int) -> Comparison:
    """What all ranks say. Collective; an interrupt ends it on all ranks."""
    found = run(communicator, lambda: communicator.compare(text, what), Outcome(), rank, Shower())
    return Comparison(**found)


def options_json(**options: Any) -> str:
    """Options for the C++ library."""
    return json.dumps(options)
