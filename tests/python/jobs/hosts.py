"""Several hosts, which are network namespaces of this machine with a link between them.

Each host has a boot id of its own, and sees its own files.
"""

import contextlib
import json
import os
import pathlib
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from link_counters import resent_bytes
from support import environment

HERE = pathlib.Path(__file__).parent
#: As host_rank.py has them.
WIDTH = 1024
MODEL_BYTES = 8 * WIDTH * WIDTH * 4
#: Heads of packets.
SLACK = 1.02
#: Of the job.
MESSAGES = 300_000


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Host:
    """A network namespace; what runs there sees a boot id and, as far as told, files of its own."""

    def __init__(self, number: int, folder: pathlib.Path) -> None:
        mark = secrets.token_hex(4)
        self.name = f"fakescore-{mark}"
        self.link = f"fs-{mark}"
        self.address = f"10.99.0.{number + 1}"
        boot_id = folder / f"boot_id_{number}"
        boot_id.write_text(f"{number:08}-0000-0000-0000-000000000000\n")
        self.mounts = [(str(boot_id), "/proc/sys/kernel/random/boot_id")]

    def inside(self, command: list[str]) -> list[str]:
        """The command that runs `command` on this host."""
        mounts = [shlex.join(["mount", "--bind", *mount]) for mount in self.mounts]
        run = " && ".join([*mounts, 'exec "$@"'])
        return ["ip", "netns", "exec", self.name, "sh", "-c", run, "sh", *command]

    @contextlib.contextmanager
    def seeing(self, what: pathlib.Path, at: pathlib.Path) -> Iterator[None]:
        """What is started here within has `what` in the place of `at`."""
        self.mounts.append((str(what), str(at)))
        try:
            yield
        finally:
            self.mounts.pop()

    def start(
        self, command: list[str], *, stdin: int | None = None, **more: str
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.inside(command),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(GLOO_SOCKET_IFNAME=self.link, **more),
        )

    def sent_bytes(self) -> int:
        """Over the link so far, as the kernel counts it."""
        counted = subprocess.run(
            ["ip", "-n", self.name, "-s", "-j", "link", "show", self.link],
            check=True,
            capture_output=True,
            text=True,
        )
        return int(json.loads(counted.stdout)[0]["stats64"]["tx"]["bytes"])

    def resent_bytes(self) -> int:
        """What of it was sent for a second time."""
        command = ["ip", "netns", "exec", self.name, "cat", "/proc/net/snmp"]
        counted = subprocess.run(command, check=True, capture_output=True, text=True)
        return resent_bytes(counted.stdout)

    def slow_down(self, rate: str = "20mbit") -> None:
        limit = ("tbf", "rate", rate, "burst", "256kb", "latency", "50ms")
        command = ["tc", "-n", self.name, "qdisc", "replace", "dev", self.link, "root", *limit]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def cut_off(self) -> None:
        ip("-n", self.name, "link", "set", self.link, "down")

    def mend(self) -> None:
        """The link is there again, at full speed."""
        ip("-n", self.name, "link", "set", self.link, "up")
        command = ["tc", "-n", self.name, "qdisc", "del", "dev", self.link, "root"]
        subprocess.run(command, check=False, capture_output=True)  # it may not be slow

    def end_all(self) -> None:
        """Kills what still runs here, such as mpirun's daemon."""
        running = subprocess.run(
            ["ip", "netns", "pids", self.name], check=False, capture_output=True, text=True
        )
        for process in running.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)


def expect_on_link(expected: float, sent: int, resent: int, about: object) -> None:
    """`sent`, as the kernel counts it, is what is expected, heads, messages and what TCP has sent
    again beside."""
    assert expected <= sent <= SLACK * (expected + resent) + MESSAGES, (resent, about)


def write_agent(hosts: list[Host], folder: pathlib.Path) -> str:
    """What mpirun starts its daemons by, in the place of ssh: HOST COMMAND..."""
    lines = ["#!/bin/sh", "host=$1", "shift", "case $host in"]
    for host in hosts:
        lines.append(f'{host.address}) exec {shlex.join(host.inside(["sh", "-c"]))} "$*" ;;')
    script = folder / "agent"
    script.write_text("\n".join([*lines, "esac", ""]))
    script.chmod(0o755)
    return str(script)


def mpirun(hosts: list[Host], agent: str, ranks_per_host: int = 1) -> list[str]:
    """To be followed by a command, and started on the first host."""
    places = ",".join(f"{host.address}:{ranks_per_host}" for host in hosts)
    network = "10.99.0.0/24"
    return [
        *("mpirun", "--host", places, "-n", str(ranks_per_host * len(hosts))),
        *("--mca", "plm_rsh_agent", agent),
        *("--mca", "pml", "ob1", "--mca", "btl", "tcp,self"),
        *("--mca", "btl_tcp_if_include", network, "--mca", "oob_tcp_if_include", network),
    ]


def skip_or_fail(reason: str) -> NoReturn:
    # CI sets it, so that no skip goes unseen.
    assert "FAKESCORE_REQUIRE_HOSTS" not in os.environ, reason
    pytest.skip(reason)


@contextlib.contextmanager
def linked_hosts(folder: pathlib.Path) -> Iterator[list[Host]]:
    """Two hosts and a link between them; skips the test, and says why, where there can be none."""
    if shutil.which("ip") is None or shutil.which("tc") is None:
        skip_or_fail("ip or tc is not installed (Debian: iproute2)")
    pair = [Host(0, folder), Host(1, folder)]
    try:
        for host in pair:
            add = ["ip", "netns", "add", host.name]
            made = subprocess.run(add, check=False, capture_output=True, text=True)
            if made.returncode:
                skip_or_fail(f"no network namespaces here: {made.stderr.strip()}")
        ip("link", "add", pair[0].link, "type", "veth", "peer", "name", pair[1].link)
        for host in pair:
            ip("link", "set", host.link, "netns", host.name)
            ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", host.link)
            ip("-n", host.name, "link", "set", "lo", "up")
            ip("-n", host.name, "link", "set", host.link, "up")
        yield pair
    finally:
        for host in pair:
            host.end_all()
            for left in (["netns", "del", host.name], ["link", "del", host.link]):
                subprocess.run(["ip", *left], check=False, capture_output=True)


def start(
    hosts: list[Host], job: str, teachers: list[str], *started: str, ranks_per_host: int = 1
) -> list[Any]:
    """`teachers`: what each host sees. Returns the processes by rank."""
    world_size = ranks_per_host * len(hosts)
    return [
        host.start(
            [
                *(sys.executable, str(HERE / "host_rank.py"), job, str(rank), str(world_size)),
                *(hosts[0].address, "29531", host.link, teacher, *started),
            ]
        )
        for rank, (host, teacher) in enumerate(
            place for place in zip(hosts, teachers, strict=True) for _ in range(ranks_per_host)
        )
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
