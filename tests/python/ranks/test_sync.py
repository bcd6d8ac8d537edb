"""sync_module_states."""

import functools

import pytest
import torch
import torch.distributed as dist

import fakescore
from support import TIMEOUT, Net, differences, same_on_all_ranks, seeded, texts_of_all_ranks

sync = functools.partial(fakescore.sync_module_states, timeout=TIMEOUT)


def test_replicas_that_start_unequal_become_the_sources(rank, last, world_size):
    net = seeded(rank)
    assert same_on_all_ranks(net) == (world_size == 1)
    kept = dict(net.named_parameters())
    sync(net, source=last)
    assert differences(net, seeded(last)) == []
    assert all(parameter is kept[name] for name, parameter in net.named_parameters())
    assert net.head.weight is net.embed.weight


def test_a_data_parallel_wrapper_is_looked_through(rank):
    net = torch.nn.parallel.DistributedDataParallel(seeded())
    with torch.no_grad():
        net.module.scale.fill_(rank)
    sync(net)
    assert net.module.scale.item() == 0


def test_a_module_on_meta_is_refused_on_every_rank(rank, last):
    net = seeded()
    if rank == last:
        with torch.device("meta"):
            net = Net()
    with pytest.raises(fakescore.ConfigError, match="scale: is on the meta device") as raised:
        sync(net)
    assert len(set(texts_of_all_ranks(str(raised.value)))) == 1


@pytest.mark.usefixtures("several")
def test_structures_that_differ_are_named(rank):
    with pytest.raises(fakescore.MismatchError, match="freqs"):
        sync(Net(width=8 + rank))
    dist.barrier()
