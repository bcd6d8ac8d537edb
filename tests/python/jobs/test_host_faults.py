"""Jobs on two hosts, of two ranks each, that lose a host, or in which one rank fails.

A host is killed, stopped or cut off while its ranks build, plan, move bytes, or are between two
calls. Each phase meets each of the three, and each host is killed and stopped in two phases; a link
that is cut amid the move is in test_hosts.py.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import pytest

from held_opens import HeldOpens
from hosts import HERE, Host, linked_hosts, skip_or_fail

WORLD_SIZE = 4
TIMEOUT_SECONDS = 2  #: of host_fault_rank.py
#: A census, and a machine that is busy.
SLACK_SECONDS = 20
ports = iter(range(29600, 29700))  #: of each job's store: an earlier one's may not be free yet


class Server:
    """Starts processes on a host; see fork_server.py."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._process = host.start(
            [sys.executable, str(HERE / "fork_server.py")],
            stdin=subprocess.PIPE,
        )

    def fork(self, log: pathlib.Path, function: str, *arguments: object) -> int:
        """The process's id."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(log), function, *arguments]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with linked_hosts(tmp_path_factory.mktemp("hosts")) as pair:
        yield [Server(host) for host in pair]


class Job:
    """Of two ranks on each host, and a store on the first one."""

    def __init__(self, servers: list[Server], folder: pathlib.Path, function: str, *more: object):
        address, port = servers[0].host.address, next(ports)
        self._folder = folder
        self.hosts = [server.host for server in servers]
        self._log = folder / "log"
        self.store = servers[0].fork(self._log, "serve_store", address, port)
        self.ranks = [
            servers[rank // 2].fork(self._log, function, address, port, rank, str(folder), *more)
            for rank in range(WORLD_SIZE)
        ]

    def ranks_of(self, host: int) -> tuple[int, ...]:
        return (2 * host, 2 * host + 1)

    def wait_until_all_are_there(self) -> None:
        for rank in range(WORLD_SIZE):
            self._wait_for(f"is_there_{rank}", 60)

    def go_on(self) -> None:
        (self._folder / "goes_on").touch()

    def outcome(self, rank: int) -> Any:
        seconds = TIMEOUT_SECONDS + SLACK_SECONDS
        return json.loads(self._wait_for(f"outcome_{rank}", seconds).read_text())

    def _wait_for(self, name: str, seconds: float) -> pathlib.Path:
        file = self._folder / name
        deadline = time.monotonic() + seconds
        while not file.exists():
            assert time.monotonic() < deadline, f"no {file}: {self._log.read_text()}"
            time.sleep(0.02)
        return file

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.store, *self.ranks):
            os.kill(process, signal.SIGKILL)
        for host in self.hosts:
            host.mend()


class Fault(NamedTuple):
    kind: str
    host: int
    phase: str


FAULTS = [
    Fault("killed", 1, "build"),
    Fault("stopped", 0, "build"),
    Fault("cut off", 1, "build"),
    Fault("killed", 0, "plan"),
    Fault("stopped", 1, "plan"),
    Fault("cut off", 1, "plan"),
    Fault("killed", 1, "move"),
    Fault("killed with the store", 0, "move"),
    Fault("stopped", 0, "move"),
    Fault("killed", 0, "after"),
    Fault("stopped", 1, "after"),
    Fault("cut off", 1, "after"),
]


def lose(job: Job, fault: Fault) -> None:
    if fault.kind == "cut off":
        job.hosts[fault.host].cut_off()
        return
    if fault.kind == "killed with the store":
        os.kill(job.store, signal.SIGKILL)
    for rank in job.ranks_of(fault.host):
        os.kill(job.ranks[rank], signal.SIGSTOP if fault.kind == "stopped" else signal.SIGKILL)


def digest(file: str) -> str:
    return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()


def opens_of(file: str) -> HeldOpens:
    try:
        return HeldOpens(file)
    except OSError as error:
        return skip_or_fail(f"a file cannot be kept from being opened here: {error}")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "-".join(map(str, fault)))
def test_a_lost_host_is_one_named_error_on_the_other(servers, teacher, tmp_path, fault):
    before = digest(teacher)
    if fault.phase == "move":
        for server in servers:
            server.host.slow_down("100mbit")
    with contextlib.ExitStack() as stack:
        if fault.phase == "plan":
            opens = stack.enter_context(contextlib.closing(opens_of(teacher)))
        job = stack.enter_context(Job(servers, tmp_path, "lose_a_host", teacher, fault.phase))
        if fault.phase == "plan":
            opens.wait_for(set(job.ranks), 60)
        else:
            job.wait_until_all_are_there()
        lose(job, fault)
        if fault.phase == "plan":
            opens.close()
        job.go_on()
        survivors = (0, 1) if fault.kind == "cut off" else (1 - fault.host,)
        for host in survivors:
            lost = "the store: cannot be reached"
            if host == 0 or fault.kind in ("killed", "stopped"):
                first, second = job.ranks_of(1 - host)
                # One that has just said that it is at work may be waited for, and not be named.
                lost = f"rank( {first}| {second}|s {first} and {second}) of 4 did not answer"
            found = [job.outcome(rank) for rank in job.ranks_of(host)]
            assert found[0]["text"] == found[1]["text"], found
            for outcome in found:
                assert outcome["error"] == "CommError", outcome
                assert re.search(lost, outcome["text"]), outcome
                assert outcome["is_on_meta"] and outcome["earlier_is_filled"], outcome
    assert digest(teacher) == before


class Failure(NamedTuple):
    what: str  #: of host_fault_rank.py
    rank: int
    source: str  #: "memory" of the first rank, or "file"
    read: str
    errors: tuple[str, str]  #: the rank's own, and the others'
    text: str  #: is in all of fakescore's


INTERRUPTED = ("KeyboardInterrupt", "CommError")
OUT_OF_MEMORY = ("HostMemoryError", "HostMemoryError")
FAILURES = [
    Failure("raises", 3, "memory", "auto", ("BuildError",) * 2, "rank 3 in build: ValueError"),
    Failure("asks for too much", 0, "file", "auto", OUT_OF_MEMORY, "rank 0 in build: "),
    Failure("has no file", 2, "file", "turns", ("TeacherError",) * 2, "rank 2 in plan: "),
    Failure("cannot map the file", 0, "file", "auto", OUT_OF_MEMORY, "rank 0 in plan: "),
    Failure("cannot place a tensor", 3, "file", "auto", OUT_OF_MEMORY, "rank 3 in place: "),
    Failure("cannot merge two", 0, "memory", "auto", OUT_OF_MEMORY, "rank 0 in move: "),
    Failure("does not fail", 0, "file", "auto", ("", ""), ""),
    # Last, for the group is of no more use then.
    Failure("is interrupted", 3, "memory", "auto", INTERRUPTED, "rank 3 cannot go on"),
]


def test_a_rank_that_fails_is_one_named_error_on_all_and_the_next_call_is_well(
    servers, teacher, tmp_path
):
    before = digest(teacher)
    given = [failure[:4] for failure in FAILURES]
    with Job(servers, tmp_path, "fail_one_after_another", teacher, given) as job:
        job.wait_until_all_are_there()
        for host in job.hosts:
            host.slow_down("100mbit")
        job.go_on()
        for rank in range(WORLD_SIZE):
            found = job.outcome(rank)
            assert found["teacher_is_unharmed"]
            for failure, call in zip(FAILURES, found["calls"], strict=True):
                own, of_others = failure.errors
                assert call["error"] == (own if rank == failure.rank else of_others), call
                assert failure.text in call["text"] or call["error"] == INTERRUPTED[0], call
                assert call["is_on_meta"] == bool(call["error"]), call
    assert digest(teacher) == before
