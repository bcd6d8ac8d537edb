"""A rank of a job in which a whole host is lost, or one rank fails; writes what its calls did."""

import datetime
import json
import pathlib
import resource
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn

import fakescore

WIDTH = 1024
DEPTH = 8
WORLD_SIZE = 4
TIMEOUT_SECONDS = 2
FILE_BYTES = DEPTH * WIDTH * WIDTH * 4
LARGE_BYTES = 256 * 1024 * 1024


def serve_store(address: str, port: int) -> None:
    """Does what torchrun's agent does: the store is no rank's."""
    _store = dist.TCPStore(address, port, is_master=True, wait_for_workers=False)
    time.sleep(1000)


class Place(NamedTuple):
    """Of a rank in its job."""

    address: str  #: of the store
    port: int
    rank: int
    folder: str  #: for what it writes

    def join(self) -> None:
        wait = datetime.timedelta(seconds=60)
        store = dist.TCPStore(self.address, self.port, is_master=False, timeout=wait)
        dist.init_process_group("gloo", store=store, rank=self.rank, world_size=WORLD_SIZE)

    def say_that_it_is_there(self) -> None:
        pathlib.Path(self.folder, f"is_there_{self.rank}").touch()

    def hold(self) -> None:
        """Says that it is there, and waits until it may go on."""
        self.say_that_it_is_there()
        while not pathlib.Path(self.folder, "goes_on").exists():
            time.sleep(0.02)

    def write(self, outcome: object) -> None:
        """Whole or not at all."""
        beside = pathlib.Path(self.folder, f".outcome_{self.rank}")
        beside.write_text(json.dumps(outcome))
        beside.rename(pathlib.Path(self.folder, f"outcome_{self.rank}"))


def build() -> nn.Module:
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH)))


#: Two of the teacher's that are one in the module, which who sends it puts together in the move.
MERGES = {"0.weight": ["a.weight", "b.weight"]}


def build_merged() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, LARGE_BYTES // WIDTH // 4, bias=False))


def state_to_merge() -> dict[str, torch.Tensor]:
    half = (LARGE_BYTES // WIDTH // 8, WIDTH)
    return {"a.weight": torch.zeros(half), "b.weight": torch.zeros(half)}


def call_of(
    make: Callable[[list[nn.Module]], nn.Module], teacher: object, **options: Any
) -> dict[str, Any]:
    """What came of a call; `make` adds the module to the list before anything can go wrong."""
    made: list[nn.Module] = []
    outcome = {"error": "", "text": ""}
    try:
        fakescore.create_fake_score_meta(
            lambda: make(made), teacher, timeout=TIMEOUT_SECONDS, **options
        )
    except fakescore.FakescoreError as error:
        outcome = {"error": type(error).__name__, "text": str(error)}
    except KeyboardInterrupt:
        outcome = {"error": "KeyboardInterrupt", "text": ""}
    tensors = [tensor for module in made for tensor in module.state_dict().values()]
    return outcome | {"is_on_meta": all(tensor.is_meta for tensor in tensors)}


def is_filled(module: nn.Module, teacher: str) -> bool:
    expected = load_file(teacher)
    return all(torch.equal(tensor, expected[name]) for name, tensor in module.state_dict().items())


def lose_a_host(*given: Any) -> None:
    """Says that it is in a phase, in which the test takes its host away, or the other one."""
    *where, teacher, phase = given
    place = Place(*where)

    def make(made: list[nn.Module]) -> nn.Module:
        made.append(build())
        if phase == "build":
            place.hold()
        return made[0]

    def say_that_it_moves(_: str, done: int, total: int) -> None:
        if phase == "move" and 0 < done < total:
            place.say_that_it_is_there()

    place.join()
    earlier = None
    if phase == "after":
        earlier = fakescore.create_fake_score_meta(build, teacher, timeout=60)
        place.hold()
    outcome = call_of(make, teacher, progress=say_that_it_moves)
    outcome["earlier_is_filled"] = earlier is None or is_filled(earlier, teacher)
    place.write(outcome)


def raise_an_error() -> None:
    raise ValueError("no such configuration")


def ask_for_too_much() -> None:
    bytearray(1 << 60)


def leave_memory(more: int) -> None:
    """Lets the process have so many bytes more than it has."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, hard))


#: What goes wrong on one rank, in its builder or after it by what that leaves behind. Of memory
#: there is too little for one thing, and enough for threads: the C library aborts without.
IN_BUILDER = {
    "raises": raise_an_error,
    "asks for too much": ask_for_too_much,
    "cannot map the file": lambda: leave_memory(FILE_BYTES * 3 // 4),
    "cannot place a tensor": lambda: leave_memory(LARGE_BYTES // 2),
    "cannot merge two": lambda: leave_memory(LARGE_BYTES * 3 // 2),
}


def fail(what: str, fails_here: bool, teacher: object, read: str) -> dict[str, Any]:
    merges = what == "cannot merge two"

    def make(made: list[nn.Module]) -> nn.Module:
        made.append(build_merged() if merges else build())
        if what == "cannot place a tensor":
            made[0].register_buffer("large", torch.empty(LARGE_BYTES // 4))
        if fails_here and what in IN_BUILDER:
            IN_BUILDER[what]()
        return made[0]

    def show(_: str, done: int, total: int) -> None:
        if fails_here and what == "is interrupted" and 0 < done < total:
            raise KeyboardInterrupt

    if merges:
        teacher = state_to_merge()
    if fails_here and what == "has no file":
        teacher = "/nonexistent/teacher.safetensors"
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        return call_of(make, teacher, read=read, progress=show, map_keys=MERGES if merges else None)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def fail_one_after_another(*given: Any) -> None:
    """Calls on one group, in which one rank fails, or none."""
    *where, teacher, failures = given
    place = Place(*where)
    place.join()
    in_memory = build()
    in_memory.load_state_dict(load_file(teacher))
    outcomes = []
    for what, failing_rank, source, read in failures:
        if what == "is interrupted":  # amid the move, which the test makes a slow one
            place.hold()
        source_here = in_memory if source == "memory" else teacher
        outcomes.append(fail(what, place.rank == failing_rank, source_here, read))
    place.write({"calls": outcomes, "teacher_is_unharmed": is_filled(in_memory, teacher)})
