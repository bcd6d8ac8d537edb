"""A rank of a job in which something happens to one rank; prints what this one's call raised."""

import os
import signal
import sys
import time

import torch.distributed as dist

import fakescore
from support import Net, seeded


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
    what = sys.argv[1]
    rank, world_size, port, timeout = map(int, sys.argv[2:])
    store = dist.TCPStore("127.0.0.1", port)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    victim = world_size - 1

    def build() -> Net:
        net = Net()
        if rank != victim:
            return net
        if what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        if what in ("waiting", "interrupted"):
            print("waits", flush=True)
            time.sleep(1000 if what == "interrupted" else 2 * timeout)
        return net

    teacher = seeded() if rank == 0 else None
    dist.barrier()  # what else sets ranks apart counts against the timeout
    if what == "late" and rank == victim:
        print("waits", flush=True)
        time.sleep(1000)
    began = time.monotonic()
    try:
        print("calls", flush=True)
        fakescore.create_fake_score_meta(build, teacher, timeout=timeout)
        outcome = "done"
    except fakescore.FakescoreError as error:
        outcome = f"{type(error).__name__}: {error}"
    except KeyboardInterrupt:
        outcome = "KeyboardInterrupt"
    print(f"{time.monotonic() - began:.1f} {outcome}", flush=True)
    os._exit(0)  # the group may be of no more use


main()
