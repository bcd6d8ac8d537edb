"""A rank on a host of its own: fills a module from a file, and prints what that took, in JSON.

rank.py RANK WORLD_SIZE ADDRESS LINK TEACHER LAYERS READ
"""

import json
import pathlib
import sys
import time

import torch
import torch.distributed as dist
from model import build, whole

import fakescore


def main() -> None:
    rank, world_size, address, link, teacher, number, read = sys.argv[1:]
    layers = int(number)
    dist.init_process_group(
        "gloo",
        init_method=f"tcp://{address}:29531",
        rank=int(rank),
        world_size=int(world_size),
    )
    # Connections are made before, and no code is loaded at its first use.
    fakescore.create_fake_score_meta(lambda: torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    counter = pathlib.Path(f"/sys/class/net/{link}/statistics/tx_bytes")
    dist.barrier()
    before = int(counter.read_text())
    began = time.monotonic()
    filled = fakescore.create_fake_score_meta(lambda: build(layers), teacher, read=read)
    seconds = time.monotonic() - began
    sent = int(counter.read_text()) - before
    pairs = zip(filled.parameters(), whole(layers).parameters(), strict=True)
    report = fakescore.last_report()
    found = {
        "seconds": seconds,
        "read": report.read,
        "read_bytes": report.read_bytes,
        "sent_bytes": sent,
        "right": all(torch.equal(ours, its) for ours, its in pairs),
    }
    print(json.dumps(found), flush=True)
    dist.barrier()
    dist.destroy_process_group()


main()
