"""mpirun over two hosts: the program of C++, whose ranks meet over MPI."""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from hosts import MODEL_BYTES, Host, expect_on_link, mpirun, skip_or_fail, write_agent

#: Of the release build; set by tests/python/run.
PROGRAM = os.environ.get("FAKESCORE_PROGRAM", "")
TIMEOUT_SECONDS = 5
#: A machine that is busy, and the census.
SLACK_SECONDS = 30


@pytest.fixture(autouse=True)
def _needs_mpirun() -> None:
    if shutil.which("mpirun") is None:
        skip_or_fail("mpirun is not installed (Debian: openmpi-bin)")
    if not os.access(PROGRAM, os.X_OK):
        skip_or_fail(f"FAKESCORE_PROGRAM, {PROGRAM!r}, is no program: tests/run builds it")


@pytest.fixture
def agent(hosts: list[Host], tmp_path: pathlib.Path) -> str:
    return write_agent(hosts, tmp_path)


def start(
    hosts: list[Host], agent: str, *command: str, ranks_per_host: int = 1
) -> "subprocess.Popen[str]":
    return hosts[0].start(
        [*mpirun(hosts, agent, ranks_per_host), *command],
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
    )


class Case(NamedTuple):
    ranks_per_host: int
    read: str
    read_by: str
    parts_read: tuple[float, ...]  #: by each rank, in parts of the model
    parts_sent: tuple[float, float]  #: by each host


CASES = [
    Case(1, "auto", "turns", (1 / 2, 1 / 2), (1 / 2, 1 / 2)),
    Case(1, "turns", "turns", (1 / 2, 1 / 2), (1 / 2, 1 / 2)),
    Case(1, "root", "root", (1, 0), (1, 0)),
    Case(1, "all", "all", (1, 1), (0, 0)),
    # MPI's own broadcast would come to each rank of the other host.
    Case(2, "auto", "turns", (1 / 4, 1 / 4, 1 / 4, 1 / 4), (1 / 2, 1 / 2)),
    Case(2, "root", "root", (1, 0, 0, 0), (1, 0)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.ranks_per_host}-{case.read}")
def test_what_is_read_and_what_crosses_the_link(hosts, agent, teacher, tmp_path, case):
    written = tmp_path / "report.json"
    before = [(host.sent_bytes(), host.resent_bytes()) for host in hosts]
    command = [PROGRAM, "run", "--teacher", teacher, "--read", case.read, "--json", str(written)]
    job = start(hosts, agent, *command, ranks_per_host=case.ranks_per_host)
    out, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert "the same on every rank" in out
    assert "sent to other hosts" in out
    report = json.loads(written.read_text())
    assert (report["backend"], report["read"]) == ("mpi", case.read_by)
    assert report["read_bytes"] == [part * MODEL_BYTES for part in case.parts_read]
    for number, host in enumerate(hosts):
        sent, resent = (
            host.sent_bytes() - before[number][0],
            host.resent_bytes() - before[number][1],
        )
        expected = case.parts_sent[number] * MODEL_BYTES
        assert report["link_sent_bytes"][number] == expected
        expect_on_link(expected, sent, resent, (number, sent))


#: A rank whose last words and exit code are in a file, for over a cut link mpirun hears neither.
RECORDED = '"$@" 2>"$0.$OMPI_COMM_WORLD_RANK"; echo "exit code $?" >>"$0.$OMPI_COMM_WORLD_RANK"'


def wait_for(text: str, file: pathlib.Path, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = file.read_text() if file.exists() else ""
        if text in found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no {text!r} in {file} within {seconds} s: {found}")


@contextlib.contextmanager
def cut_amid_the_move(
    hosts: list[Host], agent: str, teacher: str, words: pathlib.Path, *options: str
) -> "Iterator[subprocess.Popen[str]]":
    """A job that has just lost its link. What its ranks say is in files, WORDS and the rank."""
    for host in hosts:
        host.slow_down()
    program = (PROGRAM, "run", "--teacher", teacher, "--timeout", str(TIMEOUT_SECONDS))
    job = start(hosts, agent, *options, "sh", "-c", RECORDED, str(words), *program)
    try:
        wait_for("move:", words.with_suffix(".0"), 60)
        hosts[1].cut_off()
        yield job
    finally:
        job.kill()


def test_a_link_that_is_cut_amid_the_move_ends_the_ranks_in_time(hosts, agent, teacher, tmp_path):
    """mpirun itself waits for its lost daemon; that is not ours (docs/launching.md)."""
    words = tmp_path / "words"
    with cut_amid_the_move(hosts, agent, teacher, words):
        for rank, other in ((0, 1), (1, 0)):
            said = words.with_suffix(f".{rank}")
            found = wait_for("exit code", said, TIMEOUT_SECONDS + SLACK_SECONDS)
            assert "exit code 5" in found
            assert f"rank {other} of 2 did not answer" in found


def test_mpirun_ends_too_if_it_looks_after_its_daemons(hosts, agent, teacher, tmp_path):
    seconds = {"time": 1, "intvl": 1, "probes": 2}
    options = [
        ("--mca", f"oob_tcp_keepalive_{name}", str(value)) for name, value in seconds.items()
    ]
    words = tmp_path / "words"
    with cut_amid_the_move(hosts, agent, teacher, words, *itertools.chain(*options)) as job:
        _, errors = job.communicate(timeout=TIMEOUT_SECONDS + SLACK_SECONDS)
    assert job.returncode != 0
    assert "lost communication with a remote daemon" in errors
