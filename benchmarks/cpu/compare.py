#!/usr/bin/env python3
"""Measures how long fakescore takes to give every rank a copy of a teacher on this host's CPUs, in
turn with what a Python program does today and with the host's limits; benchmarks/README.md says
how to read it. Start it by benchmarks/cpu/run, which builds what it needs.
"""
import argparse
import datetime
import itertools
import json
import os
import pathlib
import subprocess
import sys

import machine
import tables
import workloads
from documents import put_between

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOCUMENTS = {"README.md": tables.short_table, "docs/performance.md": tables.long_tables}
WHOLE = {"workloads": ["wan30", "wan10", "small5000", "mixed20000"], "sides": list(tables.SIDES),
         "ranks": [2, 4], "rounds": 5}
QUICK = {"workloads": ["wan2", "small5000"], "sides": [*tables.OURS, tables.LIMITS], "ranks": [2],
         "rounds": 1}
OTHER_MEMORY = 1 << 30
# Models a rank at its peak; see the column of the anonymous peak.
MODELS_OF_MEMORY = {"broadcast_coalesced": 1.4, "set_state_dict": 1.2}


def fail(message: str) -> None:
    sys.exit(f"error: {message}")


def command_of(side: str, teacher: pathlib.Path, ranks: int, build: pathlib.Path) -> list[str]:
    if side not in tables.OURS and side != tables.LIMITS:
        return [sys.executable, str(HERE / "peers.py"), side, "--teacher", str(teacher), "--ranks",
                str(ranks)]
    launcher = ["mpirun", "--oversubscribe", "-n", str(ranks),
                str(build / "bin/cpu_load_benchmark")]
    if side == tables.LIMITS:
        return [*launcher, "limits", "--bytes", str(teacher.stat().st_size)]
    return [*launcher, "load", "--teacher", str(teacher), *tables.OURS[side].arguments]


def stop(job: subprocess.Popen) -> None:
    """Launchers end their ranks when they are asked to end, but not when they are killed."""
    job.terminate()
    try:
        job.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        job.kill()
        job.communicate()


def run_once(command: list[str], timeout: float) -> dict:
    """The line of JSON that a program printed, and its exit code; or {"error": ...}."""
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        output, errors = job.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        stop(job)
        return {"error": f"took more than {timeout} s"}
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        said = (errors or output).strip().splitlines() or ["nothing was printed"]
        return {"error": next((line for line in said if "error" in line.lower()), said[-1])}
    return json.loads(lines[-1]) | {"exit_code": job.returncode}


def measure(side: str, name: str, ranks: int, sampled: bool, args: argparse.Namespace) -> dict:
    teacher = args.folder / f"{name}.safetensors"
    line = {"side": side, "workload": name, "ranks": ranks, "sampled": sampled,
            "load_average": os.getloadavg()[0]}
    need = teacher.stat().st_size * ranks * MODELS_OF_MEMORY.get(side, 1.05) + OTHER_MEMORY
    if need > machine.available_bytes():
        return line | {"error": f"left out: needs {need / 1e9:.0f} GB of free memory"}
    machine.warm_page_cache(teacher)
    if args.cold:
        machine.cool_page_cache(teacher)
    line["cached_part"] = machine.cached_part(teacher)
    command = command_of(side, teacher, ranks, args.build)
    return line | run_once([*command, *(["--sample"] if sampled else [])], args.timeout)


def measure_all(args: argparse.Namespace, raw: pathlib.Path) -> list[dict]:
    """Rounds in which all sides take turns, then one in which their memory is sampled."""
    lines = []
    with open(raw, "w") as file:
        for number, name, ranks in itertools.product(range(args.rounds + 1), args.workloads,
                                                     args.ranks):
            sampled = number == args.rounds
            for side in args.sides:
                if sampled and side == tables.LIMITS:
                    continue
                line = measure(side, name, ranks, sampled, args) | {"round": number}
                lines.append(line)
                file.write(json.dumps(line) + "\n")
                file.flush()
                shown = line.get("error") or tables.progress_of(line)
                turn = "memory" if sampled else f"{number + 1}/{args.rounds}"
                print(f"{turn} {name} x {ranks} {side}: {shown}", file=sys.stderr)
    return lines


def heading(args: argparse.Namespace, lines: list[dict]) -> str:
    """The machine and the date in one line."""
    versions = next((line["versions"] for line in lines if "versions" in line), {})
    about = machine.description()
    loads = sorted(line["load_average"] for line in lines)
    cache = "cold" if args.cold else "warm"
    return (f"{datetime.date.today()}, {about['cores']} x {about['processor']}, {about['memory']}, "
            f"Linux {about['kernel']}, transparent huge pages: {about['huge pages']}, "
            f"{versions.get('mpi', 'no MPI')}, torch {versions.get('torch', 'unknown')}, "
            f"page cache {cache}, {args.rounds} rounds, load average {loads[0]:.1f} to "
            f"{loads[-1]:.1f}.")


def parse_arguments() -> argparse.Namespace:
    def names(known: dict) -> dict:
        return {"nargs": "+", "choices": known, "metavar": "NAME"}

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", help=f"of {', '.join(workloads.WORKLOADS)}",
                        **names(workloads.WORKLOADS))
    parser.add_argument("--sides", help=f"of {', '.join(tables.SIDES)}", **names(tables.SIDES))
    parser.add_argument("--ranks", type=int, nargs="+")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--cold", action="store_true",
                        help="drop the file from the page cache before each load")
    parser.add_argument("--quick", action="store_true",
                        help="by default fakescore and the limits alone, small teachers, 2 ranks, "
                             "one round")
    parser.add_argument("--update-docs", action="store_true",
                        help=f"put the tables into {' and '.join(DOCUMENTS)}")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build/benchmarks",
                        help="of teachers and results")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one load")
    args = parser.parse_args()
    defaults = QUICK if args.quick else WHOLE
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if min(args.ranks) < 1 or args.rounds < 1:
        fail("--ranks and --rounds must be 1 or more")
    return args


def main() -> None:
    args = parse_arguments()
    if not (args.build / "bin/cpu_load_benchmark").exists():
        fail(f"{args.build}/bin/cpu_load_benchmark is not built: start this by benchmarks/cpu/run")
    for name in args.workloads:
        workloads.teacher_of(name, workloads.WORKLOADS[name], args.folder)
    stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    results = args.folder / f"cpu-{stamp}.md"
    lines = measure_all(args, results.with_suffix(".jsonl"))
    about = heading(args, lines)
    results.write_text("\n".join([about, "", tables.short_table(lines), "",
                                  tables.long_tables(lines), ""]))
    print(results.read_text())
    print(f"written to {results}, each load's line to {results.stem}.jsonl", file=sys.stderr)
    if args.update_docs:
        for document, table in DOCUMENTS.items():
            put_between(ROOT / document, tables.BEGIN, tables.END, f"{about}\n\n{table(lines)}")
    wrong = [line for line in lines
             if line["side"] in (*tables.OURS, tables.LIMITS) and not tables.is_right(line)]
    if wrong:
        fail(f"{len(wrong)} loads of fakescore or limits failed or were not right; see "
             f"{results.stem}.jsonl")


if __name__ == "__main__":
    main()
