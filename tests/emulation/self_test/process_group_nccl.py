"""PyTorch's own ProcessGroupNCCL on the emulated devices; run by torchrun."""
import os

import torch
import torch.distributed as dist


def main():
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", device_id=device)

    broadcast = torch.full((1000,), float(rank + 1), device=device)
    dist.broadcast(broadcast, 0)
    assert (broadcast.cpu() == 1).all()

    total = torch.full((1000,), float(rank + 1), device=device, dtype=torch.bfloat16)
    dist.all_reduce(total)
    assert (total.cpu() == size * (size + 1) / 2).all()

    gathered = torch.empty(size * 8, device=device)
    dist.all_gather_into_tensor(gathered, torch.full((8,), float(rank), device=device))
    assert (gathered.cpu() == torch.arange(size).repeat_interleave(8)).all()

    part = torch.empty(8, device=device)
    whole = torch.arange(size * 8.0)
    dist.reduce_scatter_tensor(part, whole.to(device))
    assert (part.cpu() == size * whole[rank * 8 : rank * 8 + 8]).all()

    mine = torch.full((300_000,), float(rank), device=device)
    theirs = torch.empty_like(mine)
    for request in dist.batch_isend_irecv([
        dist.P2POp(dist.isend, mine, (rank + 1) % size),
        dist.P2POp(dist.irecv, theirs, (rank - 1) % size),
    ]):
        request.wait()
    assert (theirs.cpu() == (rank - 1) % size).all()

    dist.barrier()
    dist.destroy_process_group()


main()
