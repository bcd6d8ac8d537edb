"""Jobs on several hosts, which are network namespaces of this machine with a link between them.

The kernel counts what crosses the link. Each host has a boot id of its own, and sees its own files.
"""

import json
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import time
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).parent
MODEL_BYTES = 8 * 1024 * 1024 * 4
#: Heads of packets, and messages of the job.
SLACK = 1.02
MESSAGES = 300_000


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Host:
    """A network namespace; what runs there sees a boot id of its own."""

    def __init__(self, number: int, folder: pathlib.Path) -> None:
        mark = secrets.token_hex(4)
        self.name = f"fakescore-{mark}"
        self.link = f"fs-{mark}"
        self.address = f"10.99.0.{number + 1}"
        self.boot_id = folder / f"boot_id_{number}"
        self.boot_id.write_text(f"{number:08}-0000-0000-0000-000000000000\n")

    def start(self, command: list[str]) -> "subprocess.Popen[str]":
        run = f"mount --bind {self.boot_id} /proc/sys/kernel/random/boot_id && exec " + '"$@"'
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, "sh", "-c", run, "sh", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(HERE.parent),
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": self.link,
            },
        )

    def slow_down(self) -> None:
        limit = ("rate", "20mbit", "burst", "256kb", "latency", "50ms")
        command = ["tc", "-n", self.name, "qdisc", "add", "dev", self.link, "root", "tbf", *limit]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def cut_off(self) -> None:
        ip("-n", self.name, "link", "set", self.link, "down")


def make_namespace(host: Host) -> str | None:
    """Why it cannot be made."""
    if shutil.which("ip") is None or shutil.which("tc") is None:
        return "ip or tc is not installed (Debian: iproute2)"
    made = subprocess.run(
        ["ip", "netns", "add", host.name], check=False, capture_output=True, text=True
    )
    return f"no network namespaces here: {made.stderr.strip()}" if made.returncode else None


@pytest.fixture
def hosts(tmp_path):
    pair = [Host(0, tmp_path), Host(1, tmp_path)]
    try:
        for host in pair:
            missing = make_namespace(host)
            if missing is not None:
                # CI sets it, so that no skip goes unseen.
                assert "FAKESCORE_REQUIRE_HOSTS" not in os.environ, missing
                pytest.skip(missing)
        ip("link", "add", pair[0].link, "type", "veth", "peer", "name", pair[1].link)
        for host in pair:
            ip("link", "set", host.link, "netns", host.name)
            ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", host.link)
            ip("-n", host.name, "link", "set", "lo", "up")
            ip("-n", host.name, "link", "set", host.link, "up")
        yield pair
    finally:
        for host in pair:
            for left in (["netns", "del", host.name], ["link", "del", host.link]):
                subprocess.run(["ip", *left], check=False, capture_output=True)


def start(hosts: list[Host], job: str, teachers: list[str], *started: str) -> list[Any]:
    return [
        host.start(
            [
                *(sys.executable, str(HERE / "host_rank.py"), job, str(rank), str(len(hosts))),
                *(hosts[0].address, "29531", host.link, teachers[rank], *started),
            ]
        )
        for rank, host in enumerate(hosts)
    ]


def outcomes(ranks: list[Any]) -> list[dict[str, Any]]:
    found = []
    try:
        for rank in ranks:
            out, errors = rank.communicate(timeout=120)
            assert out.strip(), errors
            found.append(json.loads(out.strip().splitlines()[-1]))
    finally:
        for rank in ranks:
            rank.kill()
    return found


@pytest.fixture
def teacher(tmp_path):
    torch.manual_seed(7)
    layers = nn.Sequential(*(nn.Linear(1024, 1024, bias=False) for _ in range(8)))
    save_file(layers.state_dict(), str(tmp_path / "teacher.safetensors"))
    return str(tmp_path / "teacher.safetensors")


ELSEWHERE = "/nonexistent/teacher.safetensors"


class Case(NamedTuple):
    job: str
    is_shared: bool  #: whether all hosts see the files
    read: str
    sent: tuple[float, float]  #: by each host, in parts of the model


CASES = [
    Case("whole", True, "turns", (1 / 2, 1 / 2)),
    Case("whole", False, "root", (1, 0)),
    Case("rows", True, "all", (0, 0)),
    Case("rows", False, "root", (1 / 2, 0)),
    Case("live", True, "all", (1 / 4, 1 / 4)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.job}-{case.read}")
def test_each_byte_is_read_once_and_crosses_the_link_no_more_than_once(hosts, teacher, case):
    teachers = [teacher, teacher if case.is_shared else ELSEWHERE]
    found = outcomes(start(hosts, case.job, teachers))
    for host, outcome in enumerate(found):
        assert outcome.get("right"), outcome
        assert outcome["read"] == case.read, outcome
        expected = case.sent[host] * MODEL_BYTES
        assert expected <= outcome["sent"] <= SLACK * expected + MESSAGES, (host, outcome)
    read_bytes = found[0]["read_bytes"]
    if case.job == "live":
        assert read_bytes == [0, 0]
    elif case.read == "root":
        assert read_bytes == [MODEL_BYTES, 0]
    else:
        assert read_bytes == [MODEL_BYTES // 2, MODEL_BYTES // 2]


@pytest.mark.parametrize(("job", "is_shared"), [("whole", True), ("whole", False), ("live", True)])
def test_a_host_that_is_cut_off_is_an_error_on_both_sides(hosts, teacher, tmp_path, job, is_shared):
    started = tmp_path / "started"
    teachers = [teacher, teacher if is_shared else ELSEWHERE]
    for host in hosts:
        host.slow_down()
    ranks = start(hosts, job, teachers, str(started))
    try:
        deadline = time.monotonic() + 60
        while not started.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert started.exists(), "the job has not begun to move bytes"
        assert all(rank.poll() is None for rank in ranks)
        hosts[1].cut_off()
        found = outcomes(ranks)
    finally:
        for rank in ranks:
            rank.kill()
    lost = ("rank 1 of 2 did not answer", "the store: cannot be reached")
    for (rank, outcome), text in zip(enumerate(found), lost, strict=True):
        assert outcome.get("error", "").startswith("CommError"), (rank, outcome)
        assert text in outcome["error"], (rank, outcome)
        assert outcome["seconds"] < 60, (rank, outcome)
