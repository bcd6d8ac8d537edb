"""Measures how long the Python package takes to give every rank of a Gloo job a module with a
teacher's weights, in turn with what people do today; README.md says how to read it. Start it by
benchmarks/python/run, which installs what it needs.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile
from importlib import metadata
from typing import NoReturn

import machine
import tables
import teachers
from documents import put_between
from tables import Line, Measurements
from ways import ALL_OURS, SHARDED, WAYS, WHOLE, Limit

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOCUMENTS = {"whole": ROOT / "docs/python.md", "sharded": ROOT / "docs/sharding.md"}
SECTION = "## Beside what people do today"
RESULTS = ROOT / "build/benchmarks"
VERSIONS = ("torch", "diffusers", "transformers", "accelerate")
OTHER_MEMORY = 2 << 30
MODELS_OF_MEMORY = 2.2  # a rank, of set_state_dict's
MODELS_OF_MEMORY_IN_SHARDS = 1.2  # a rank, which compares with a whole one


def fail(message: str) -> NoReturn:
    sys.exit(f"error: {message}")


def run_job(
    way: str, ranks: int, sampled: bool, folder: pathlib.Path, args: argparse.Namespace
) -> Line:
    """Starts the ranks; returns what each found."""
    with tempfile.TemporaryDirectory() as results:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(ranks), str(HERE / "rank.py"), way),
            *("--teachers", str(folder), "--results", results),
            *("--model", args.model, "--dtype", args.dtype),
            *(["--sample"] if sampled else []),
            *(["--cold"] if args.cold else []),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        job = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if job.returncode != 0:
            print(job.stderr, file=sys.stderr)
            return {"error": f"failed with exit code {job.returncode}; its messages are above"}
        files = (pathlib.Path(results) / f"{rank}.json" for rank in range(ranks))
        return {"by_rank": [json.loads(file.read_text()) for file in files]}


def measure(folder: pathlib.Path, args: argparse.Namespace, raw: pathlib.Path) -> list[Line]:
    """Rounds in which all ways take turns, then one in which their memory is sampled."""
    lines = []
    with open(raw, "w") as file:
        jobs = itertools.product(args.ranks, range(args.rounds + 1), args.ways)
        for ranks, number, way in jobs:
            sampled = number == args.rounds
            machine.warm_page_cache(teachers.measured(folder, args.model, args.dtype).file)
            load = os.getloadavg()[0]
            line = {"way": way, "ranks": ranks, "round": number, "sampled": sampled}
            line |= {"load_average": load, **run_job(way, ranks, sampled, folder, args)}
            lines.append(line)
            file.write(json.dumps(line) + "\n")
            file.flush()
            turn = "memory" if sampled else f"{number + 1}/{args.rounds}"
            print(f"{ranks} ranks, {turn} {way}: {tables.progress_of(line)}", file=sys.stderr)
    return lines


def costs_of(lines: list[Line], ranks: int) -> list[str]:
    measurements = Measurements([line for line in lines if line["ranks"] == ranks])
    return [f"**{ranks} ranks**", "", measurements.costs(), ""]


def text_of(lines: list[Line], file_bytes: int, args: argparse.Namespace) -> str:
    about = machine.description()
    loads = sorted(line["load_average"] for line in lines)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in VERSIONS)
    cache = "dropped from the page cache before" if args.cold else "in the page cache"
    command = shlex.join(["benchmarks/python/run", *sys.argv[1:]])
    return "\n".join(
        [
            f"Tier cpu: `{command}`, {datetime.date.today()}, {about['cores']} cores of "
            f"{about['processor']}, {about['memory']}, Linux {about['kernel']}, {versions}; "
            f"{teachers.MODELS[args.model].cls.__name__} of "
            f"{file_bytes / teachers.GIGABYTE:.2f} GB in {args.dtype}, "
            f"{cache}, ranks over Gloo, rounds: {args.rounds}, minimum / median, "
            f"load average {loads[0]:.1f} to {loads[-1]:.1f}.",
            "",
            *(part for ranks in args.ranks for part in costs_of(lines, ranks)),
            "Whether all is as `from_pretrained` has it, on every rank; or what is wrong first:",
            "",
            Measurements(lines).rights(),
        ]
    )


def update(document: pathlib.Path, model: str, text: str) -> None:
    """Puts the text between the model's markers, in a section of its own if there are none."""
    begin, end = f"<!-- benchmark of {model} -->", f"<!-- /benchmark of {model} -->"
    whole = document.read_text()
    if begin not in whole:
        document.write_text(f"{whole.rstrip()}\n\n{SECTION}: {model}\n\n{begin}\n{end}\n")
    put_between(document, begin, end, text)


def is_for(name: str, model: str) -> bool:
    way = WAYS[name]
    return isinstance(way, Limit) or way.suits(teachers.MODELS[model].cls)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=teachers.MODELS, default="wan")
    parser.add_argument("--dtype", choices=teachers.DTYPES, default="float32")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="about the teacher's size")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2])
    parser.add_argument(
        "--cold", action="store_true", help="drop the teacher's file from the page cache each time"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sharded", action="store_true", help="modules that FSDP2 shards")
    parser.add_argument("--ways", nargs="+", choices=WAYS, metavar="WAY",
                        help=f"of {', '.join(WHOLE)}; sharded: {', '.join(SHARDED)}")  # fmt: skip
    parser.add_argument(
        "--update-docs",
        action="store_true",
        help="put the tables into docs/python.md, or docs/sharding.md",
    )
    args = parser.parse_args()
    ways = SHARDED if args.sharded else WHOLE
    args.ways = args.ways or [name for name in ways if is_for(name, args.model)]
    if not all(is_for(name, args.model) for name in args.ways):
        fail(f"--model {args.model} is none of transformers, for which some of --ways are")
    if min(args.ranks) < 1 or args.rounds < 1 or args.gigabytes <= 0:
        fail("--ranks and --rounds must be 1 or more, --gigabytes more than 0")
    return args


def main() -> None:
    args = parse_arguments()
    models = MODELS_OF_MEMORY_IN_SHARDS if args.sharded else MODELS_OF_MEMORY
    need = args.gigabytes * teachers.GIGABYTE * max(args.ranks) * models + OTHER_MEMORY
    if need > machine.available_bytes():
        fail(f"needs {need / teachers.GIGABYTE:.0f} GB of free memory; give a smaller --gigabytes")
    RESULTS.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    results = RESULTS / f"python-{stamp}.md"
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        teachers.write(folder, args.model, args.dtype, args.gigabytes)
        lines = measure(folder, args, results.with_suffix(".jsonl"))
        measured = teachers.measured(folder, args.model, args.dtype)
        text = text_of(lines, measured.file.stat().st_size, args)
    results.write_text(f"{text}\n")
    print(text)
    print(f"written to {results}, each job's line to {results.stem}.jsonl", file=sys.stderr)
    if args.update_docs:
        update(DOCUMENTS["sharded" if args.sharded else "whole"], args.model, text)
    if not all(tables.is_right(line) for line in lines if line["way"] in ALL_OURS):
        fail(f"jobs of fakescore failed or were not right; see {results.stem}.jsonl")


if __name__ == "__main__":
    main()
