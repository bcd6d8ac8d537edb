#!/usr/bin/env python3
"""Compares ways to get a teacher's file onto every GPU, in turn and repeatedly, on this machine.

Each load is a job of its own, which makes its connections first and is then timed from all ranks
being there to all ranks holding the weights; afterwards every rank compares its tensors with the
file. The file is in the page cache. The table goes to --results, each load's line beside it.
"""
import argparse
import collections
import contextlib
import datetime
import itertools
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata

import torch

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OURS = "fakescore"
LIMITS = {"limit_copy": "limit: copy from pinned memory to one GPU",
          "limit_broadcast": "limit: one NCCL broadcast between buffers"}
PEERS = {"set_model_state_dict": "torch `set_model_state_dict(broadcast_from_rank0=True)`",
         "safetensors": "safetensors `load_file(device=...)`, every rank",
         "fastsafetensors": "fastsafetensors, every rank",
         "fastsafetensors_broadcast": "fastsafetensors, rank 0 and its broadcast"}
TITLES = {OURS: "fakescore", **PEERS, **LIMITS}


def fail(message: str) -> None:
    sys.exit(f"error: {message}")


def output_of(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def command_of(name: str, args: argparse.Namespace) -> list[str]:
    emulate = [str(args.build / "bin/emulate")] if args.dry_run else []
    ranks = str(args.ranks)
    if name == OURS:
        launcher = ["mpirun", "--oversubscribe", "-n", ranks]
        program = [str(args.build / "bin/load_benchmark")]
    else:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python",
                    "--nproc-per-node", ranks]
        program = [sys.executable, str(HERE / "peers.py"), name]
    return [*launcher, *emulate, *program, "--teacher", str(args.teacher)]


@contextlib.contextmanager
def job_environment(args: argparse.Namespace) -> Iterator[dict[str, str]]:
    """fastsafetensors loads libcudart.so by this name, which torch's wheels do not have."""
    site = pathlib.Path(torch.__file__).parent.parent
    runtime = next(site.glob("nvidia/*/lib/libcudart.so.*"), None)
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    if args.dry_run:
        runtime = args.build / "lib/libfakescore_emulation.so"
        environment["FAKESCORE_EMULATION_MEMORY_MB"] = str(
            args.teacher.stat().st_size * 3 // 10**6 + 512)
    if runtime is None:
        fail(f"there is no libcudart.so.* in {site}/nvidia/*/lib, beside torch")
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "libcudart.so").symlink_to(runtime.resolve())
        path = [folder, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        yield environment | {"LD_LIBRARY_PATH": ":".join(path)}


def stop(load: subprocess.Popen) -> None:
    """Launchers end their ranks when they are asked to end, but not when they are killed."""
    load.terminate()
    try:
        load.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        load.kill()
        load.communicate()


def run_once(name: str, args: argparse.Namespace, environment: dict[str, str]) -> dict:
    """The line of JSON that a load printed, or {"error": ...}."""
    load = subprocess.Popen(command_of(name, args), env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
    try:
        output, errors = load.communicate(timeout=args.timeout)
    except subprocess.TimeoutExpired:
        stop(load)
        return {"error": f"took more than {args.timeout} s"}
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if load.returncode != 0 or not lines:
        said = (errors or output).strip().splitlines() or ["nothing was printed"]
        return {"error": next((line for line in said if "error:" in line.lower()), said[-1])}
    return json.loads(lines[-1])


def warm_page_cache(path: pathlib.Path) -> None:
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def measure(args: argparse.Namespace) -> list[dict]:
    runs = []
    with job_environment(args) as environment:
        for repetition, name in itertools.product(range(args.repetitions), TITLES):
            warm_page_cache(args.teacher)
            run = run_once(name, args, environment) | {"name": name, "repetition": repetition}
            runs.append(run)
            shown = run.get("error") or ("done" if args.dry_run else f"{run['seconds']:.3f} s")
            print(f"{repetition + 1}/{args.repetitions} {name}: {shown}", file=sys.stderr)
    return runs


def seconds_by_name(runs: list[dict]) -> dict[str, list[float]]:
    seconds = collections.defaultdict(list)
    for run in runs:
        if "seconds" in run:
            seconds[run["name"]].append(run["seconds"])
    return seconds


def table(runs: list[dict]) -> list[str]:
    """Minimum and median; ratios to fakescore, and of each to the slower of the two limits."""
    seconds = seconds_by_name(runs)
    lines = ["| | min s | median s | min / fakescore's | median / fakescore's | min / limit "
             "| bytes |", "|---|---|---|---|---|---|---|"]
    limits = [min(seconds[name]) for name in LIMITS if seconds[name]]
    for name, title in TITLES.items():
        own = seconds[name]
        mine = [run for run in runs if run["name"] == name]
        errors = [run["error"] for run in mine if "error" in run]
        if errors or not own:
            reason = errors[0].replace("|", "/") if errors else "no run"
            lines.append(f"| {title} | failed: {reason} | | | | | |")
            continue
        cells = [f"{min(own):.3f}", f"{statistics.median(own):.3f}"]
        ours = seconds[OURS]
        cells += [f"{min(own) / min(ours):.2f}" if ours else "",
                  f"{statistics.median(own) / statistics.median(ours):.2f}" if ours else "",
                  f"{min(own) / max(limits):.2f}" if len(limits) == len(LIMITS) else ""]
        same = [run["equals_file"] for run in mine if "equals_file" in run]
        cells.append("" if not same else "the file's" if all(same) else "DIFFERENT")
        lines.append("| " + " | ".join([title, *cells]) + " |")
    return lines


def versions() -> str:
    packages = [f"{name} {metadata.version(name)}"
                for name in ("torch", "safetensors", "fastsafetensors", "numpy")]
    nccl = ".".join(str(part) for part in torch.cuda.nccl.version())
    commit = output_of("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    return ", ".join([f"fakescore {commit}", *packages, f"NCCL {nccl}",
                      f"CUDA {torch.version.cuda}"])


def processor() -> str:
    models = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line]
    return f"{len(models)} x {models[0]}" if models else platform.machine()


def document(args: argparse.Namespace, runs: list[dict]) -> str:
    gpus = output_of("nvidia-smi", "--query-gpu=name,driver_version,pcie.link.gen.max,"
                     "pcie.link.width.max", "--format=csv,noheader")
    size = args.teacher.stat().st_size
    lines = [f"# File to every GPU, {datetime.date.today()}", "",
             f"Tier: gpu. {args.ranks} ranks, one GPU each; {args.teacher.name}, {size} bytes, "
             f"page cache warm; {args.repetitions} repetitions in turn.", "", *table(runs), "",
             "The limit is the slower of the two. Ratios above 1 are slower than fakescore.", "",
             f"- GPUs: {'; '.join(gpus.splitlines())}", f"- Processor: {processor()}",
             f"- Versions: {versions()}", "",
             "```", output_of("nvidia-smi", "topo", "-m"), "```", ""]
    return "\n".join(lines)


def finish_dry_run(runs: list[dict]) -> None:
    """No times: those of emulated devices say nothing of a GPU's."""
    for run in runs:
        if "error" in run or not run.get("equals_file", True):
            fail(f"{run['name']}: {run.get('error', 'other bytes than the file')}")
    print("dry run: every program ran on emulated devices and held the file's bytes; no speed was "
          "measured")


def check_machine(args: argparse.Namespace) -> None:
    if args.repetitions < 3 and not args.dry_run:
        fail("fewer than 3 repetitions make no median: give --repetitions 3 or more")
    if not args.teacher.is_file():
        fail(f"{args.teacher} is not a file: give one safetensors file")
    if shutil.which("mpirun") is None:
        fail("mpirun is not on PATH: install Open MPI, or start this by benchmarks/gpu/run")
    if not (args.build / "bin/load_benchmark").exists():
        fail(f"{args.build}/bin/load_benchmark is not built: start this by benchmarks/gpu/run")
    gpus = torch.cuda.device_count()
    if not args.dry_run and gpus < args.ranks:
        fail(f"{args.ranks} ranks need as many GPUs, and torch sees {gpus}: give fewer --ranks, or "
             "--dry-run, which needs no GPU and measures nothing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=pathlib.Path, required=True, help="one safetensors file")
    parser.add_argument("--ranks", type=int, help="default: one for each GPU")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--results", type=pathlib.Path,
                        default=HERE / f"results-{datetime.date.today()}.md")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one load")
    parser.add_argument("--dry-run", action="store_true",
                        help="without a GPU: every program once, on emulated devices; no times")
    args = parser.parse_args()
    if args.dry_run:
        args.repetitions = 1
    args.ranks = args.ranks or (2 if args.dry_run else torch.cuda.device_count() or 1)
    check_machine(args)
    runs = measure(args)
    if args.dry_run:
        finish_dry_run(runs)
        return
    args.results.write_text(document(args, runs))
    raw = args.results.with_suffix(".jsonl")
    raw.write_text("".join(json.dumps(run) + "\n" for run in runs))
    print(args.results.read_text())


if __name__ == "__main__":
    main()
