#!/usr/bin/env python3
"""Runs load_benchmark on emulated devices, prints what it counts, and draws one of its traces."""
import argparse
import json
import math
import os
import pathlib
import subprocess
from dataclasses import dataclass

import make_teacher
import timeline

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    title: str
    file: str
    shapes: make_teacher.Shapes
    large: int  # tensors that travel in place
    ranks: int
    bucket_bytes: int
    pinned_bytes: int = 64 * MIB


SMALL = make_teacher.small(5000, 0, 2)
MIXED = make_teacher.small(5000, 4, 2)
WAN = make_teacher.wan(blocks=2, width=1536)
WAN_LARGE = sum(math.prod(shape) * 2 >= 128 << 10 for shape in WAN.values())
DRAWN = Case("Wan 2.1's shapes, 2 blocks", "wan-2-blocks", WAN, WAN_LARGE, 2, 16 * MIB, 32 * MIB)
CASES = [Case("5,000 tensors of 4 KiB", "small", SMALL, 0, 2, MIB),
         Case("the same and 4 of 8 MiB", "mixed", MIXED, 4, 2, MIB),
         Case("the same", "mixed", MIXED, 4, 4, 32 * MIB),
         DRAWN]


def load(case: Case, build: pathlib.Path, folder: pathlib.Path) -> dict:
    teacher = folder / f"{case.file}.safetensors"
    if not teacher.exists():
        make_teacher.write(teacher, make_teacher.typed(case.shapes, "BF16"), seed=1)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FAKESCORE_EMULATION_MEMORY_MB": "1024"}
    command = ["mpirun", "--oversubscribe", "-n", case.ranks, build / "bin/emulate",
               build / "bin/load_benchmark", "--teacher", teacher, "--trace", trace_of(case, folder),
               "--bucket-bytes", case.bucket_bytes, "--pinned-bytes", case.pinned_bytes,
               "--read", "root"]
    done = subprocess.run([str(part) for part in command], env=environment, check=True,
                          stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def trace_of(case: Case, folder: pathlib.Path) -> pathlib.Path:
    return folder / f"{case.file}.trace.json"


def row(case: Case, line: dict) -> str:
    """Bytes of a rank that is not the root are one number: the same on each, or a list."""
    root, *others = (rank | rank["emulated"] for rank in line["counts"])

    def of_others(key: str) -> str:
        values = sorted({rank[key] for rank in others})
        return f"{values[0]:,}" if len(values) == 1 else str(values)

    bound = math.ceil(line["bytes"] / case.bucket_bytes) + case.large
    cells = [case.title, case.ranks, f"{case.bucket_bytes // MIB} MiB", f"{line['bytes']:,}",
             f"{root['read_bytes']:,} ({root['distinct_read_bytes']:,})",
             f"{root['h2d_bytes']:,} / {of_others('h2d_bytes')}",
             f"{root['nccl_broadcast_bytes']:,} / {of_others('nccl_broadcast_bytes')}",
             f"{root['nccl_launches']} (at most {bound})",
             f"{root['d2d_bytes']:,} / {of_others('d2d_bytes')}"]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path, help="build folder")
    parser.add_argument("--png", type=pathlib.Path,
                        default=HERE.parent.parent / "docs/images/pipeline_timeline.png")
    args = parser.parse_args()
    folder = args.build.parent / "benchmarks"
    print("| teacher | ranks | bucket | bytes of the model | read by rank 0 (distinct) | to the device, rank 0 / "
          "others | broadcast, rank 0 / others | NCCL launches | unpacked on the device, rank 0 / "
          "others |\n|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        line = load(case, args.build, folder)
        if not line["equals_file"]:
            raise SystemExit(f"error: {case.title}: a rank holds other bytes than the file")
        print(row(case, line), flush=True)
    spans = timeline.read_spans(trace_of(DRAWN, folder))
    timeline.draw([span for span in spans if 3 <= span.bucket < 11], args.png)
    print(f"\n{args.png.name}: {json.dumps(timeline.describe(spans), indent=2)}")


if __name__ == "__main__":
    main()
