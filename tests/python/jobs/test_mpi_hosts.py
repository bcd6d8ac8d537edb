"""mpirun over two hosts: the program of C++, whose ranks meet over MPI."""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import time
from typing import NamedTuple

import pytest

from hosts import MESSAGES, MODEL_BYTES, SLACK, Host, skip_or_fail

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
    """What mpirun starts its daemons by, in the place of ssh: HOST COMMAND..."""
    lines = ["#!/bin/sh", "host=$1", "shift", "case $host in"]
    for host in hosts:
        lines.append(f'{host.address}) exec {shlex.join(host.inside(["sh", "-c"]))} "$*" ;;')
    script = tmp_path / "agent"
    script.write_text("\n".join([*lines, "esac", ""]))
    script.chmod(0o755)
    return str(script)


def mpirun(hosts: list[Host], agent: str, *command: str) -> "subprocess.Popen[str]":
    """A rank on each host."""
    network = "10.99.0.0/24"
    return hosts[0].start(
        [
            *("mpirun", "--host", ",".join(f"{host.address}:1" for host in hosts)),
            *("-n", str(len(hosts)), "--mca", "plm_rsh_agent", agent),
            *("--mca", "pml", "ob1", "--mca", "btl", "tcp,self"),
            *("--mca", "btl_tcp_if_include", network, "--mca", "oob_tcp_if_include", network),
            *command,
        ],
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
    )


class Case(NamedTuple):
    read: str
    read_by: str
    parts_read: tuple[float, float]  #: by each host, in parts of the model
    parts_sent: tuple[float, float]


CASES = [
    Case("auto", "turns", (1 / 2, 1 / 2), (1 / 2, 1 / 2)),
    Case("turns", "turns", (1 / 2, 1 / 2), (1 / 2, 1 / 2)),
    Case("root", "root", (1, 0), (1, 0)),
    Case("all", "all", (1, 1), (0, 0)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.read)
def test_what_is_read_and_what_crosses_the_link(hosts, agent, teacher, tmp_path, case):
    written = tmp_path / "report.json"
    before = [host.sent_bytes() for host in hosts]
    command = [PROGRAM, "run", "--teacher", teacher, "--read", case.read, "--json", str(written)]
    job = mpirun(hosts, agent, *command)
    out, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert "the same on every rank" in out
    report = json.loads(written.read_text())
    assert (report["backend"], report["read"]) == ("mpi", case.read_by)
    assert report["read_bytes"] == [part * MODEL_BYTES for part in case.parts_read]
    for number, host in enumerate(hosts):
        sent = host.sent_bytes() - before[number]
        expected = case.parts_sent[number] * MODEL_BYTES
        assert expected <= sent <= SLACK * expected + MESSAGES, (number, sent)


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


def test_a_link_that_is_cut_amid_the_move_ends_the_ranks_in_time(hosts, agent, teacher, tmp_path):
    """mpirun itself waits for its lost daemon; that is not ours (docs/launching.md)."""
    for host in hosts:
        host.slow_down()
    said = [pathlib.Path(f"{tmp_path}/rank.{rank}") for rank in range(len(hosts))]
    job = mpirun(
        hosts,
        agent,
        *("sh", "-c", RECORDED, str(tmp_path / "rank"), PROGRAM, "run", "--teacher", teacher),
        *("--timeout", str(TIMEOUT_SECONDS)),
    )
    try:
        wait_for("move:", said[0], 60)
        hosts[1].cut_off()
        for rank, other in ((0, 1), (1, 0)):
            words = wait_for("exit code", said[rank], TIMEOUT_SECONDS + SLACK_SECONDS)
            assert "exit code 5" in words
            assert f"rank {other} of 2 did not answer" in words
    finally:
        job.kill()
