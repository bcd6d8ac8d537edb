"""FSDP1's flat shards on GPUs, on the emulated tier."""

import functools

import pytest
import torch
import torch.distributed as dist
from test_shards import build, create, whole
from torch import nn
from torch.distributed.fsdp import CPUOffload, FullyShardedDataParallel

import fakescore
from shards import saved

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Multiple backends")


def wrap(module, **options):
    given = {
        "param_init_fn": fakescore.param_init_fn("cuda"),
        "device_id": torch.cuda.current_device(),
        **options,
    }
    return FullyShardedDataParallel(module, **given)


def expect_stretch(wrapped: nn.Module, use_orig_params: bool = False) -> None:
    """This rank's, of all parameters one after the other; FSDP1 aligns those that it registers."""
    gaps = torch.full((3,), torch.nan)
    flat = torch.empty(0)
    for parameter in whole().parameters():
        if use_orig_params:
            flat = torch.cat([flat, gaps[: -flat.numel() % 4]])
        flat = torch.cat([flat, parameter.detach().flatten()])
    length = -(-flat.numel() // dist.get_world_size())
    expected = flat[dist.get_rank() * length :][:length]
    found = wrapped._handle.flat_param.detach()
    assert found.is_cuda
    is_value = ~expected.isnan()
    assert torch.equal(found.cpu()[: expected.numel()][is_value], expected[is_value])


@pytest.mark.parametrize("use_orig_params", [True, False])
@pytest.mark.parametrize("read", ["root", "all", "turns"])
def test_each_gpu_gets_its_stretch(rank, read, use_orig_params):
    shard = functools.partial(wrap, use_orig_params=use_orig_params)
    fake_score = create(build, saved(whole()), shard=shard, read=read)
    assert fakescore.last_report().read == read
    expect_stretch(fake_score, use_orig_params)


def test_a_teacher_in_the_same_flat_shards_is_copied(rank):
    teacher = wrap(whole().cuda(), param_init_fn=None)
    fake_score = create(build, teacher, shard=wrap)
    assert fakescore.last_report().read == "all"
    assert sum(fakescore.last_report().sent_bytes) == 0
    expect_stretch(fake_score)


def test_offloaded_shards_are_filled_in_host_memory(rank):
    class WithBuffer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = whole()
            self.register_buffer("freqs", torch.arange(6.0), persistent=False)

    teacher = WithBuffer() if rank == 0 else None
    shard = functools.partial(wrap, cpu_offload=CPUOffload(offload_params=True))
    with pytest.raises(fakescore.ConfigError, match=r"device: is cuda.*give device='cpu'"):
        create(WithBuffer, teacher, shard=shard)
    wrapped = create(WithBuffer, teacher, shard=shard, device="cpu")
    flat = wrapped._handle.flat_param
    assert flat.device.type == "cpu"
    assert torch.equal(wrapped.module.freqs.cpu(), torch.arange(6.0))
    assert wrapped.module.freqs.is_cuda
    parts = [parameter.flatten() for parameter in whole().parameters()]
    expected = torch.cat(parts)[rank * flat.numel() :][: flat.numel()]
    assert torch.equal(flat.detach()[: expected.numel()], expected)
