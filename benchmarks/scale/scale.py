#!/usr/bin/env python3
"""Predicts how long fills take from figures that were measured right before, and runs them. Start it
by benchmarks/scale/run, which builds what it needs."""
import argparse
import datetime
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import clusters
import links
import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs/scale.md"
MAKE_TEACHER = ROOT / "benchmarks/common/make_teacher.py"
MANIFEST = ROOT / "tests/data/manifests/wan2.1-t2v-14b.json"
RESULTS = ROOT / "build/benchmarks/scale"
GIGA = 1e9
BLOCK_GIGABYTES = 0.094  # of make_teacher.py's wan
OTHER_MEMORY = 2 << 30
READS = ("all", "turns", "root")
# Phases that are predicted; building the module and comparing digests are not.
PREDICTED = ("agree", "plan", "place", "move", "replay", "finish")


def fail(message: str) -> None:
    sys.exit(f"error: {message}")


@dataclass
class Row:
    """One kind of job, and what its rounds gave."""

    hosts: int
    ranks_per_host: int
    read: str
    rate: str = ""  # of the link
    predicted: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    bottleneck: str = ""
    planned_sent: int = 0  # by the first host
    counted_sent: int = 0

    def ratio(self) -> float:
        """Of the least: what else runs on a machine only slows it."""
        return min(self.predicted) / min(self.measured)


class Bench:
    def __init__(self, args: argparse.Namespace, folder: pathlib.Path) -> None:
        self.args = args
        self.folder = folder
        self.program = args.program

    def teacher(self, gigabytes: float) -> pathlib.Path:
        path = self.folder / f"wan-{gigabytes:.1f}" / "diffusion_pytorch_model.safetensors"
        if not path.exists():
            blocks = max(1, round(gigabytes / BLOCK_GIGABYTES))
            subprocess.run([sys.executable, MAKE_TEACHER, path, "--blocks", str(blocks)], check=True,
                           stdout=sys.stderr)
        return path

    def run(self, launcher: Sequence[str], *command: object) -> None:
        done = subprocess.run([*launcher, self.program, *map(str, command)], capture_output=True,
                              text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode != 0:
            fail(f"{shlex.join(map(str, done.args))}: exit code {done.returncode}\n{done.stderr}")

    def figures(self, launcher: Sequence[str], teacher: pathlib.Path, megabytes: int) -> pathlib.Path:
        path = self.folder / "figures.json"
        self.run(launcher, "measure", teacher, "--bytes", megabytes << 20, "--json", path)
        return path

    def predict(self, row: Row, teacher: pathlib.Path, figures: pathlib.Path) -> None:
        path = self.folder / "plan.json"
        self.run([], "plan", "--teacher", teacher.parent, "--hosts", row.hosts, "--ranks-per-host",
                 row.ranks_per_host, "--read", row.read, "--figures", figures, "--json", path)
        case = json.loads(path.read_text())["forecasts"][0]
        row.predicted.append(case["from_page_cache"]["seconds"])
        row.bottleneck = case["from_page_cache"]["bottleneck"]
        row.planned_sent = case["hosts"][0]["sent"]

    def fill(self, row: Row, launcher: Sequence[str], teacher: pathlib.Path) -> None:
        path = self.folder / "report.json"
        self.run(launcher, "run", "--teacher", teacher.parent, "--read", row.read, "--no-verify",
                 "--quiet", "--json", path)
        report = json.loads(path.read_text())
        row.measured.append(sum(phase["seconds"] for phase in report["phases"]
                                if phase["name"] in PREDICTED))

    def say(self, row: Row) -> None:
        print(f"{row.hosts} x {row.ranks_per_host} {row.read} {row.rate}: predicted "
              f"{row.predicted[-1]:.3f} s, measured {row.measured[-1]:.3f} s", file=sys.stderr)

    def one_host(self) -> list[Row]:
        teacher = self.teacher(self.args.gigabytes)
        rows = [Row(1, ranks, read) for ranks in self.args.ranks
                for read in (READS if ranks > 1 else READS[:1])]
        for _ in range(self.args.rounds):
            for row in rows:
                launcher = ["mpirun", "--oversubscribe", "-n", str(row.ranks_per_host)]
                machine.warm_page_cache(teacher)
                self.predict(row, teacher, self.figures(launcher, teacher, 64))
                machine.warm_page_cache(teacher)
                self.fill(row, launcher, teacher)
                self.say(row)
        return rows

    def two_hosts(self) -> list[Row]:
        teacher = self.teacher(self.args.gigabytes_of_links)
        rows = [Row(links.HOSTS, ranks, read, rate) for rate in self.args.links
                for ranks in (1, 2) for read in ("turns", "root")]
        with links.linked_hosts(self.folder) as hosts:
            for _ in range(self.args.rounds):
                for row in rows:
                    hosts.set_rate(row.rate)
                    launcher = hosts.mpirun(row.ranks_per_host)
                    self.predict(row, teacher, self.figures(launcher, teacher, 32))
                    machine.warm_page_cache(teacher)
                    before = hosts.sent_bytes()
                    self.fill(row, launcher, teacher)
                    row.counted_sent = hosts.sent_bytes() - before
                    self.say(row)
        return rows



def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def seconds(values: Sequence[float]) -> str:
    return f"{min(values):.2f} / {statistics.median(values):.2f}"


def one_host_table(rows: list[Row]) -> str:
    return table(["ranks", "read", "predicted s", "measured s", "least / least", "bottleneck"],
                 [[str(row.ranks_per_host), row.read, seconds(row.predicted), seconds(row.measured),
                   f"{row.ratio():.2f}", row.bottleneck] for row in rows])


def two_hosts_table(rows: list[Row]) -> str:
    return table(["hosts x ranks", "link", "read", "MB that host 0 sends: planned", "counted",
                  "predicted s", "measured s", "least / least", "bottleneck"],
                 [[f"{row.hosts} x {row.ranks_per_host}", row.rate, row.read,
                   f"{row.planned_sent / 1e6:.1f}", f"{row.counted_sent / 1e6:.1f}",
                   seconds(row.predicted), seconds(row.measured), f"{row.ratio():.2f}",
                   row.bottleneck] for row in rows])


def within(rows: list[Row]) -> str:
    close = sum(abs(row.ratio() - 1) <= 0.15 for row in rows)
    return f"{close} of {len(rows)} rows are within 15 %, least by least."


def about(args: argparse.Namespace, load: list[float]) -> str:
    facts = machine.description()
    command = shlex.join(["benchmarks/scale/run", *sys.argv[3:]])
    return (f"Tier cpu: `{command}`, {datetime.date.today()}, {facts['cores']} cores of "
            f"{facts['processor']}, {facts['memory']}, Linux {facts['kernel']}, load average "
            f"{min(load):.1f} to {max(load):.1f}. Least / median of {args.rounds} rounds, in each of "
            "which figures are measured and a fill is run for every row.")


def measured_text(args: argparse.Namespace, folder: pathlib.Path) -> str:
    bench = Bench(args, folder)
    load = [os.getloadavg()[0]]
    one = bench.one_host()
    load.append(os.getloadavg()[0])
    parts = [f"{args.gigabytes} GB of Wan 2.1's names and shapes, one host, files in its page cache:",
             one_host_table(one), within(one)]
    reason = links.missing() if args.links else "--links names none"
    if reason:
        parts.append(f"Over links: skipped, {reason}.")
        print(f"skipped: two hosts, {reason}", file=sys.stderr)
    else:
        two = bench.two_hosts()
        load.append(os.getloadavg()[0])
        parts += [f"{args.gigabytes_of_links} GB, two hosts that are network namespaces here, a link "
                  "slowed by `tc`; what host 0 sends is counted by the kernel, heads of packets and "
                  "messages of the job included:", two_hosts_table(two), within(two)]
    return "\n\n".join([about(args, load), *parts])


def predicted_text(args: argparse.Namespace, folder: pathlib.Path) -> str:
    size = clusters.write_teacher(MANIFEST, folder / "teacher.safetensors")
    parts = [f"Simulated: nothing below was run. Wan 2.1 14B's names and shapes in bfloat16, "
             f"{size / GIGA:.1f} GB, hosts of {clusters.RANKS_PER_HOST} GPUs; GB are those of the host "
             "with most of them."]
    heads = ["ranks", "way", "GB from the disk of a host", "GB sent by a host", "GB received",
             "s from disks", "bottleneck", "s from page caches", "bottleneck"]
    for cluster in clusters.CLUSTERS:
        stated = json.dumps(cluster.figures)
        parts += [f"**{cluster.title[0].upper()}{cluster.title[1:]}**, as `--figures`: `{stated}`",
                  table(heads, clusters.rows(args.program, MANIFEST, folder, cluster))]
    return "\n\n".join(parts)


def update(name: str, text: str) -> None:
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = DOCUMENT.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        fail(f"{DOCUMENT} has no lines {begin} and {end}")
    DOCUMENT.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--links", nargs="*", default=["400mbit", "1600mbit"],
                        help="rates, as tc has them; none: no second host")
    parser.add_argument("--gigabytes", type=float, default=0.5, help="about the teacher's size")
    parser.add_argument("--gigabytes-of-links", type=float, default=0.2, help="of two hosts")
    parser.add_argument("--predict-only", action="store_true", help="nothing but the clusters")
    parser.add_argument("--update-docs", action="store_true", help="put the tables into docs/scale.md")
    args = parser.parse_args()
    if args.rounds < 1 or min(args.ranks) < 1:
        fail("--rounds and --ranks must be 1 or more")
    need = args.gigabytes * GIGA * (max(args.ranks) + 1) + OTHER_MEMORY
    if not args.predict_only and need > machine.available_bytes():
        fail(f"needs {need / GIGA:.0f} GB of free memory; give a smaller --gigabytes or fewer --ranks")
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
            update(name, text)


if __name__ == "__main__":
    main()
