"""A rank on a host of its own; prints what its call did, in JSON, and what left its host meanwhile.

host_rank.py JOB RANK WORLD_SIZE ADDRESS PORT LINK TEACHER [STARTED]
"""

import functools
import json
import pathlib
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard

import fakescore
from link_counters import resent_bytes
from support import end_process

SNMP = pathlib.Path("/proc/net/snmp")
WIDTH = 1024
DEPTH = 8


def build() -> nn.Module:
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH)))


def whole() -> nn.Module:
    torch.manual_seed(7)
    return build()


class Mixed(nn.Module):
    """What goes other ways than from the file to its place: computed, cast, put together."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Linear(WIDTH, 6 * WIDTH, bias=False)
        self.cast = nn.Linear(WIDTH, 64, bias=False)
        self.turned = nn.Parameter(torch.randn(64, WIDTH).t())
        self.tied = self.plain.weight
        self.register_buffer("steps", torch.arange(3 * WIDTH).float().sqrt(), persistent=False)


def mixed() -> Mixed:
    torch.manual_seed(7)
    module = Mixed()
    with torch.no_grad():
        module.cast.weight.copy_(module.cast.weight.bfloat16())
    return module


def state_of_mixed() -> dict[str, torch.Tensor]:
    state = {name: value.detach().contiguous() for name, value in mixed().state_dict().items()}
    return state | {"cast.weight": state["cast.weight"].bfloat16()}


def same_as_mixed(module: nn.Module) -> bool:
    theirs = [*mixed().parameters(), *mixed().buffers()]
    ours = [*module.parameters(), *module.buffers()]
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def by_rows(module: nn.Module) -> None:
    fully_shard(module)


def by_columns(module: nn.Module) -> None:
    fully_shard(module, shard_placement_fn=lambda parameter: Shard(1))


def by_rows_on_each_host(module: nn.Module) -> None:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
    fully_shard(module, mesh=mesh)


def is_right(module: nn.Module, dim: int | None, ranks: int | None = None) -> bool:
    """`ranks`: so many hold one copy, if not all."""
    chunks = ranks or dist.get_world_size()

    def part(tensor: torch.Tensor) -> torch.Tensor:
        if dim is None:
            return tensor
        return tensor.chunk(chunks, dim)[dist.get_rank() % chunks]

    pairs = zip(module.parameters(), whole().parameters(), strict=True)
    return all(
        torch.equal(ours if dim is None else ours.to_local(), part(its.detach()))
        for ours, its in pairs
    )


def main() -> None:
    job, rank, world_size, address, port, link, teacher, *started = sys.argv[1:]
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://{address}:{port}",
        rank=int(rank),
        world_size=int(world_size),
    )
    counter = pathlib.Path(f"/sys/class/net/{link}/statistics/tx_bytes")

    def say_that_it_moves(_: str, done: int, total: int) -> None:
        if 0 < done < total:
            pathlib.Path(started[0]).touch()

    create = functools.partial(
        fakescore.create_fake_score_meta,
        build,
        timeout=5 if started else 60,
        progress=say_that_it_moves if started else False,
    )
    kind, _, given_source = job.partition(" from ")
    source = int(given_source or 0)
    live = whole()
    if job == "live":
        by_rows(live)
    dist.barrier()
    before = int(counter.read_text())
    resent_before = resent_bytes(SNMP.read_text())
    outcome: dict[str, object] = {}
    began = time.monotonic()
    try:
        if job == "whole":
            outcome["right"] = is_right(create(teacher), None)
        elif job == "rows":
            outcome["right"] = is_right(create(teacher, shard=by_rows), 0)
        elif job == "hsdp":
            outcome["right"] = is_right(create(teacher, shard=by_rows_on_each_host), 0, 2)
        elif kind == "mixed":
            given = state_of_mixed() if dist.get_rank() == source else None
            module = fakescore.create_fake_score_meta(Mixed, given, source=source, progress=False)
            outcome["right"] = same_as_mixed(module)
        elif kind == "sync":
            module = mixed() if dist.get_rank() == source else Mixed()
            fakescore.sync_module_states(module, source=source)
            outcome["right"] = same_as_mixed(module)
        else:
            outcome["right"] = is_right(create(live, shard=by_columns), 1)
        report = fakescore.last_report()
        if report is not None:
            outcome |= {"read": report.read, "reason": report.read_reason}
            outcome |= {"read_bytes": report.read_bytes, "link_sent_bytes": report.link_sent_bytes}
    except fakescore.FakescoreError as error:
        outcome["error"] = f"{type(error).__name__}: {error}"
    outcome["seconds"] = time.monotonic() - began
    outcome["sent"] = int(counter.read_text()) - before
    outcome["resent"] = resent_bytes(SNMP.read_text()) - resent_before
    print(json.dumps(outcome), flush=True)
    if "error" in outcome:
        end_process()  # the group is of no more use
    dist.barrier()
    dist.destroy_process_group()
    end_process()


main()
