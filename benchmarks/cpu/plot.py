#!/usr/bin/env python3
"""Measures fakescore and the limits over sizes and ranks, and draws what a load costs. Start it by
benchmarks/cpu/run --plot, which builds what it needs."""
import argparse
import json
import pathlib
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

import compare
import tables
import workloads

Lines = list[dict]
Value = Callable[[dict], float]

BLOCKS = (1, 5, 10, 20, 30)
COUNTS = (1250, 2500, 5000, 10000, 20000)
RANKS = (1, 2, 3, 4, 6, 8)
FEW_RANKS = 2
FEW_BLOCKS = 2


@dataclass(frozen=True)
class Panel:
    """Loads that differ in one thing."""
    title: str
    label: str
    loads: list[tuple[str, int]]  # teacher and ranks
    position: Value


def panels() -> list[Panel]:
    return [
        Panel(f"over bytes, {FEW_RANKS} ranks", "GB of a Wan-shaped teacher",
              [(f"wan{blocks}", FEW_RANKS) for blocks in BLOCKS],
              lambda line: line["teacher_bytes"] / 1e9),
        Panel(f"over tensors, {FEW_RANKS} ranks", "thousands of tensors of 4 KiB",
              [(f"small{count}", FEW_RANKS) for count in COUNTS],
              lambda line: int(line["workload"].removeprefix("small")) / 1000),
        Panel("over ranks", f"ranks, each with a Wan-shaped model of {FEW_BLOCKS} blocks",
              [(f"wan{FEW_BLOCKS}", ranks) for ranks in RANKS], lambda line: line["ranks"])]


@dataclass(frozen=True)
class Curve:
    label: str
    side: str
    value: Value
    style: str


def curves() -> list[Curve]:
    """The limits first: they lie below."""
    found = [Curve("limit L1: one MPI_Bcast", tables.LIMITS,
                   lambda line: tables.worst(line, "broadcast_seconds"), "s--C7"),
             Curve("limit L2N: every rank copies", tables.LIMITS,
                   lambda line: tables.worst(line, "copy_seconds"), "^--C8")]
    for number, (side, about) in enumerate(tables.OURS.items()):
        found += [Curve(about.title, side, tables.seconds, f"o-C{number}"),
                  Curve(f"{about.title}, first byte", side,
                        lambda line: tables.worst(line, "first_byte_seconds"), f".:C{number}")]
    return found


def teacher_of(name: str, folder: pathlib.Path) -> pathlib.Path:
    kind = name.rstrip("0123456789")
    number = int(name.removeprefix(kind))
    workload = workloads.wan(number, "") if kind == "wan" else workloads.small(number)
    return workloads.teacher_of(name, workload, folder)


def measure(args: argparse.Namespace, raw: pathlib.Path) -> Lines:
    loads = list(dict.fromkeys(load for panel in panels() for load in panel.loads))
    sizes = {name: teacher_of(name, args.folder).stat().st_size for name, _ in loads}
    lines = []
    with open(raw, "w") as file:
        for _ in range(args.rounds):
            for name, ranks in loads:
                for side in [*tables.OURS, tables.LIMITS]:
                    line = compare.measure(side, name, ranks, False, args)
                    line["teacher_bytes"] = sizes[name]
                    shown = line.get("error") or tables.progress_of(line)
                    print(f"{name} x {ranks} {side}: {shown}", file=sys.stderr)
                    file.write(json.dumps(line) + "\n")
                    file.flush()
                    lines.append(line)
    return lines


def points(panel: Panel, curve: Curve, lines: Lines) -> list[tuple[float, float]]:
    """Medians, since a line that shows growth must not consist of lucky runs."""
    found = []
    for name, ranks in panel.loads:
        mine = [line for line in lines if (line["workload"], line["ranks"]) == (name, ranks)
                and line["side"] == curve.side and "error" not in line]
        is_limit_of_one = curve.label.startswith("limit L1") and ranks == 1
        if mine and not is_limit_of_one:
            found.append((panel.position(mine[0]), statistics.median(map(curve.value, mine))))
    return found


def draw(lines: Lines, path: pathlib.Path) -> None:
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, all_axes = pyplot.subplots(1, len(panels()), figsize=(14, 5))
    for panel, axes in zip(panels(), all_axes):
        unit = max((y for _, y in points(panel, curves()[0], lines)), default=1)
        for curve in curves():
            of_curve = points(panel, curve, lines)
            axes.plot([x for x, _ in of_curve], [y / unit for _, y in of_curve], curve.style,
                      label=curve.label, markersize=5, clip_on=False)
        axes.set(title=panel.title, xlabel=panel.label, xlim=(0, None), ylim=(0, None),
                 ylabel="time / L1 at the right end")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=pathlib.Path, nargs="?", required=True, metavar="PNG",
                        const=compare.ROOT / "docs/images/cpu_scaling.png",
                        help="default: docs/images/cpu_scaling.png")
    parser.add_argument("--lines", type=pathlib.Path,
                        help="draw what an earlier run wrote to this file, and measure nothing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--build", type=pathlib.Path, default=compare.ROOT / "build/release")
    parser.add_argument("--folder", type=pathlib.Path, default=compare.ROOT / "build/benchmarks",
                        help="of teachers and measurements")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one load")
    parser.set_defaults(cold=False)
    args = parser.parse_args()
    if args.lines:
        lines = [json.loads(line) for line in args.lines.read_text().splitlines()]
    else:
        lines = measure(args, args.folder / "cpu-scaling.jsonl")
    draw(lines, args.plot)
    print(f"{args.plot} shows {len(lines)} measurements")


if __name__ == "__main__":
    main()
