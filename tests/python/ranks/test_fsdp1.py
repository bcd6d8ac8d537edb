"""Modules that FSDP1 shards: filled before, as they are wrapped, and after; and as teachers."""

import copy
import functools
import gc
import time

import pytest
import torch
import torch.distributed as dist
from call_sites import self_forcing
from call_sites.wan import FOLDER
from safetensors.torch import save_file
from torch import nn
from torch.distributed.fsdp import (
    FullyShardedDataParallel,
    MixedPrecision,
    ShardingStrategy,
    StateDictType,
)
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

import fakescore
from shards import fsdp2, fsdp2_by_columns, hybrid, shared_folder
from support import TIMEOUT, Block, Net, differences, same_bits, seeded

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Multiple backends")

CPU = torch.device("cpu")
create = functools.partial(fakescore.create_fake_score_meta, timeout=TIMEOUT, device="cpu")
fill = functools.partial(fakescore.materialize, timeout=TIMEOUT, device="cpu")
IDS = torch.arange(6).reshape(2, 3)


def wrap(module: nn.Module, **options: object) -> FullyShardedDataParallel:
    """As trainers wrap a module on meta, block by block."""
    given = {
        "auto_wrap_policy": ModuleWrapPolicy({Block}),
        "param_init_fn": fakescore.param_init_fn("cpu"),
        "device_id": CPU,
        "use_orig_params": True,
        **options,
    }
    return FullyShardedDataParallel(module, **given)


def whole(wrapped: FullyShardedDataParallel) -> dict[str, torch.Tensor]:
    """Its whole state dict, as FSDP1 itself gathers it."""
    with FullyShardedDataParallel.state_dict_type(wrapped, StateDictType.FULL_STATE_DICT):
        return wrapped.state_dict()


def expect_values(wrapped: FullyShardedDataParallel, expected: dict[str, torch.Tensor]) -> None:
    found = whole(wrapped)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def expect_weights(wrapped: FullyShardedDataParallel, teacher: nn.Module) -> None:
    expect_values(wrapped, teacher.state_dict())


def expect_others(wrapped: FullyShardedDataParallel) -> None:
    """What no state dict holds."""
    found, expected = wrapped.module, seeded()
    assert torch.equal(found.freqs, expected.freqs)
    assert torch.equal(found.mask, expected.mask)
    assert torch.equal(found.scheduler.sigmas, expected.scheduler.sigmas)
    assert found.extra["tables"][0].is_cpu


@pytest.fixture
def path(rank):
    """A teacher's file, that every rank sees."""
    path = str(shared_folder() / "teacher.safetensors")
    if rank == 0:
        weights = {name: value.clone() for name, value in seeded().state_dict().items()}
        save_file(weights, path)
    dist.barrier()
    return path


def test_a_module_that_is_filled_on_cpus_is_wrapped_afterwards(rank):
    fake_score = create(Net, seeded() if rank == 0 else None)
    wrapped = FullyShardedDataParallel(fake_score, device_id=CPU, use_orig_params=True)
    with torch.no_grad():
        assert torch.equal(wrapped(IDS), seeded()(IDS))
    with FullyShardedDataParallel.summon_full_params(wrapped):
        assert differences(wrapped.module, seeded()) == []


@pytest.mark.parametrize("use_orig_params", [True, False])
@pytest.mark.parametrize("read", ["root", "all", "turns"])
def test_a_module_is_filled_in_the_shards_that_it_is_wrapped_in(path, read, use_orig_params):
    wrapped = create(
        Net, path, shard=functools.partial(wrap, use_orig_params=use_orig_params), read=read
    )
    assert fakescore.last_report().read == read or dist.get_world_size() == 1
    expect_weights(wrapped, seeded())
    expect_others(wrapped)
    with torch.no_grad():
        assert torch.equal(wrapped(IDS), seeded()(IDS))


def test_a_rank_receives_its_own_part_alone(rank, world_size):
    teacher = seeded()
    wrapped = create(Net, teacher if rank == 0 else None, shard=wrap)
    report = fakescore.last_report()
    units = FullyShardedDataParallel.fsdp_modules(wrapped)
    own = sum(unit._handle.flat_param.nbytes for unit in units)
    buffers = sum(buffer.nbytes for buffer in teacher.buffers())
    if rank > 0:
        assert report.received_bytes[rank] <= own + buffers + 1000
    expect_weights(wrapped, teacher)


@pytest.mark.parametrize("strategy", ["SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD"])
def test_every_strategy(path, strategy, world_size):
    options = {"sharding_strategy": ShardingStrategy[strategy]}
    if strategy == "HYBRID_SHARD":
        shape = (world_size // 2, 2) if world_size % 2 == 0 else (world_size, 1)
        options["device_mesh"] = dist.init_device_mesh(
            "cpu", shape, mesh_dim_names=("replicate", "shard")
        )
    wrapped = create(Net, path, shard=functools.partial(wrap, **options), verify=True)
    expect_weights(wrapped, seeded())


def test_a_module_that_the_trainer_has_wrapped_between_the_steps(rank):
    with fakescore.meta_init():
        net = Net()
    wrapped = wrap(net)
    assert fill(wrapped, seeded() if rank == 0 else None) is wrapped
    expect_weights(wrapped, seeded())
    expect_others(wrapped)


class Longer(Net):
    """With a layer that no teacher has, which a rank holds in stretches."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(5, 7)


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_what_the_teacher_lacks_is_as_in_a_whole_module(rank, recorder, monkeypatch):
    monkeypatch.setenv("FAKESCORE_RECORDER", recorder)
    teacher = seeded() if rank == 0 else None
    torch.manual_seed(3 + rank)  # the source's counts
    wrapped = create(Longer, teacher, shard=wrap)
    assert fakescore.last_report().replayed[:1] != []
    torch.manual_seed(3 + rank)
    expected = create(Longer, teacher)
    found = whole(wrapped)
    assert found["last.weight"].unique().numel() == 35
    assert torch.equal(found["last.weight"], expected.last.weight)
    assert torch.equal(found["last.bias"], expected.last.bias)


def test_what_init_gives_is_cut(rank):
    def init(module: nn.Module) -> None:
        with torch.no_grad():
            for parameter in module.parameters(recurse=False):
                parameter.copy_(torch.arange(parameter.numel()).view(parameter.shape))

    with torch.device("meta"):
        net = Longer()
    for use_orig_params in (True, False):
        wrapped = fill(
            wrap(copy.deepcopy(net), use_orig_params=use_orig_params),
            {**seeded().state_dict(), "freqs": torch.ones(8)} if rank == 0 else None,
            init=init,
        )
        expected = torch.arange(35.0).view(7, 5)
        assert torch.equal(whole(wrapped)["last.weight"], expected)


def test_dtypes_are_those_of_the_call(path):
    wrapped = create(Net, path, shard=wrap, dtype=torch.bfloat16)
    expect_values(wrapped, seeded().to(torch.bfloat16).state_dict())


def test_ties_stay_within_a_unit(path):
    wrapped = create(Net, path, shard=wrap)
    with FullyShardedDataParallel.summon_full_params(wrapped):
        assert wrapped.module.head.weight is wrapped.module.embed.weight


def test_parameters_that_are_to_be_trained(path):
    def trainable(name: str, parameter: nn.Parameter) -> bool:
        return "norm" in name

    wrapped = create(Net, path, shard=wrap, trainable=trainable)
    trained = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("norm" in name for name in trained)
    with pytest.raises(
        fakescore.ConfigError, match=r"are one flat parameter.*use_orig_params=True"
    ):
        create(
            Net,
            path,
            shard=functools.partial(wrap, use_orig_params=False),
            trainable=trainable,
        )


@pytest.mark.parametrize("use_orig_params", [True, False])
def test_a_step_equals_that_of_the_whole_module(path, use_orig_params, world_size):
    wrapped = create(Net, path, shard=functools.partial(wrap, use_orig_params=use_orig_params))
    plain = seeded()
    for net in (wrapped, plain):
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
        net(IDS).square().mean().backward()
        optimizer.step()
    found = whole(wrapped)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


def test_masters_under_mixed_precision(rank):
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 3))

    torch.manual_seed(5)
    teacher = build()
    precision = MixedPrecision(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    options = {"auto_wrap_policy": ModuleWrapPolicy({nn.Linear}), "mixed_precision": precision}
    wrapped = create(
        build, teacher if rank == 0 else None, shard=functools.partial(wrap, **options)
    )
    wrapped(torch.ones(2, 8)).sum().backward()
    found = {name: value.clone() for name, value in whole(wrapped).items()}
    for name, value in found.items():
        expected = teacher.state_dict()[name].clone()
        dist.broadcast(expected, 0)
        assert torch.equal(value, expected)


def take_step(wrapped: nn.Module) -> None:
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    wrapped(IDS).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("use_orig_params", [True, False])
@pytest.mark.parametrize("strategy", ["FULL_SHARD", "SHARD_GRAD_OP"])
def test_a_teacher_in_the_same_flat_shards_is_copied(world_size, strategy, use_orig_params):
    options = {
        "sharding_strategy": ShardingStrategy[strategy],
        "use_orig_params": use_orig_params,
    }
    teacher = wrap(seeded(), param_init_fn=None, **options)
    take_step(teacher)
    with torch.no_grad():
        before = teacher(IDS)  # leaves units gathered
    fake_score = create(Net, teacher, shard=functools.partial(wrap, **options))
    if world_size > 1:
        report = fakescore.last_report()
        assert report.read == "all"
        assert sum(report.sent_bytes) <= 1000  # what is replayed
    with torch.no_grad():
        assert torch.equal(fake_score(IDS), before)
        assert torch.equal(teacher(IDS), before)
    expected = whole(teacher)
    assert not torch.equal(expected["embed.weight"], seeded().embed.weight)
    expect_values(fake_score, expected)


def test_what_was_put_behind_a_teachers_parameters_is_copied(rank):
    teacher = wrap(seeded(), param_init_fn=None)
    take_step(teacher)
    for parameter in teacher.parameters():
        parameter.data = parameter.data * 2 + 1
    fake_score = create(Net, teacher, shard=wrap)
    expect_values(fake_score, whole(teacher))


@pytest.mark.parametrize("use_orig_params", [True, False])
@pytest.mark.parametrize("strategy", ["FULL_SHARD", "SHARD_GRAD_OP"])
@pytest.mark.parametrize("with_grad", [True, False])
def test_a_module_whose_units_are_gathered_is_filled(rank, strategy, use_orig_params, with_grad):
    options = {
        "sharding_strategy": ShardingStrategy[strategy],
        "use_orig_params": use_orig_params,
    }
    wrapped = wrap(seeded(9), param_init_fn=None, **options)
    with torch.set_grad_enabled(with_grad):
        wrapped(IDS)
    fill(wrapped, seeded() if rank == 0 else None, trainable=False, init="keep")
    with torch.no_grad():
        assert torch.equal(wrapped(IDS), seeded()(IDS))
    expect_weights(wrapped, seeded())
    assert not any(parameter.requires_grad for parameter in wrapped.parameters())


def test_a_module_in_use_is_refused(rank):
    wrapped = wrap(seeded(), param_init_fn=None)
    wrapped(IDS).sum().backward()
    with (
        FullyShardedDataParallel.summon_full_params(wrapped),
        pytest.raises(fakescore.ConfigError, match=r"in use by FSDP1.*outside of summon"),
    ):
        fill(wrapped, seeded(), init="keep")


@pytest.mark.parametrize("use_orig_params", [True, False])
def test_the_module_in_a_wrapper_is_refused(rank, use_orig_params):
    wrapped = wrap(seeded(), param_init_fn=None, use_orig_params=use_orig_params)
    with pytest.raises(fakescore.ConfigError, match="give the wrapper"):
        fill(wrapped.module, seeded(), init="keep")


def test_ignored_parameters_on_meta_are_refused_and_modules_are_whole(path):
    def ignoring(what):
        return lambda module: wrap(module, auto_wrap_policy=None, ignored_states=what(module))

    with pytest.raises(fakescore.ConfigError, match="give ignored_states modules"):
        create(Net, path, shard=ignoring(lambda module: [module.blocks[0].norm.weight]))
    wrapped = create(Net, path, shard=ignoring(lambda module: [module.blocks[0].norm]))
    assert wrapped.module.blocks[0].norm.weight.shape == (8,)
    expect_weights(wrapped, seeded())


def test_ties_across_units_are_refused(path):
    def apart(module: nn.Module) -> nn.Module:
        init = fakescore.param_init_fn("cpu")
        module.embed = FullyShardedDataParallel(module.embed, param_init_fn=init, device_id=CPU)
        return FullyShardedDataParallel(module, param_init_fn=init, device_id=CPU)

    with pytest.raises(fakescore.ConfigError, match=r"embed.weight and head.weight: are one"):
        create(Net, path, shard=apart)


@pytest.mark.parametrize("use_orig_params", [True, False])
def test_a_unit_is_whole_only_while_it_is_wrapped(use_orig_params, world_size):
    init = fakescore.param_init_fn("cpu")
    sizes: list[int] = []

    def watch(part: nn.Module) -> None:
        init(part)
        gc.collect()
        alive = {}
        for thing in gc.get_objects():
            if type(thing) in (torch.Tensor, nn.Parameter) and thing.is_cpu:
                storage = thing.untyped_storage()
                alive[storage._cdata] = storage.nbytes()
        sizes.append(sum(alive.values()))

    with torch.device("meta"):
        net = nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(5)))
    policy = ModuleWrapPolicy({nn.Linear})
    wrap(net, auto_wrap_policy=policy, param_init_fn=watch, use_orig_params=use_orig_params)
    unit = 512 * 512 * 4
    shard = unit // world_size
    assert sizes[4] - sizes[0] <= 4 * shard + 100_000


@pytest.mark.parametrize("fails", [True, False])
def test_taking_a_teachers_boxes_may_take_long_or_fail(rank, world_size, monkeypatch, fails):
    if world_size == 1:
        pytest.skip("FSDP1 shards nothing on one rank")
    from torch.distributed.checkpoint import state_dict as of_torch

    teacher = wrap(seeded(), param_init_fn=None)
    take = of_torch.get_model_state_dict

    def slowly(module: nn.Module) -> dict[str, object]:
        boxes = take(module)
        if rank == world_size - 1:
            if fails:
                raise RuntimeError("no memory for boxes")
            time.sleep(8)
        return boxes

    monkeypatch.setattr(of_torch, "get_model_state_dict", slowly)
    if fails:
        with pytest.raises(fakescore.BuildError, match="no memory for boxes") as raised:
            create(Net, teacher)
        assert raised.value.rank == world_size - 1
    else:
        dist.barrier()  # what else sets ranks apart counts against the timeout
        assert differences(create(Net, teacher, timeout=5), seeded()) == []


def test_a_teacher_in_other_flat_shards_is_redistributed(world_size):
    teacher = wrap(seeded(), param_init_fn=None, auto_wrap_policy=None)
    fake_score = create(Net, teacher, shard=wrap)
    expect_weights(fake_score, seeded())


def test_a_teacher_of_fsdp1_for_a_whole_module(world_size):
    teacher = wrap(seeded(), param_init_fn=None)
    assert differences(create(Net, teacher), seeded()) == []


@pytest.mark.parametrize("shard", [fsdp2, hybrid])
def test_a_teacher_of_fsdp2(world_size, shard):
    """Its rows are stretches of what FSDP1 has flattened."""
    if world_size == 1 and shard is hybrid:
        pytest.skip("needs a second rank")
    teacher = seeded()
    shard(teacher)
    before = {name: part.to_local().clone() for name, part in teacher.named_parameters()}
    expect_weights(create(Net, teacher, shard=wrap), seeded())
    expect_weights(create(Net, teacher.state_dict(), shard=wrap), seeded())
    assert all(
        same_bits(part.to_local(), before[name]) for name, part in teacher.named_parameters()
    )


def test_a_teacher_in_columns_is_refused(world_size):
    if world_size == 1:
        pytest.skip("a mesh of one rank shards nothing")
    teacher = seeded()
    fsdp2_by_columns(teacher)
    with pytest.raises(fakescore.TeacherError, match=r"is flattened here.*no run.*first dimension"):
        create(Net, teacher, shard=wrap)


def test_a_module_that_cannot_be_built_beside_such_a_teacher(rank, world_size):
    teacher = wrap(seeded(), param_init_fn=None)

    def build() -> nn.Module:
        if rank == world_size - 1:
            raise ValueError("no such model")
        return Net()

    with pytest.raises(fakescore.BuildError, match="no such model") as raised:
        create(build, teacher, shard=wrap)
    assert raised.value.rank == world_size - 1


class Untied(nn.Module):
    """With a buffer that no teacher holds, and one that is real at once."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block(8)
        self.register_buffer("freqs", torch.arange(8) / 3, persistent=False)
        self.register_buffer("sigmas", torch.tensor([3.0, 4.0]), persistent=False)


def dirty(part: nn.Module) -> None:
    """Makes sure that what `to_empty` leaves is no value."""
    part.to_empty(device="cpu", recurse=False)
    with torch.no_grad():
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            tensor.fill_(13)


@pytest.mark.parametrize("init", [dirty, fakescore.param_init_fn("cpu")])
def test_memory_that_was_given_to_be_wrapped_is_no_value(rank, init):
    teacher = Untied()
    fake_score = create(
        Untied,
        teacher if rank == 0 else None,
        shard=functools.partial(wrap, param_init_fn=init),
    )
    assert torch.equal(fake_score.module.freqs, teacher.freqs)
    assert torch.equal(fake_score.module.sigmas, teacher.sigmas)


def test_what_to_empty_unties_is_refused(path):
    """FSDP1 itself would train the two apart, and say nothing."""
    with pytest.raises(fakescore.ConfigError, match=r"embed.weight and head.weight: are one"):
        create(Net, path, shard=functools.partial(wrap, param_init_fn=dirty))


def flat_parameters(wrapped: nn.Module) -> list[torch.Tensor]:
    units = FullyShardedDataParallel.fsdp_modules(wrapped)
    return [unit._handle.flat_param for unit in units]


@pytest.mark.parametrize("is_live", [False, True])
def test_self_forcing_wraps_what_it_has_not_read(is_live):
    def build() -> nn.Module:
        return self_forcing.WanDiffusionWrapper(FOLDER)

    def shard(module: nn.Module) -> nn.Module:
        return self_forcing.fsdp_wrap(module, fakescore.param_init_fn("cpu"))

    real_score = self_forcing.fsdp_wrap(build())
    fake_score = create(build, real_score if is_live else None, shard=shard)
    pairs = zip(flat_parameters(fake_score), flat_parameters(real_score), strict=True)
    assert all(same_bits(found, expected) for found, expected in pairs)
    buffers = zip(fake_score.buffers(), build().buffers(), strict=True)
    assert all(same_bits(found, expected) for found, expected in buffers)


def test_what_is_not_row_major_is_refused():
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 4).t())

    with pytest.raises(fakescore.ConfigError, match=r"weight: was flattened.*make it contiguous"):
        create(Turned, {"weight": torch.zeros(4, 3)}, shard=wrap)
