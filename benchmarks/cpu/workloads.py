"""The teachers that are measured: one file each, written once by make_teacher.py."""
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

MAKE_TEACHER = pathlib.Path(__file__).resolve().parent.parent / "common/make_teacher.py"


@dataclass(frozen=True)
class Workload:
    title: str
    arguments: tuple[str, ...]


def wan(blocks: int, size: str) -> Workload:
    return Workload(f"Wan 2.1's names and shapes, {blocks} blocks, bfloat16, {size}",
                    ("--kind", "wan", "--blocks", str(blocks)))


def small(count: int) -> Workload:
    return Workload(f"{count:,} tensors of 4 KiB",
                    ("--kind", "small", "--small", str(count), "--large", "0"))


WORKLOADS = {
    "wan30": wan(30, "2.8 GB"),
    "wan10": wan(10, "1.0 GB"),
    "wan2": wan(2, "0.2 GB"),
    "small5000": small(5000),
    "mixed20000": Workload("20,000 tensors of 2 bytes to 8 MiB in three dtypes, 0.4 GB",
                           ("--kind", "mixed", "--count", "20000"))}


def teacher_of(name: str, workload: Workload, folder: pathlib.Path) -> pathlib.Path:
    path = folder / f"{name}.safetensors"
    if not path.exists():
        command: Sequence[str | os.PathLike] = [sys.executable, MAKE_TEACHER, path, "--traps",
                                                *workload.arguments]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return path
