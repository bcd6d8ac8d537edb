#!/usr/bin/env python3
"""Seconds of every phase and command over the number of tensors, and the exponent with which they
grow: 1 where twice the tensors take twice as long."""
import argparse
import datetime
import json
import math
import os
import pathlib
import sys

import machine
import measurements
from measurements import Setup, Steps, Workload

SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000)
# Sorting and tables that outgrow the caches cost a little more than their size; the square is 2.
LARGEST_EXPONENT = 1.3
# What looks too steep is measured again, as often as this: other work beside costs long steps more.
SECOND_LOOKS = 2
# Below this many seconds at the largest size, what else the machine does decides.
NOISE_FLOOR = 0.5
# Less than this at a smaller size is not told from nothing.
RESOLUTION = 0.1

Table = dict[int, Steps]  # by the number of tensors


def measure(workload: Workload, setup: Setup, sizes: list[int], repeats: int) -> Table:
    table: Table = {}
    for _ in range(1 + SECOND_LOOKS):
        for size in sizes:
            for _ in range(repeats):
                steps = workload(setup, size)
                best = table.setdefault(size, steps)
                table[size] = {name: min(seconds, best[name]) for name, seconds in steps.items()}
        if not any(is_steep(power) for _, power, _ in rows_of(table)):
            break
    return table


def exponent(seconds: dict[int, float]) -> float | None:
    """The slope of the least-squares line through the logarithms, over the upper half of the sizes
    and beyond what the smallest size takes, which is the cost of starting; None for what is too
    short to tell."""
    smallest, *sizes = sorted(seconds)
    grown = {size: seconds[size] - seconds[smallest] for size in sizes[(len(sizes) - 1) // 2:]}
    points = [(math.log(size), math.log(value)) for size, value in grown.items()
              if value >= RESOLUTION]
    if len(points) < 2 or grown[sizes[-1]] < NOISE_FLOOR:
        return None
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    return (sum((x - middle_x) * (y - middle_y) for x, y in points) /
            sum((x - middle_x) ** 2 for x, _ in points))


def is_steep(power: float | None) -> bool:
    return power is not None and power > LARGEST_EXPONENT


def rows_of(table: Table) -> list[tuple[str, float | None, list[float]]]:
    """Each step with its exponent and its seconds, by size."""
    sizes = sorted(table)
    rows = []
    for step in dict.fromkeys(step for size in sizes for step in table[size]):
        seconds = {size: table[size].get(step, 0.0) for size in sizes}
        rows.append((step, exponent(seconds), [seconds[size] for size in sizes]))
    return rows


def print_head(shown: list[int]) -> None:
    print("| workload | step | " + " | ".join(f"{size:,}" for size in shown) + " | exponent |")
    print("|---" * (3 + len(shown)) + "|")


def print_row(name: str, step: str, power: float | None, seconds: list[float]) -> None:
    columns = " | ".join(f"{value:.2f}" for value in seconds)
    print(f"| {name} | {step} | {columns} | {'-' if power is None else f'{power:.2f}'} |",
          flush=True)


def describe_machine() -> str:
    values = machine.description()
    return (f"{datetime.date.today()}, tier cpu, {values['cores']} x {values['processor']}, "
            f"{values['memory']}, Linux {values['kernel']}, load average "
            f"{os.getloadavg()[0]:.1f}; seconds, minima; exponents over the sizes shown")


def choose(patterns: list[str]) -> dict[str, Workload]:
    known = measurements.workloads()
    chosen = {name: workload for name, workload in known.items()
              if not patterns or any(pattern in name for pattern in patterns)}
    if not chosen:
        sys.exit(f"no workload has one of {patterns} in its name; they are: {', '.join(known)}")
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="the build's folder")
    parser.add_argument("--folder", type=pathlib.Path, required=True,
                        help="for teachers and results")
    parser.add_argument("--max", type=int, default=SIZES[-1], help="tensors at most")
    parser.add_argument("--repeats", type=int, default=2, help="of which the minimum counts")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT",
                        help="workloads with one of these texts in their name")
    args = parser.parse_args()
    sizes = [size for size in SIZES if size <= args.max]
    if len(sizes) < 4:
        sys.exit(f"--max {args.max} leaves fewer than four sizes: give at least {SIZES[3]}")
    args.folder.mkdir(parents=True, exist_ok=True)
    measurements.environment_for_mpi()
    setup = Setup(args.build.resolve(), args.folder.resolve())
    shown = sizes[len(sizes) // 2:]
    print(describe_machine() + "\n")
    print_head(shown)
    steep = []
    with open(args.folder / "scaling.jsonl", "a") as lines:
        for name, workload in choose(args.only).items():
            print(name, file=sys.stderr)
            table = measure(workload, setup, sizes, args.repeats)
            lines.write(json.dumps({"workload": name, "seconds": table}) + "\n")
            lines.flush()
            for step, power, seconds in rows_of(table):
                print_row(name, step, power, seconds[-len(shown):])
                if is_steep(power):
                    steep.append(f"{name}, {step}: grows with exponent {power:.2f}, more than "
                                 f"{LARGEST_EXPONENT}")
    print("\n".join(steep), file=sys.stderr)
    return 1 if steep else 0


if __name__ == "__main__":
    sys.exit(main())
