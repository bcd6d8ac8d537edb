"""What this process uses, from /proc."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import pathlib
import resource
import threading
from collections.abc import Iterator

import machine
import torch

_SECONDS_BETWEEN_LOOKS = 0.002
_ENTRY_BYTES = 8  # of a page, in /proc/self/pagemap
_MCL_FUTURE, _MCL_ONFAULT = 2, 4  # of <sys/mman.h>
_CAP_IPC_LOCK = 14  # of <linux/capability.h>


def reset_resident_peak() -> None:
    """Makes the present resident set the peak, where the kernel allows it."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def resident_peak() -> int:
    """Bytes of the resident set at its largest, mapped files included."""
    return machine.kibibytes("/proc/self/status", "VmHWM") << 10


def not_of_files() -> int:
    """Bytes of the resident set that are no pages of files."""
    status = "/proc/self/status"
    return (machine.kibibytes(status, "RssAnon") + machine.kibibytes(status, "RssShmem")) << 10


def read_by_calls() -> int:
    """Bytes that this process got by read(2) and its like, which Gloo does not use."""
    return int(machine.lines_of("/proc/self/io", "rchar")[0])


def keep_touched_pages() -> None:
    """Has pages of later mappings stay there until they are unmapped, whatever madvise(2) is told.

    Where that is not allowed, a Sampler misses those that were dropped between two looks.
    """
    capabilities = int(machine.lines_of("/proc/self/status", "CapEff")[0], 16)
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if capabilities >> _CAP_IPC_LOCK & 1 or limit == resource.RLIM_INFINITY:
        ctypes.CDLL(None).mlockall(_MCL_FUTURE | _MCL_ONFAULT)


class Sampler:
    """While entered, a thread looks at this process's memory: not for what is timed."""

    def __init__(self, file: pathlib.Path) -> None:
        self._file = file
        self._touched = torch.zeros(-(-file.stat().st_size // mmap.PAGESIZE), dtype=torch.bool)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._before = self._most = not_of_files()

    @property
    def not_of_files(self) -> int:
        """By how much that grew at most, in bytes."""
        return self._most - self._before

    @property
    def mapped(self) -> int:
        """Bytes of the file's pages that were seen in a mapping of it, each once."""
        return int(self._touched.sum()) * mmap.PAGESIZE

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            while not self._stop.wait(_SECONDS_BETWEEN_LOOKS):
                self._look(pagemap.fileno())
            self._look(pagemap.fileno())

    def _look(self, pagemap: int) -> None:
        self._most = max(self._most, not_of_files())
        for begin, pages, page in _mappings(self._file):
            entries = bytearray(
                os.pread(pagemap, pages * _ENTRY_BYTES, begin // mmap.PAGESIZE * _ENTRY_BYTES)
            )
            # The sign of an entry is whether the process has the page.
            present = torch.frombuffer(entries, dtype=torch.int64) < 0
            self._touched[page : page + len(present)] |= present


def _mappings(file: pathlib.Path) -> Iterator[tuple[int, int, int]]:
    """Of each mapping of a file: its address, its pages, and its first page's number."""
    with open("/proc/self/maps") as lines:
        for line in lines:
            if line.rstrip("\n").endswith(f" {file}"):
                addresses, _, offset, *_ = line.split()
                begin, end = (int(address, 16) for address in addresses.split("-"))
                size = mmap.PAGESIZE
                yield begin, (end - begin) // size, int(offset, 16) // size
