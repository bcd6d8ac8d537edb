"""A disk that several hosts share, and that gives them so many bytes a second together.

It is an image of a file system in a file. Each host has a read-only loop device of its own on it,
which reads by direct I/O: hosts thus have no page cache in common, as machines have none. A control
group, in which all ranks are, limits what is read of the disk below.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import subprocess
from collections.abc import Iterator

GROUPS = pathlib.Path("/sys/fs/cgroup/blkio")
LIMIT = GROUPS / "blkio.throttle.read_bps_device"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_image(image: pathlib.Path, folder: pathlib.Path) -> None:
    """Of a file system with the folder's files."""
    used = sum(file.stat().st_size for file in folder.iterdir())
    with open(image, "wb") as file:
        # Not sparse: of holes nothing is read.
        for _ in range(used // (1 << 20) + 64):
            file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    run("mkfs.ext4", "-q", "-F", "-d", str(folder), str(image))
    os.sync()


@contextlib.contextmanager
def mounted(image: pathlib.Path, at: pathlib.Path) -> Iterator[None]:
    """As one host sees it, with nothing of it in memory."""
    device = run("losetup", "--find", "--show", "--read-only", "--direct-io=on", str(image))
    try:
        at.mkdir(exist_ok=True)
        run("mount", "-o", "ro", device, str(at))
        try:
            yield
        finally:
            run("umount", str(at))
    finally:
        run("losetup", "--detach", device)


class ReadLimit:
    """A control group (version 1) whose processes read so many bytes a second together."""

    def __init__(self, image: pathlib.Path, bytes_a_second: int) -> None:
        number = image.stat().st_dev
        self._device = f"{os.major(number)}:{os.minor(number)}"
        self._group = GROUPS / f"fakescore-{secrets.token_hex(4)}"
        self._group.mkdir()
        (self._group / LIMIT.name).write_text(f"{self._device} {bytes_a_second}")

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """What is started within is in the group."""
        groups = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
        own = next(line.split(":")[2] for line in groups if ":blkio:" in line)
        (self._group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (GROUPS / own.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))

    def read_bytes(self) -> int:
        """Of the disk, by the group's processes so far."""
        lines = (self._group / "blkio.throttle.io_service_bytes").read_text().splitlines()
        of_device = [line.split() for line in lines if line.startswith(f"{self._device} Read ")]
        return sum(int(line[2]) for line in of_device)

    def close(self) -> None:
        self._group.rmdir()
