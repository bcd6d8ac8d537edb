"""One rank of a job that has one way build the teachers, once. Leaves a file of JSON."""

from __future__ import annotations

import argparse
import gc
import json
import pathlib
import time
from typing import Any

import machine
import teachers
import torch
import torch.distributed as dist
import usage
from findings import PARTS, Findings, findings
from teachers import Teacher
from torch import nn
from torch.distributed.tensor import DTensor
from ways import ALL_OURS, WAYS, Build, Way

import fakescore

_PAGE_BYTES = 4096


def checked(module: nn.Module, teacher: Teacher) -> Findings:
    found = findings(module, teacher.from_pretrained())
    return {part: f"`{name}` of {teacher.name}" if name else "" for part, name in found.items()}


def warm_up(way: Way, small: tuple[Teacher, ...]) -> list[Findings]:
    """Has the way build the small teachers: imports are then done, and connections made."""
    return [
        checked(way.prepare(teacher)(teacher), teacher)
        for teacher in small
        if way.suits(teacher.cls)
    ]


def write_every_page(module: nn.Module) -> None:
    """As training does at once: who mapped the file pays for its pages then."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if isinstance(tensor, DTensor):
            tensor = tensor.to_local()  # noqa: PLW2901
        if not tensor.is_meta and tensor.numel():
            tensor.detach().view(-1).view(torch.uint8)[::_PAGE_BYTES].add_(0)


def timed(build: Build, teacher: Teacher) -> tuple[nn.Module, dict[str, Any]]:
    machine.give_pages(teacher.file.stat().st_size, dist.get_world_size(), dist.barrier)
    reads = usage.read_by_calls()
    usage.reset_resident_peak()
    resident = usage.resident_peak()
    dist.barrier()
    begin = time.perf_counter()
    module = build(teacher)
    seconds = time.perf_counter() - begin
    dist.barrier()
    begin = time.perf_counter()
    write_every_page(module)
    return module, {
        "seconds": seconds,
        "first_write_seconds": time.perf_counter() - begin,
        "resident_peak": usage.resident_peak() - resident,
        "read": usage.read_by_calls() - reads,
    }


def move_seconds() -> float:
    """Of fakescore's last call: what it took to read and send, on the slowest rank."""
    report = fakescore.last_report()
    assert report is not None
    return sum(phase.seconds for phase in report.phases if phase.name == "move")


def sampled(build: Build, teacher: Teacher) -> tuple[nn.Module, dict[str, Any]]:
    usage.keep_touched_pages()
    with usage.Sampler(teacher.file) as sampler:
        dist.barrier()
        module = build(teacher)
        write_every_page(module)
    return module, {"not_of_files": sampler.not_of_files, "mapped": sampler.mapped}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--teachers", type=pathlib.Path, required=True)
    parser.add_argument("--model", choices=teachers.MODELS, required=True)
    parser.add_argument("--dtype", choices=teachers.DTYPES, required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--cold", action="store_true", help="drop the teacher from the page cache")
    parser.add_argument("--sample", action="store_true", help="look at memory, and take no time")
    args = parser.parse_args()

    dist.init_process_group("gloo")
    way = WAYS[args.way]
    teacher = teachers.measured(args.teachers, args.model, args.dtype)
    is_way = isinstance(way, Way)
    found = warm_up(way, teachers.small(args.teachers)) if is_way else []
    build = way.prepare(teacher)
    gc.collect()
    if args.cold:
        machine.cool_page_cache(teacher.file)
    module, measured = (sampled if args.sample else timed)(build, teacher)
    if is_way:
        found.insert(0, checked(module, teacher))
    wrong = {part: next(filter(None, (one[part] for one in found)), "") for part in PARTS if found}
    if args.way in ALL_OURS:
        measured["move_seconds"] = move_seconds()
    result = args.results / f"{dist.get_rank()}.json"
    result.write_text(json.dumps({**measured, "wrong": wrong}))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
