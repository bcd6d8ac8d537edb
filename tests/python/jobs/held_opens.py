"""Keeps a file from being opened for a while, by fanotify: a lease fails those who do not wait."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time

# From linux/fanotify.h.
_FAN_CLASS_CONTENT = 0x4
_FAN_CLOEXEC = 0x1
_FAN_MARK_ADD = 0x1
_FAN_OPEN_PERM = 0x10000
_AT_FDCWD = -100
_EVENT = struct.Struct("IBBHQii")

_libc = ctypes.CDLL(None, use_errno=True)


class HeldOpens:
    """Who opens the file waits until this is closed. OSError where the kernel cannot do it."""

    def __init__(self, file: str) -> None:
        self._waiting: set[int] = set()
        self._group = _libc.fanotify_init(_FAN_CLASS_CONTENT | _FAN_CLOEXEC, os.O_RDONLY)
        if self._group < 0:
            raise OSError(ctypes.get_errno(), "fanotify_init")
        mask = ctypes.c_uint64(_FAN_OPEN_PERM)
        if _libc.fanotify_mark(self._group, _FAN_MARK_ADD, mask, _AT_FDCWD, os.fsencode(file)):
            error = OSError(ctypes.get_errno(), "fanotify_mark")
            self.close()
            raise error

    def wait_for(self, processes: set[int], seconds: float) -> None:
        """Until all of them open it."""
        deadline = time.monotonic() + seconds
        while not processes <= self._waiting:
            left = max(0.0, deadline - time.monotonic())
            missing = processes - self._waiting
            assert select.select([self._group], [], [], left)[0], f"{missing} open nothing"
            for event in _EVENT.iter_unpack(os.read(self._group, 4096)):
                *_, descriptor, process = event
                os.close(descriptor)
                self._waiting.add(process)

    def close(self) -> None:
        if self._group >= 0:
            os.close(self._group)
        self._group = -1
