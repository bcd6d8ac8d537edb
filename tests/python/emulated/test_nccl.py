"""Jobs whose only backend is NCCL, on the emulated tier."""

import functools

import pytest
import torch

import fakescore
from support import TIMEOUT, Net, differences, named, same_bits, seeded

create = functools.partial(fakescore.create_fake_score_meta, timeout=TIMEOUT)


def on_cpu(module):
    copy = Net()
    copy.load_state_dict({name: value.cpu() for name, value in module.state_dict().items()})
    copy.freqs = module.freqs.cpu()
    return copy


def test_the_fake_score_is_on_each_ranks_gpu(rank):
    fake_score = create(Net, seeded() if rank == 0 else None)
    device = torch.device("cuda", torch.cuda.current_device())
    assert {tensor.device for _, tensor in named(fake_score)} == {device}
    assert differences(on_cpu(fake_score), seeded()) == []
    assert same_bits(fake_score.scheduler.sigmas, seeded().scheduler.sigmas)
    assert "process group" in fakescore.last_report().backend
    assert len(fakescore.last_report().peak_device_bytes) == fakescore.last_report().world_size


def test_a_teacher_on_the_sources_gpu(rank):
    teacher = seeded().cuda() if rank == 0 else None
    assert differences(on_cpu(create(Net, teacher)), seeded()) == []


def test_a_module_on_cpus_goes_through_shared_memory(rank, world_size):
    fake_score = create(Net, seeded() if rank == 0 else None, device="cpu")
    assert differences(fake_score, seeded()) == []
    if world_size > 1:
        assert fakescore.last_report().backend == "shared memory over store"
    assert fakescore.last_report().peak_device_bytes == ()


def test_states_on_gpus_are_made_equal(rank):
    net = seeded(rank).cuda()
    fakescore.sync_module_states(net, timeout=TIMEOUT)
    assert differences(on_cpu(net), seeded(0)) == []


def test_an_error_is_the_same_on_every_rank(rank, world_size):
    def build():
        if rank == world_size - 1:
            raise ValueError("no such layer")
        return Net()

    with pytest.raises(fakescore.BuildError, match=f"rank {world_size - 1} .*no such layer"):
        create(build, seeded() if rank == 0 else None)
    assert differences(on_cpu(create(Net, seeded() if rank == 0 else None)), seeded()) == []
