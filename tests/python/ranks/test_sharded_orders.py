"""The orders in which other projects build, cast, shard and fill, with FSDP2, small.

`call_sites` has each project's own way; fakescore takes the place of its fill. Parts are compared
with slices of an unsharded module and with torch's sharding of a real one, before and after a
training step, which is compared with the unsharded module's.
"""

import functools
import os

import pytest
import torch
import torch.distributed as dist
from call_sites import automodel, fastgen
from call_sites.wan import FOLDER, prediction
from torch.distributed.tensor import DTensor

import fakescore
from shards import (
    differences,
    differences_of_parts,
    shared_folder,
    step_as_whole,
    take_step,
)
from support import TIMEOUT, same_bits

create = functools.partial(fakescore.create_fake_score_meta, timeout=TIMEOUT)
materialize = functools.partial(fakescore.materialize, timeout=TIMEOUT)


@pytest.fixture(scope="module")
def pipeline():
    """The folder of a diffusers pipeline."""
    folder = shared_folder() / "pipeline"
    if dist.get_rank() == 0:
        folder.mkdir()
        os.symlink(FOLDER, folder / "transformer")
    dist.barrier()
    return folder


def step_as_both(fake_score, really_sharded, whole, predict):
    """A training step that is close to that of the unsharded module, and to the bit FSDP2's own."""
    take_step(really_sharded, predict)
    step_as_whole(fake_score, whole, predict)
    assert differences_of_parts(fake_score, really_sharded) == []


# FastGen


def real_fastgen(pipeline):
    """The same on every rank that is not on meta."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return fastgen.Wan(pipeline)


def before(pipeline, teacher, precision):
    fake_score = fastgen.build_fake_score(pipeline, teacher)
    state_dict = fastgen.state_dict_of_rank_0(fake_score.to(dtype=precision))
    fastgen.cast_and_shard(fake_score, precision)
    fastgen.fill_from_rank_0(fake_score, state_dict)
    return fake_score


def in_its_own_contexts(pipeline, teacher, precision):
    fake_score = fastgen.build_fake_score(pipeline, teacher)
    fastgen.cast_and_shard(fake_score, precision)
    materialize(fake_score, teacher, init="keep")
    fake_score.reset_parameters()  # what nobody registered is on meta, and without a record
    return fake_score


def from_its_own_state_dict(pipeline, teacher, precision):
    """As its student is filled. No deep copy: FSDP2 gives the shards memory of their own."""
    fake_score = fastgen.build_fake_score(pipeline, teacher)
    state_dict = fake_score.state_dict() if dist.get_rank() == 0 else None
    fastgen.cast_and_shard(fake_score, precision)
    materialize(fake_score, state_dict, init="keep")
    fake_score.reset_parameters()
    return fake_score


def on_meta_on_every_rank(pipeline, teacher, precision):
    with fakescore.meta_init():
        fake_score = fastgen.Wan(pipeline)
    fastgen.cast_and_shard(fake_score, precision)
    materialize(fake_score, teacher, strict=True)
    return fake_score


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "order", [before, in_its_own_contexts, from_its_own_state_dict, on_meta_on_every_rank]
)
def test_fastgen_shards_before_it_fills(pipeline, order, precision):
    """What it does itself goes through the same comparison."""
    with fastgen.meta_on_other_ranks():
        teacher = real_fastgen(pipeline)
    fake_score = order(pipeline, teacher, precision)
    expected = real_fastgen(pipeline).to(dtype=precision)
    assert differences(fake_score, expected) == []
    really_sharded = real_fastgen(pipeline)
    fastgen.cast_and_shard(really_sharded, precision)
    assert differences_of_parts(fake_score, really_sharded) == []
    assert same_bits(fake_score.noise_scheduler._sigmas, expected.noise_scheduler._sigmas)
    parameters = dict(fake_score.named_parameters())
    assert not isinstance(parameters.pop("logvar"), DTensor)  # above what is sharded
    assert all(isinstance(parameter, DTensor) for parameter in parameters.values())
    assert {tensor.dtype for tensor in fake_score.parameters()} == {precision}
    step_as_both(fake_score, really_sharded, expected, lambda net: prediction(net.transformer))


# Automodel


@pytest.mark.parametrize(
    ("dtype", "tp_size"), [(torch.float32, 1), (torch.float32, 2), (torch.bfloat16, 1)]
)
def test_automodel_shards_what_it_has_loaded(pipeline, world_size, dtype, tp_size):
    if world_size % tp_size:
        pytest.skip("tensor parallelism needs a second rank")
    load = functools.partial(automodel.load_transformer, pipeline, dtype)
    manager = automodel.Manager(dtype, tp_size)
    fake_score = create(load, shard=manager.parallelize)
    assert fakescore.last_report().missing == fakescore.last_report().unexpected == ()
    expected = manager.checkpoint_activations(load())
    assert differences(fake_score, expected) == []
    really_sharded = manager.parallelize(load())
    assert differences_of_parts(fake_score, really_sharded) == []
    step_as_both(fake_score, really_sharded, expected, prediction)


def test_automodel_trains_adapters_beside_a_frozen_base(pipeline, rank):
    """Adapters are there before it shards; the base is frozen afterwards, in the same units."""
    manager = automodel.Manager(torch.bfloat16)

    def create_with_adapters(shard=None):
        torch.manual_seed(60 + rank)
        return create(
            lambda: automodel.load_with_adapters(pipeline, torch.bfloat16),
            shard=shard,
            trainable=lambda name, parameter: "lora_" in name,
        )

    fake_score = create_with_adapters(manager.parallelize)
    missing = fakescore.last_report().missing
    assert missing and all("lora_" in name for name in missing)
    expected = manager.checkpoint_activations(create_with_adapters())
    assert differences(fake_score, expected) == []
    adapters = {n: p for n, p in expected.named_parameters() if p.requires_grad}
    assert all(("lora_A" in name) == bool(value.any()) for name, value in adapters.items())
    step_as_whole(fake_score, expected, prediction)
    assert all(value.grad is not None for value in adapters.values())
    loaded = manager.checkpoint_activations(automodel.load_with_adapters(pipeline, torch.bfloat16))
    unequal = differences(fake_score, loaded)
    assert unequal and all("lora_" in name for name in unequal)
