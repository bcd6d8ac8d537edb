"""Two hosts with a link between them: network namespaces of this machine, each with a boot id of
its own, by which fakescore tells hosts apart.
"""

import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator

HOSTS = 2


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


class Links:
    """What `linked_hosts` makes."""

    def __init__(self, folder: pathlib.Path) -> None:
        mark = secrets.token_hex(4)
        self.spaces = [f"fakescore-{mark}-{host}" for host in range(HOSTS)]
        self.devices = [f"fs{host}-{mark}" for host in range(HOSTS)]
        self.addresses = [f"10.98.0.{host + 1}" for host in range(HOSTS)]
        self.boot_ids = []
        for host in range(HOSTS):
            self.boot_ids.append(folder / f"boot_id_{host}")
            self.boot_ids[host].write_text(f"{host:08}-0000-0000-0000-000000000000\n")
        self.agent = folder / "agent"
        cases = " ".join(
            f'{self.addresses[host]}) set -- {self._prefix(host)} "$*" ;;' for host in range(HOSTS)
        )
        # mpirun starts what runs on another host by "AGENT HOST COMMAND...".
        self.agent.write_text(f'#!/bin/sh\nhost=$1\nshift\ncase $host in {cases} esac\nexec "$@"\n')
        self.agent.chmod(0o755)

    def _prefix(self, host: int) -> str:
        mount = f"mount --bind {self.boot_ids[host]} /proc/sys/kernel/random/boot_id"
        return f"ip netns exec {self.spaces[host]} sh -c '{mount} && exec sh -c \"$0\"'"

    def make(self) -> None:
        for space in self.spaces:
            ip("netns", "add", space)
        ip("link", "add", self.devices[0], "type", "veth", "peer", "name", self.devices[1])
        for host in range(HOSTS):
            space, device = self.spaces[host], self.devices[host]
            ip("link", "set", device, "netns", space)
            ip("-n", space, "addr", "add", f"{self.addresses[host]}/24", "dev", device)
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", device, "up")

    def set_rate(self, rate: str) -> None:
        for host in range(HOSTS):
            subprocess.run(
                [
                    "tc",
                    "-n",
                    self.spaces[host],
                    "qdisc",
                    "replace",
                    "dev",
                    self.devices[host],
                    "root",
                    "tbf",
                    "rate",
                    rate,
                    "burst",
                    "256kb",
                    "latency",
                    "50ms",
                ],
                check=True,
                capture_output=True,
            )

    def sent_bytes(self) -> int:
        """By the first host so far, as the kernel counts."""
        counter = f"/sys/class/net/{self.devices[0]}/statistics/tx_bytes"
        return int(ip("netns", "exec", self.spaces[0], "cat", counter))

    def mpirun(self, ranks_per_host: int) -> list[str]:
        """To be followed by a command."""
        hosts = ",".join(f"{address}:{ranks_per_host}" for address in self.addresses)
        network = "10.98.0.0/24"
        mount = f"mount --bind {self.boot_ids[0]} /proc/sys/kernel/random/boot_id"
        return [
            "ip",
            "netns",
            "exec",
            self.spaces[0],
            "sh",
            "-c",
            f'{mount} && exec "$@"',
            "sh",
            "mpirun",
            "--oversubscribe",
            "--host",
            hosts,
            "-n",
            str(HOSTS * ranks_per_host),
            "--mca",
            "plm_rsh_agent",
            str(self.agent),
            "--mca",
            "btl",
            "tcp,self",
            "--mca",
            "btl_tcp_if_include",
            network,
            "--mca",
            "oob_tcp_if_include",
            network,
        ]

    def remove(self) -> None:
        for space in self.spaces:
            # Such as mpirun's daemon after a failure.
            left = subprocess.run(
                ["ip", "netns", "pids", space], check=False, capture_output=True, text=True
            ).stdout.split()
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


def missing() -> str:
    """Why there can be no such hosts here; empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces are for root"
    absent = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    return f"{' and '.join(absent)} not installed (Debian: iproute2)" if absent else ""


@contextlib.contextmanager
def linked_hosts(folder: pathlib.Path) -> Iterator[Links]:
    links = Links(folder)
    try:
        links.make()
        yield links
    finally:
        links.remove()
