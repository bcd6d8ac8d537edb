"""Measures, on two hosts that share one slow disk, a fill that reads each byte once beside one in
which every host reads all; README.md says how. Start it by benchmarks/hosts/run, which installs
what it needs.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import os
import pathlib
import shlex
import statistics
import sys
import tempfile
from importlib import metadata
from typing import Any

import machine
import model
from safetensors.torch import save_file
from slow_disk import LIMIT, ReadLimit, make_image, mounted

from hosts import Host, linked_hosts, outcomes

HERE = pathlib.Path(__file__).resolve().parent
#: On a disk, and not in memory as /tmp may be.
FOLDER = HERE.parent.parent / "build/benchmarks"
WAYS = ("turns", "all")
MEGABYTE = 1_000_000

Line = dict[str, Any]


def run_job(hosts: list[Host], folder: pathlib.Path, read: str, args: argparse.Namespace) -> Line:
    """A rank on each host, of which none has anything of the file in memory."""
    image, seen = folder / "image", folder / "seen"
    seen.mkdir(exist_ok=True)
    limit = ReadLimit(image, args.disk_rate * MEGABYTE)
    with contextlib.closing(limit), contextlib.ExitStack() as stack:
        jobs = []
        for number, host in enumerate(hosts):
            own = folder / f"seen_by_{number}"
            stack.enter_context(mounted(image, own))
            with host.seeing(own, seen), limit.joined():
                place = (str(number), str(len(hosts)), hosts[0].address, host.link)
                what = (str(seen / "teacher.safetensors"), str(args.layers), read)
                command = [sys.executable, str(HERE / "rank.py"), *place, *what]
                jobs.append(host.start(command))
        found = outcomes(jobs)
        return {
            "read": read,
            "seconds": max(rank["seconds"] for rank in found),
            "right": all(rank["right"] and rank["read"] == read for rank in found),
            "read_bytes": found[0]["read_bytes"],
            "disk_bytes": limit.read_bytes(),
            "sent_bytes": [rank["sent_bytes"] for rank in found],
        }


def measure(folder: pathlib.Path, args: argparse.Namespace) -> list[Line]:
    """Rounds in which both ways take turns."""
    lines = []
    with linked_hosts(folder) as hosts:
        for number, read in itertools.product(range(args.rounds), WAYS):
            load = os.getloadavg()[0]
            line = {"round": number, "load_average": load} | run_job(hosts, folder, read, args)
            print(json.dumps(line), file=sys.stderr)
            if not line["right"]:
                sys.exit(f"error: read={read!r} gave other values, or read in another way")
            lines.append(line)
    return lines


def row(lines: list[Line], read: str, model_bytes: int) -> str:
    own = [line for line in lines if line["read"] == read]
    seconds = [line["seconds"] for line in own]
    of_disk = statistics.median(line["disk_bytes"] for line in own)
    sent = (statistics.median(line["sent_bytes"][host] for line in own) for host in (0, 1))
    cells = (
        f'`read="{read}"`',
        f"{min(seconds):.2f} / {statistics.median(seconds):.2f}",
        f"{of_disk / model_bytes:.2f}",
        " and ".join(f"{part / model_bytes:.2f}" for part in sent),
    )
    return f"| {' | '.join(cells)} |"


def text_of(lines: list[Line], args: argparse.Namespace) -> str:
    about = machine.description()
    loads = sorted(line["load_average"] for line in lines)
    size = args.layers * model.LAYER_BYTES / MEGABYTE
    command = shlex.join(["benchmarks/hosts/run", *sys.argv[1:]])
    once, everyone = ([line["seconds"] for line in lines if line["read"] == way] for way in WAYS)
    factors = (f"{of(everyone) / of(once):.2f}" for of in (min, statistics.median))
    return "\n".join(
        [
            f"Tier cpu: `{command}`, {datetime.date.today()}, {about['cores']} cores of "
            f"{about['processor']}, {about['memory']}, Linux {about['kernel']}, torch "
            f"{metadata.version('torch')}; two hosts, a rank on each, over Gloo; {size:.0f} MB "
            f"in float32 on a disk of {args.disk_rate} MB/s for both, which takes "
            f"{size / args.disk_rate:.2f} s to read once; rounds: {args.rounds}, minimum / "
            f"median, load average {loads[0]:.1f} to {loads[-1]:.1f}.",
            "",
            "| way | seconds | read of the disk, models | sent by each host, models |",
            "| --- | --- | --- | --- |",
            *(row(lines, way, args.layers * model.LAYER_BYTES) for way in WAYS),
            "",
            f"Every host reading all takes {' / '.join(factors)} times as long.",
        ]
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=16, help="of 16.8 MB each")
    parser.add_argument("--disk-rate", type=int, default=50, help="MB/s, for all hosts together")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if not LIMIT.exists():
        sys.exit(f"error: no {LIMIT}: version 1 of control groups makes the disk slow")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as temporary:
        folder = pathlib.Path(temporary)
        files = folder / "files"
        files.mkdir()
        save_file(model.whole(args.layers).state_dict(), str(files / "teacher.safetensors"))
        make_image(folder / "image", files)
        print(text_of(measure(folder, args), args))


main()
