"""Bytes between ranks of one host: through memory that they share, or over the job's group."""

import functools
import resource

import pytest
import torch
import torch.distributed as dist

import fakescore
from shards import differences, fsdp2, fsdp2_by_columns, saved, whole
from support import TIMEOUT, Net, same_bits

create = functools.partial(
    fakescore.create_fake_score_meta, timeout=TIMEOUT, device="cpu", verify=True
)


@pytest.fixture(params=["shared memory over store", "process group over store"])
def backend(request, rank, last, several):
    """What the reports of this test's calls must say."""
    if request.param.startswith("shared"):
        yield request.param
        return
    # Of this rank the kernel gives no segment that large: so no rank shares any.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if rank == last:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield request.param
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_one_reader_scatters_shards(backend):
    with_values = whole(64)
    fake_score = create(lambda: Net(64), saved(with_values), shard=fsdp2, read="root")
    assert differences(fake_score, with_values) == []
    assert fakescore.last_report().backend == backend


def test_a_live_teacher_in_other_shards_is_redistributed(backend):
    with_values = whole(64)
    teacher = create(lambda: Net(64), saved(with_values), shard=fsdp2_by_columns)
    fake_score = create(lambda: Net(64), teacher, shard=fsdp2)
    assert differences(fake_score, with_values) == []
    assert fakescore.last_report().backend == backend
    assert sum(fakescore.last_report().sent_bytes) > 0


def test_a_teacher_in_memory_is_broadcast(backend, rank):
    with_values = whole(64)
    state = with_values.state_dict() if rank == 0 else None
    fake_score = create(lambda: Net(64), state)
    expected = with_values.state_dict()
    assert all(
        same_bits(tensor, expected[name]) for name, tensor in fake_score.state_dict().items()
    )
    report = fakescore.last_report()
    assert report.backend == backend
    assert sum(report.received_bytes) == sum(report.sent_bytes)
    if backend.startswith("shared"):
        assert report.sent_bytes[0] == sum(report.received_bytes)


def test_modules_are_synchronised(backend, rank):
    net = torch.nn.Linear(300, 2000)
    with torch.no_grad():
        net.weight.fill_(rank + 1)
        net.bias.fill_(rank + 1)
    fakescore.sync_module_states(net, timeout=TIMEOUT)
    assert torch.all(net.weight == 1) and torch.all(net.bias == 1)


def test_the_group_goes_on_as_before(backend, world_size):
    create(Net, saved(whole()), shard=fsdp2, read="root")
    total = torch.ones(3)
    dist.all_reduce(total)
    assert torch.all(total == world_size)
