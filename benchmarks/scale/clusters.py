"""Clusters that are not here: their figures are stated, and what `plan` makes of them is a
prediction.
"""

import json
import pathlib
import struct
import subprocess
from dataclasses import dataclass

RANKS_PER_HOST = 8
HOSTS = (1, 8, 64, 256, 1250)
GIGA = 1e9


@dataclass(frozen=True)
class Cluster:
    title: str
    figures: dict[str, object]


def rates(rank: float, host: float) -> dict[str, float]:
    return {"rank": rank * GIGA, "host": host * GIGA}


# Stated, not measured. What a control call takes for each rank is what docs/control.md has of 1,024
# ranks over a store, all of which shared two cores.
COMMON: dict[str, object] = {
    "backend": "nccl",
    "copy": rates(5, 40),
    "message": rates(100, 800),
    "to_device": 20 * GIGA,
    "control_seconds": 2e-4,
    "hop_seconds": 1e-5,
}
CLUSTERS = (
    Cluster(
        "a 100 Gb/s link and 2 GB/s of disk a host, a shared file system of 20 GB/s in all",
        COMMON | {"link": 12 * GIGA, "disk": 2 * GIGA, "shared_disk": 20 * GIGA},
    ),
    Cluster(
        "eight 400 Gb/s links and 10 GB/s of disk a host, a shared file system of 200 GB/s in all",
        COMMON | {"link": 360 * GIGA, "disk": 10 * GIGA, "shared_disk": 200 * GIGA},
    ),
)


@dataclass(frozen=True)
class Way:
    title: str
    arguments: tuple[str, ...]
    ranks_per_copy: int  # 0: all ranks share one
    least_hosts: int = 1


WAYS = (
    Way("replicas, one reader", ("--read", "root"), 1),
    Way("replicas, every rank reads all", ("--read", "all"), 1),
    Way("replicas, in turns", ("--read", "turns"), 1),
    Way("shards over all ranks, each reads its own", ("--read", "all"), 0),
    Way("shards over a host, each replica reads its own", ("--read", "all"), RANKS_PER_HOST, 2),
    Way("shards over a host, replicas share the reading", ("--read", "turns"), RANKS_PER_HOST, 2),
)


def write_teacher(manifest: pathlib.Path, path: pathlib.Path) -> int:
    """A file of a published model's names and shapes, in bfloat16, without contents."""
    model = json.loads(manifest.read_text())
    header, offset = {}, 0
    for name, shape, *_ in model["parameters"]:
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with open(path, "r+b") as file:
        file.truncate(8 + len(text) + offset)
    return offset


def forecast(
    program: pathlib.Path,
    teacher: pathlib.Path,
    folder: pathlib.Path,
    *,
    cluster: Cluster,
    way: Way,
    hosts: int,
) -> dict:
    figures, report = folder / "stated.json", folder / "plan.json"
    figures.write_text(json.dumps(cluster.figures))
    copy = way.ranks_per_copy or hosts * RANKS_PER_HOST
    subprocess.run(
        [
            program,
            "plan",
            "--teacher",
            teacher,
            "--device",
            "cuda",
            "--hosts",
            str(hosts),
            "--ranks-per-host",
            str(RANKS_PER_HOST),
            "--ranks-per-copy",
            str(copy),
            "--figures",
            figures,
            "--json",
            report,
            *way.arguments,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return json.loads(report.read_text())["forecasts"][0]


def most(kinds: list[dict], key: str) -> str:
    return f"{max(kind[key] for kind in kinds) / GIGA:.2f}"


def rows(
    program: pathlib.Path, manifest: pathlib.Path, folder: pathlib.Path, cluster: Cluster
) -> list[list[str]]:
    teacher = folder / "teacher.safetensors"
    write_teacher(manifest, teacher)
    table = []
    for hosts in HOSTS:
        for way in WAYS:
            if hosts < way.least_hosts:
                continue
            case = forecast(program, teacher, folder, cluster=cluster, way=way, hosts=hosts)
            kinds, cold, warm = case["hosts"], case["from_disk"], case["from_page_cache"]
            table.append(
                [
                    f"{hosts * RANKS_PER_HOST:,}",
                    way.title,
                    most(kinds, "from_disk"),
                    most(kinds, "sent"),
                    most(kinds, "received"),
                    f"{cold['seconds']:.1f}",
                    cold["bottleneck"],
                    f"{warm['seconds']:.1f}",
                    warm["bottleneck"],
                ]
            )
    return table
