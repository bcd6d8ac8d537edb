"""What is measured, and how its seconds are told apart: each workload gives the seconds of its
steps for a number of tensors."""
import json
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from teachers import teacher_of

Steps = dict[str, float]

# Two runs of the same command differ by as much where other work runs beside.
SMALLEST_DIFFERENCE = 0.2


@dataclass(frozen=True)
class Setup:
    build: pathlib.Path
    folder: pathlib.Path  # for teachers and results

    @property
    def program(self) -> pathlib.Path:
        return self.build / "bin/fakescore"


def seconds_of(command: list) -> float:
    begin = time.perf_counter()
    # Its table goes to a pipe that is read: to print is part of the work.
    done = subprocess.run(command, capture_output=True)
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n"
                           f"{done.stderr.decode(errors='replace')[-2000:]}")
    return seconds


def launcher_of(ranks: int) -> list[str]:
    return [] if ranks == 1 else ["mpirun", "--oversubscribe", "-n", str(ranks)]


def difference(longer: float, shorter: float) -> float:
    return longer - shorter if longer - shorter >= SMALLEST_DIFFERENCE else 0.0


@dataclass(frozen=True)
class Run:
    """One `fakescore run`: its phases are from its report, `rest` is what lies outside of them: the
    start, the names for a module of the checkpoint's own, the table, the report itself, the end."""
    steps: Steps
    rest: float


def run(setup: Setup, teacher: pathlib.Path, ranks: int, options: list) -> Run:
    report = setup.folder / "report.json"
    report.unlink(missing_ok=True)
    wall = seconds_of([*launcher_of(ranks), setup.program, "run", "--teacher", teacher,
                       "--timeout", "3000", "--json", report, *options])
    content = json.loads(report.read_text())
    return Run({phase["name"]: phase["seconds"] for phase in content["phases"]},
               wall - content["seconds"])


def measure_run(setup: Setup, kind: str, count: int, ranks: int, options: list) -> Steps:
    teacher = teacher_of(kind, count, setup.folder)
    plain = run(setup, teacher, ranks, options)
    output = setup.folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    written = run(setup, teacher, ranks, [*options, "--output", output])
    shutil.rmtree(output)
    steps = {name: min(seconds, written.steps[name]) for name, seconds in plain.steps.items()}
    return steps | {"start, names, report": plain.rest,
                    "write --output": difference(written.rest, plain.rest)}


def measure_plan(setup: Setup, kind: str, count: int, options: list) -> Steps:
    teacher = teacher_of(kind, count, setup.folder)
    command = [setup.program, "plan", "--teacher", teacher, "--ranks", "8", "--all", *options]
    table = seconds_of(command)
    with_json = seconds_of([*command, "--json", setup.folder / "plan.json"])
    return {"all": table, "write --json": difference(with_json, table)}


def measure_inspect(setup: Setup, kind: str, count: int, options: list) -> Steps:
    teacher = teacher_of(kind, count, setup.folder)
    return {"all": seconds_of([setup.program, "inspect", teacher, *options])}


def measure_library(setup: Setup, name: str, count: int) -> Steps:
    done = subprocess.run([setup.build / "bin/scaling_benchmark", name, str(count)],
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


Workload = Callable[[Setup, int], Steps]
MAP = ["--map", r"^model\.layers\.=blocks."]
CAST = ["--dtype", "bfloat16"]
KINDS = ("safetensors", "index", "torch", "dcp")
LIBRARY = ("tied", "replayed", "replayed_plan", "views", "replayed_views", "foreach", "cast",
           "deep_copy", "sync")


def run_of(kind: str, ranks: int, options: list | None = None) -> Workload:
    return lambda setup, count: measure_run(setup, kind, count, ranks, options or [])


def plan_of(kind: str, options: list | None = None) -> Workload:
    return lambda setup, count: measure_plan(setup, kind, count, options or [])


def inspect_of(kind: str, options: list | None = None) -> Workload:
    return lambda setup, count: measure_inspect(setup, kind, count, options or [])


def library_of(name: str) -> Workload:
    return lambda setup, count: measure_library(setup, name, count)


def workloads() -> dict[str, Workload]:
    chosen: dict[str, Workload] = {}
    for kind in KINDS:
        for ranks in (1, 2):
            chosen[f"run {kind}, {ranks} rank" + "s" * (ranks > 1)] = run_of(kind, ranks)
        chosen[f"plan {kind}"] = plan_of(kind)
        chosen[f"inspect {kind}"] = inspect_of(kind)
    chosen["run torch_tied, 1 rank"] = run_of("torch_tied", 1)
    chosen["run --read root, 2 ranks"] = run_of("safetensors", 2, ["--read", "root"])
    chosen["run --dtype, 1 rank"] = run_of("safetensors", 1, CAST)
    chosen["run --map, 1 rank"] = run_of("safetensors", 1, MAP)
    chosen["plan --map"] = plan_of("safetensors", MAP)
    chosen["inspect ties"] = inspect_of("ties")
    chosen["inspect --map"] = inspect_of("safetensors", MAP)
    for name in LIBRARY:
        chosen[f"library {name}"] = library_of(name)
    return chosen


def environment_for_mpi() -> None:
    # One thread a rank, as launchers set it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
