"""Jobs whose seconds are predicted from figures that are measured right before they are run."""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import machine

from hosts import linked_hosts, mpirun, write_agent

MAKE_TEACHER = pathlib.Path(__file__).resolve().parent.parent / "common/make_teacher.py"
BLOCK_GIGABYTES = 0.094  # of make_teacher.py's wan
READS = ("all", "turns", "root")
HOSTS = 2  # of linked_hosts
REPEATS = 3  # of each measurement of a round, of which the fastest counts
# Phases that are predicted; building the module and comparing digests are not.
PREDICTED = ("agree", "plan", "place", "move", "replay", "finish")


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

    def ratio_of_medians(self) -> float:
        return statistics.median(self.predicted) / statistics.median(self.measured)


class Bench:
    def __init__(self, args: argparse.Namespace, folder: pathlib.Path) -> None:
        self.args = args
        self.folder = folder
        self.program = args.program

    def teacher(self, gigabytes: float) -> pathlib.Path:
        path = self.folder / f"wan-{gigabytes:.1f}" / "diffusion_pytorch_model.safetensors"
        if not path.exists():
            blocks = max(1, round(gigabytes / BLOCK_GIGABYTES))
            subprocess.run(
                [sys.executable, MAKE_TEACHER, path, "--blocks", str(blocks)],
                check=True,
                stdout=sys.stderr,
            )
        return path

    def run(self, launcher: Sequence[str], *command: object) -> None:
        done = subprocess.run(
            [*launcher, self.program, *map(str, command)],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if done.returncode != 0:
            command_line = shlex.join(map(str, done.args))
            sys.exit(f"error: {command_line}: exit code {done.returncode}\n{done.stderr}")

    def figures(self, launcher: Sequence[str], teacher: pathlib.Path) -> pathlib.Path:
        """As many bytes as are filled: less would lie in caches."""
        path = self.folder / "figures.json"
        size = teacher.stat().st_size
        self.run(launcher, "measure", teacher, "--bytes", size, "--rounds", REPEATS, "--json", path)
        return path

    def prepare(self, row: Row, teacher: pathlib.Path) -> None:
        machine.warm_page_cache(teacher)
        machine.give_pages(teacher.stat().st_size * row.hosts * row.ranks_per_host)

    def predict(self, row: Row, teacher: pathlib.Path, figures: pathlib.Path) -> None:
        path = self.folder / "plan.json"
        self.run(
            [],
            "plan",
            "--teacher",
            teacher.parent,
            "--hosts",
            row.hosts,
            "--ranks-per-host",
            row.ranks_per_host,
            "--read",
            row.read,
            "--figures",
            figures,
            "--json",
            path,
        )
        case = json.loads(path.read_text())["forecasts"][0]
        row.predicted.append(case["from_page_cache"]["seconds"])
        row.bottleneck = case["from_page_cache"]["bottleneck"]
        row.planned_sent = case["hosts"][0]["sent"]

    def fill(self, row: Row, launcher: Sequence[str], teacher: pathlib.Path) -> None:
        """The fastest of as many as `measure` takes the fastest of."""
        path = self.folder / "report.json"
        runs = []
        for _ in range(REPEATS):
            self.prepare(row, teacher)
            command = ("run", "--teacher", teacher.parent, "--read", row.read, "--no-verify")
            self.run(launcher, *command, "--quiet", "--json", path)
            phases = json.loads(path.read_text())["phases"]
            runs.append(sum(each["seconds"] for each in phases if each["name"] in PREDICTED))
        row.measured.append(min(runs))

    def say(self, row: Row) -> None:
        print(
            f"{row.hosts} x {row.ranks_per_host} {row.read} {row.rate}: predicted "
            f"{row.predicted[-1]:.3f} s, measured {row.measured[-1]:.3f} s",
            file=sys.stderr,
        )

    def one_host(self) -> list[Row]:
        teacher = self.teacher(self.args.gigabytes)
        rows = [
            Row(1, ranks, read)
            for ranks in self.args.ranks
            for read in (READS if ranks > 1 else READS[:1])
        ]
        for _ in range(self.args.rounds):
            for row in rows:
                launcher = ["mpirun", "--oversubscribe", "-n", str(row.ranks_per_host)]
                self.prepare(row, teacher)
                self.predict(row, teacher, self.figures(launcher, teacher))
                self.fill(row, launcher, teacher)
                self.say(row)
        return rows

    def two_hosts(self) -> list[Row]:
        teacher = self.teacher(self.args.gigabytes_of_links)
        rows = [
            Row(HOSTS, ranks, read, rate)
            for rate in self.args.links
            for ranks in (1, 2)
            for read in ("turns", "root")
        ]
        with linked_hosts(self.folder) as hosts:
            agent = write_agent(hosts, self.folder)
            for _ in range(self.args.rounds):
                for row in rows:
                    for host in hosts:
                        host.slow_down(row.rate)
                    ranks = ("--oversubscribe",)
                    launcher = hosts[0].inside([*mpirun(hosts, agent, row.ranks_per_host), *ranks])
                    self.prepare(row, teacher)
                    self.predict(row, teacher, self.figures(launcher, teacher))
                    before = hosts[0].sent_bytes()
                    self.fill(row, launcher, teacher)
                    row.counted_sent = (hosts[0].sent_bytes() - before) // REPEATS
                    self.say(row)
        return rows
