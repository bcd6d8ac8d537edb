"""Uses the package with nothing but torch: alone, or on the ranks of torchrun."""

import os

import torch
import torch.distributed as dist
from torch import nn

import fakescore


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4))


if "RANK" in os.environ:
    dist.init_process_group("gloo")
rank = dist.get_rank() if dist.is_initialized() else 0
torch.manual_seed(1)
teacher = build()
fake_score = fakescore.create_fake_score_meta(build, teacher if rank == 0 else None, timeout=60)
for name, value in teacher.state_dict().items():
    assert torch.equal(value, fake_score.state_dict()[name]), name
fake_score(torch.ones(2, 8)).sum().backward()
if dist.is_initialized():
    fakescore.sync_module_states(fake_score, timeout=60)
    dist.destroy_process_group()
print(f"rank {rank}: fakescore {fakescore.__version__} on torch {torch.__version__} works")
