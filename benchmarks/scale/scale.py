#!/usr/bin/env python3
"""Predicts how long fills take from figures that were measured right before, and runs them.

Start it by benchmarks/scale/run, which builds what it needs.
"""

import argparse
import datetime
import json
import os
import pathlib
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence

import clusters
import machine
import pytest
from documents import put_between
from jobs import REPEATS, Bench, Row

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs/scale.md"
MANIFEST = ROOT / "tests/data/manifests/wan2.1-t2v-14b.json"
RESULTS = ROOT / "build/benchmarks/scale"
GIGA = 1e9
OTHER_MEMORY = 2 << 30


def fail(message: str) -> None:
    sys.exit(f"error: {message}")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def seconds(values: Sequence[float]) -> str:
    return f"{min(values):.2f} / {statistics.median(values):.2f}"


def one_host_table(rows: list[Row]) -> str:
    return table(
        ["ranks", "read", "predicted s", "measured s", "least / least", "bottleneck"],
        [
            [
                str(row.ranks_per_host),
                row.read,
                seconds(row.predicted),
                seconds(row.measured),
                f"{row.ratio():.2f}",
                row.bottleneck,
            ]
            for row in rows
        ],
    )


def two_hosts_table(rows: list[Row]) -> str:
    return table(
        [
            "hosts x ranks",
            "link",
            "read",
            "MB that host 0 sends: planned",
            "counted",
            "predicted s",
            "measured s",
            "least / least",
            "bottleneck",
        ],
        [
            [
                f"{row.hosts} x {row.ranks_per_host}",
                row.rate,
                row.read,
                f"{row.planned_sent / 1e6:.1f}",
                f"{row.counted_sent / 1e6:.1f}",
                seconds(row.predicted),
                seconds(row.measured),
                f"{row.ratio():.2f}",
                row.bottleneck,
            ]
            for row in rows
        ],
    )


def within(rows: list[Row]) -> str:
    def close(ratios: Iterable[float]) -> int:
        return sum(abs(ratio - 1) <= 0.15 for ratio in ratios)

    least = close(row.ratio() for row in rows)
    middle = close(row.ratio_of_medians() for row in rows)
    return (
        f"Of {len(rows)} rows {least} are within 15 %, least by least, and {middle} median by "
        "median."
    )


def about(args: argparse.Namespace, load: list[float]) -> str:
    facts = machine.description()
    command = shlex.join(["benchmarks/scale/run", *sys.argv[3:]])
    return (
        f"Tier cpu: `{command}`, {datetime.date.today()}, {facts['cores']} cores of "
        f"{facts['processor']}, {facts['memory']}, Linux {facts['kernel']}, load average "
        f"{min(load):.1f} to {max(load):.1f}. Least / median of {args.rounds} rounds, in each of "
        f"which every row's figures are measured and its fill is run, {REPEATS} times each: the "
        "fastest counts."
    )


def measured_text(args: argparse.Namespace, folder: pathlib.Path) -> str:
    bench = Bench(args, folder)
    load = [os.getloadavg()[0]]
    one = bench.one_host()
    load.append(os.getloadavg()[0])
    parts = [
        f"{args.gigabytes} GB of Wan 2.1's names and shapes, one host, files in its page cache:",
        one_host_table(one),
        within(one),
    ]
    try:
        two = bench.two_hosts() if args.links else []
    except pytest.skip.Exception as reason:  # as tests are skipped that need hosts
        two = []
        parts.append(f"Over links: skipped, {reason}.")
        print(f"skipped: two hosts, {reason}", file=sys.stderr)
    if two:
        load.append(os.getloadavg()[0])
        parts += [
            f"{args.gigabytes_of_links} GB, two hosts that are network namespaces here, a link "
            "slowed by `tc`; what host 0 sends is counted by the kernel, heads of packets and "
            "messages of the job included:",
            two_hosts_table(two),
            within(two),
        ]
    return "\n\n".join([about(args, load), *parts])


def predicted_text(args: argparse.Namespace, folder: pathlib.Path) -> str:
    size = clusters.write_teacher(MANIFEST, folder / "teacher.safetensors")
    parts = [
        f"Simulated: nothing below was run. Wan 2.1 14B's names and shapes in bfloat16, "
        f"{size / GIGA:.1f} GB, hosts of {clusters.RANKS_PER_HOST} GPUs; GB are those of the host "
        "with most of them."
    ]
    heads = [
        "ranks",
        "way",
        "GB from the disk of a host",
        "GB sent by a host",
        "GB received",
        "s from disks",
        "bottleneck",
        "s from page caches",
        "bottleneck",
    ]
    for cluster in clusters.CLUSTERS:
        stated = json.dumps(cluster.figures)
        parts += [
            f"**{cluster.title[0].upper()}{cluster.title[1:]}**, as `--figures`: `{stated}`",
            table(heads, clusters.rows(args.program, MANIFEST, folder, cluster)),
        ]
    return "\n\n".join(parts)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument(
        "--links",
        nargs="*",
        default=["400mbit", "1600mbit"],
        help="rates, as tc has them; none: no second host",
    )
    parser.add_argument("--gigabytes", type=float, default=0.5, help="about the teacher's size")
    parser.add_argument("--gigabytes-of-links", type=float, default=0.2, help="of two hosts")
    parser.add_argument("--predict-only", action="store_true", help="nothing but the clusters")
    parser.add_argument(
        "--update-docs", action="store_true", help="put the tables into docs/scale.md"
    )
    args = parser.parse_args()
    if args.rounds < 1 or min(args.ranks) < 1:
        fail("--rounds and --ranks must be 1 or more")
    need = args.gigabytes * GIGA * (max(args.ranks) + 1) + OTHER_MEMORY
    if not args.predict_only and need > machine.available_bytes():
        fail(f"needs {need / GIGA:.0f} GB of free memory; give less --gigabytes or fewer --ranks")
    return args


def main() -> None:
    args = arguments()
    RESULTS.mkdir(parents=True, exist_ok=True)
    sections = {} if args.predict_only else {"measured": measured_text}
    sections["predicted"] = predicted_text
    for name, text_of in sections.items():
        with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
            text = text_of(args, pathlib.Path(folder))
        print(f"\n{text}")
        if args.update_docs:
            put_between(DOCUMENT, f"<!-- {name} -->", f"<!-- /{name} -->", text)


if __name__ == "__main__":
    main()
