"""What a measurement depends on beside the programs: the machine, and what its memory holds."""
import contextlib
import mmap
import os
import pathlib
import platform
import subprocess
from collections.abc import Callable

MADV_POPULATE_WRITE = 23  # of Linux 5.14, missing from mmap


def lines_of(path: str, key: str) -> list[str]:
    """The values of the lines "KEY: value"."""
    with open(path) as file:
        pairs = (line.split(":", 1) for line in file if ":" in line)
        return [value.strip() for name, value in pairs if name.strip() == key]


def kibibytes(path: str, key: str) -> int:
    return int(lines_of(path, key)[0].split()[0])


def description() -> dict[str, str]:
    models = lines_of("/proc/cpuinfo", "model name") or [platform.machine()]
    pages = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    chosen = pages.read_text().split("[")[1].split("]")[0] if pages.exists() else "none"
    return {"processor": models[0], "cores": str(os.cpu_count()),
            "memory": f"{kibibytes('/proc/meminfo', 'MemTotal') / 2**20:.0f} GiB",
            "kernel": platform.release(), "huge pages": chosen}


def available_bytes() -> int:
    return kibibytes("/proc/meminfo", "MemAvailable") << 10


def give_pages(size: int, ranks: int = 1, meet: Callable[[], object] = lambda: None) -> None:
    """Makes so many bytes of pages on each of a host's ranks, and frees them once all have theirs.
    Collective, as benchmarks/cpu/fresh_pages.hpp has it."""
    meet()
    room = (kibibytes("/proc/meminfo", "MemFree") << 10) // 10 * 9 // ranks
    memory = mmap.mmap(-1, max(mmap.PAGESIZE, min(size, room)))
    meet()  # none makes pages before all have seen how many are free
    with contextlib.suppress(OSError):
        memory.madvise(MADV_POPULATE_WRITE)
    meet()
    memory.close()


def warm_page_cache(path: pathlib.Path) -> None:
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def cool_page_cache(path: pathlib.Path) -> None:
    """Asks for the file's pages to be dropped; the kernel keeps those that are in use or not yet
    written, so what came of it is to be asked for by cached_part."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def cached_part(path: pathlib.Path) -> float | None:
    """How much of the file the page cache holds, 0 to 1; None where util-linux's fincore is not
    installed."""
    try:
        shown = subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", path],
                               capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return min(1.0, int(shown) / path.stat().st_size)
