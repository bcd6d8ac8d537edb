"""Meshes of two ranks or more along each of two dimensions, and of three.

What a rank holds is compared with slices of the file, and with what torch's own calls make of a
real module. Nothing of diffusers is imported: each process would take seconds and memory for it.
"""

import functools
import itertools

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

import fakescore
from shards import (
    differences,
    differences_of_parts,
    fsdp2,
    fsdp2_by_columns,
    hybrid,
    mesh_of,
    saved,
    tensor_parallel,
    tensor_parallel_and_fsdp2,
    whole,
)
from support import TIMEOUT, Net

create = functools.partial(fakescore.create_fake_score_meta, Net, timeout=TIMEOUT)

_SEEDS = itertools.count(20)


@pytest.fixture
def seed():
    """Of values of the test's own: memory that is free may hold those of the last one."""
    return next(_SEEDS)


def hybrid_2x4(module):
    hybrid(module, replicas=2)


def hybrid_4x2(module):
    hybrid(module, replicas=4)


def hybrid_and_tensor_parallel(module):
    mesh = mesh_of(2, 2, 2, names=("replicas", "shards", "tp"))
    tensor_parallel(module, mesh["tp"])
    fsdp2(module, mesh["replicas", "shards"])


PLACEMENTS = [
    fsdp2,
    fsdp2_by_columns,
    hybrid_2x4,
    hybrid_4x2,
    tensor_parallel_and_fsdp2,
    hybrid_and_tensor_parallel,
]


def really_sharded(shard, seed):
    net = whole(seed=seed).to(mesh_of(8).device_type)
    shard(net)
    return net


@pytest.mark.parametrize("read", ["all", "root"])
@pytest.mark.parametrize("shard", PLACEMENTS)
def test_each_rank_gets_its_part_of_the_file(shard, read, seed):
    path = saved(whole(seed=seed))
    fake_score = create(path, shard=shard, read=read)
    assert fakescore.last_report().read == read
    assert fakescore.last_report().missing == ()
    of_file = Net()
    of_file.load_state_dict(load_file(path), strict=False)
    assert differences(fake_score, of_file) == []
    assert differences_of_parts(fake_score, really_sharded(shard, seed)) == []
    assert all(isinstance(parameter, DTensor) for parameter in fake_score.parameters())


@pytest.mark.parametrize(
    ("shard_teacher", "shard"),
    [
        (hybrid_2x4, hybrid_4x2),
        (hybrid_4x2, tensor_parallel_and_fsdp2),
        (tensor_parallel_and_fsdp2, hybrid_2x4),
    ],
)
def test_a_live_teacher_on_another_mesh(shard_teacher, shard, seed):
    teacher = really_sharded(shard_teacher, seed)
    fake_score = create(teacher, shard=shard)
    assert "redistributed" in fakescore.last_report().read_reason
    assert differences_of_parts(fake_score, really_sharded(shard, seed)) == []
    assert differences_of_parts(teacher, really_sharded(shard_teacher, seed)) == []
    with torch.no_grad():
        for parameter in fake_score.parameters():
            parameter.zero_()
    assert differences(teacher, whole(seed=seed)) == []
