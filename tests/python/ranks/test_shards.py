"""Modules that FSDP2 and tensor parallelism have sharded, filled by each rank's own part."""

import functools
import pathlib
import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_model
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FullyShardedDataParallel,
    MixedPrecisionPolicy,
    fully_shard,
)
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.distributed.tensor import DTensor, Partial
from torch.distributed.tensor.parallel import RowwiseParallel, parallelize_module

import fakescore
from fakescore.fsdp_internals import STATE_OF_FSDP2
from shards import (
    differences,
    fsdp2,
    fsdp2_by_columns,
    hybrid,
    saved,
    shared_folder,
    step_as_whole,
    tensor_parallel_alone,
    tensor_parallel_and_fsdp2,
    whole,
)
from support import MODELS, TIMEOUT, Net, same_bits
from tiny_models import CLASSES

create = functools.partial(fakescore.create_fake_score_meta, timeout=TIMEOUT, device="cpu")
materialize = functools.partial(fakescore.materialize, timeout=TIMEOUT, device="cpu")


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("model", CLASSES)
def test_each_rank_gets_what_fsdp2_would_give_it(model, dtype):
    load = functools.partial(CLASSES[model].from_pretrained, MODELS / model)
    fake_score = create(load, shard=fsdp2, dtype=dtype)
    assert all(isinstance(parameter, DTensor) for parameter in fake_score.parameters())
    assert differences(fake_score, load() if dtype is None else load().to(dtype)) == []
    assert fakescore.last_report().missing == ()


@pytest.mark.parametrize(
    "shard",
    [fsdp2, fsdp2_by_columns, hybrid, tensor_parallel_alone, tensor_parallel_and_fsdp2],
)
@pytest.mark.parametrize("width", [8, 16])
def test_placements(shard, width, world_size, tmp_path_factory):
    if world_size == 1 and shard in (hybrid, tensor_parallel_and_fsdp2):
        pytest.skip("needs a second rank")
    with_values = whole(width)
    folder = saved(with_values)
    fake_score = create(lambda: Net(width), folder, shard=shard)
    assert differences(fake_score, with_values) == []
    assert same_bits(fake_score.scheduler.sigmas, with_values.scheduler.sigmas)


@pytest.mark.parametrize("width", [1, 3, 5])
def test_uneven_and_empty_shards(width):
    """With 4 ranks, some have nothing of some tensors."""
    with_values = whole(width)
    fake_score = create(lambda: Net(width), saved(with_values), shard=fsdp2)
    assert differences(fake_score, with_values) == []
    step_as_whole(fake_score, with_values)


def test_an_uneven_strided_shard_is_refused_by_name(world_size):
    if world_size < 4:
        pytest.skip("needs four ranks")
    with pytest.raises(
        fakescore.ConfigError,
        match=r"blocks\.0\.to_qkv\.weight: has 15 .* in 2 x 2: .*multiple of 4",
    ):
        create(lambda: Net(5), saved(whole(5)), shard=tensor_parallel_and_fsdp2)


def test_a_step_of_a_sharded_module_is_that_of_the_whole():
    with_values = whole()
    step_as_whole(create(Net, saved(with_values), shard=fsdp2), with_values)


def test_the_trainer_shards_between_the_steps():
    with_values = whole()
    path = saved(with_values)
    with fakescore.meta_init():
        net = Net()
    net = net.to(torch.bfloat16)
    fsdp2(net)
    before = dict(net.named_parameters(remove_duplicate=False))
    assert materialize(net, path) is net
    after = dict(net.named_parameters(remove_duplicate=False))
    assert all(after[name] is parameter for name, parameter in before.items())
    assert net.head.weight is net.embed.weight
    assert differences(net, with_values.to(torch.bfloat16)) == []


@pytest.mark.parametrize("has_memory", [False, True])
def test_a_module_of_plain_meta_tensors(has_memory):
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 7))
    fsdp2(net)
    if has_memory:
        net.to_empty(device="cpu")
    with_values = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 7))
    for parameter in with_values.parameters():
        dist.broadcast(parameter.detach(), 0)
    assert differences(materialize(net, saved(with_values)), with_values) == []
    with torch.device("meta"):
        other = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 7), nn.Linear(7, 3))
    fsdp2(other)
    with pytest.raises(fakescore.BuildError, match=r"2\.weight, 2\.bias"):
        materialize(other, saved(with_values))


class WithAdapter(Net):
    def __init__(self, width=8):
        super().__init__(width)
        self.adapter = nn.Linear(width, 3)
        self.ema = nn.Parameter(self.adapter.weight.detach().clone())
        nn.init.zeros_(self.adapter.bias)


@pytest.mark.usefixtures("each_recorder")
@pytest.mark.parametrize("sequential", [False, True])
def test_what_the_teacher_lacks_is_cut_from_the_sources_values(rank, sequential):
    """Ranks are seeded differently; the values are those of the source's seed."""
    path = saved(whole())
    torch.manual_seed(100 + rank)
    with fakescore.meta_init(sequential=sequential):
        net = WithAdapter()
    fsdp2(net)
    materialize(net, path)
    assert fakescore.last_report().missing == ("ema", "adapter.weight", "adapter.bias")
    torch.manual_seed(100)
    with fakescore.meta_init(sequential=sequential):
        expected = WithAdapter()
    alone = dist.new_group([rank], use_local_synchronization=True)
    materialize(expected, path, process_group=alone)
    assert differences(net, expected) == []
    assert expected.adapter.weight.any()
    if sequential:
        torch.manual_seed(100)
        assert same_bits(WithAdapter().adapter.weight, expected.adapter.weight)


def apart(module):
    fully_shard(module.embed)
    fully_shard(module)


def one_of_two(module):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    parallelize_module(module, mesh, {"embed": RowwiseParallel()})


def test_ranks_that_recorded_otherwise_get_the_sources_values(rank, several):
    """Generators, constants and the number of draws are each rank's own."""

    class Adapter(Net):
        def __init__(self):
            super().__init__()
            generator = torch.Generator().manual_seed(50 + rank)
            for _ in range(rank):
                torch.rand(3)
            self.drawn = nn.Parameter(torch.empty(8, 3).normal_(generator=generator))
            self.constant = nn.Parameter(torch.full((8,), float(rank)))

    path = saved(whole())
    net = create(Adapter, path, shard=fsdp2)
    assert torch.equal(net.constant.full_tensor(), torch.zeros(8))
    alone = dist.new_group([rank], use_local_synchronization=True)
    of_this_rank = create(Adapter, path, process_group=alone).drawn.detach()
    everyones = [None] * dist.get_world_size()
    dist.all_gather_object(everyones, of_this_rank)
    assert not torch.equal(everyones[0], everyones[1])
    assert torch.equal(net.drawn.full_tensor(), everyones[0])


def test_a_rank_without_a_record_gets_the_sources_values(rank, several):
    path = saved(whole())
    with fakescore.meta_init() if rank == 0 else torch.device("meta"):
        net = WithAdapter()
    fsdp2(net)
    for name in ("mask", "scheduler", "extra"):
        delattr(net, name)
    materialize(net, path)
    assert net.adapter.weight.full_tensor().abs().max() <= 8**-0.5
    assert torch.equal(net.ema.full_tensor(), net.adapter.weight.full_tensor())


def test_a_write_on_meta_before_it_is_sharded_is_an_error():
    with fakescore.meta_init():
        net = WithAdapter()
    nn.init.ones_(net.adapter.weight)
    fsdp2(net)
    with pytest.raises(fakescore.BuildError, match=r"Linear\.weight: was written to on meta"):
        materialize(net, saved(whole()))


def test_a_teacher_whole_on_the_source_and_live_elsewhere(rank, several):
    sharded = live(fsdp2)
    teacher = saved_alone(whole()) if rank == 0 else sharded
    assert differences(create(Net, teacher, shard=fsdp2, read="root"), whole()) == []


def test_sums_are_refused():
    with fakescore.meta_init():
        net = nn.Linear(4, 4)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    partial = DTensor.from_local(torch.ones(4, 4), mesh, [Partial()])
    net.weight = nn.Parameter(partial)
    with pytest.raises(fakescore.ConfigError, match=r"weight: .*a summand and no part"):
        materialize(net, saved(nn.Linear(4, 4)))


def test_several_roots_below_a_plain_module():
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.second(self.first(x).float())

    def shard(pair):
        for part in pair.children():
            fully_shard(part, mp_policy=policy)

    net = create(Pair, saved(seeded_with(Pair)), shard=shard, trainable=False)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    x = torch.ones(2, 6)
    net(x)
    net.requires_grad_(True)
    net(x).float().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in net.parameters())


def seeded_with(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return build()


@pytest.mark.parametrize("shard", [apart, one_of_two])
def test_ties_across_units_are_an_error(shard):
    with pytest.raises(fakescore.ConfigError, match=r"embed.weight and head.weight.*in one unit"):
        create(Net, saved(whole()), shard=shard)


def test_a_frozen_first_forward_reduces_in_full_precision():
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(dist.get_rank()))

    def build():
        return nn.Sequential(nn.Linear(6, 5), nn.SiLU(), nn.Linear(5, 3))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        path = saved(build())

    def gradients(frozen_first):
        net = create(build, path, shard=functools.partial(fsdp2, mp_policy=policy))
        if frozen_first:
            net.requires_grad_(False)
            net(x)
            net.requires_grad_(True)
        net(x).float().square().mean().backward()
        return {name: parameter.grad for name, parameter in net.named_parameters()}

    wanted = gradients(frozen_first=False)
    for name, gradient in gradients(frozen_first=True).items():
        assert gradient.dtype == torch.float32
        assert same_bits(gradient.to_local(), wanted[name].to_local()), name


def test_a_checkpoint_of_the_sharded_module_is_read_again():
    with_values = whole()
    net = create(Net, saved(with_values), shard=fsdp2)
    folder = shared_folder() / "checkpoint"
    dcp.save({"model": net.state_dict()}, checkpoint_id=folder)
    other = create(Net, saved(whole(8)), shard=fsdp2)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    state = {"model": other.state_dict()}
    dcp.load(state, checkpoint_id=folder)
    other.load_state_dict(state["model"])
    assert differences(other, with_values) == []


@pytest.mark.parametrize(("shard", "width"), [(fsdp2, 3), (fsdp2, 8), (fsdp2_by_columns, 8)])
def test_a_teacher_that_one_rank_has(rank, last, shard, width):
    with_values = whole(width)
    state_dict = with_values.state_dict() if rank == last else None
    fake_score = create(lambda: Net(width), state_dict, shard=shard, source=last)
    assert differences(fake_score, with_values) == []
    teacher = with_values.to(torch.bfloat16) if rank == last else Net(width).to("meta")
    fake_score = create(lambda: Net(width), teacher, shard=shard, source=last)
    expected = with_values.to(torch.bfloat16).float()
    expected.freqs = whole(width).freqs  # no checkpoint has it
    assert differences(fake_score, expected) == []


def live(shard, width=8):
    """A teacher in use, sharded on all ranks."""
    teacher = whole(width).requires_grad_(False)
    shard(teacher)
    if shard is not tensor_parallel_and_fsdp2:  # whose forward is not the net's
        teacher(torch.arange(6).reshape(2, 3))
    return teacher


PLACEMENTS = [fsdp2, fsdp2_by_columns, hybrid, tensor_parallel_and_fsdp2]


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("shard", PLACEMENTS)
def test_a_live_sharded_teacher(several, shard, dtype):
    teacher = live(shard)
    fake_score = create(Net, teacher, shard=shard, dtype=dtype)
    expected = whole() if dtype is None else whole().to(dtype)
    assert differences(fake_score, expected) == []
    assert all(parameter.requires_grad for parameter in fake_score.parameters())
    # The teacher is as it was, and nothing of it is shared.
    assert differences(teacher, whole()) == []
    for ours, its in zip(fake_score.parameters(), teacher.parameters(), strict=True):
        mine, theirs = ours.to_local(), its.to_local()
        assert mine.numel() == 0 or mine.data_ptr() != theirs.data_ptr()
    assert fakescore.last_report().read == "all"


OTHER_SHARDS = [
    (fsdp2, fsdp2_by_columns),
    (fsdp2_by_columns, fsdp2),
    (fsdp2, tensor_parallel_and_fsdp2),
    (tensor_parallel_and_fsdp2, fsdp2),
    (hybrid, fsdp2),
    (fsdp2, hybrid),
    (fsdp2, None),
    (tensor_parallel_and_fsdp2, None),
]


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize(("shard_teacher", "shard"), OTHER_SHARDS)
def test_a_live_teacher_in_other_shards(several, shard_teacher, shard, dtype):
    teacher = live(shard_teacher)
    fake_score = create(Net, teacher, shard=shard, dtype=dtype)
    expected = whole() if dtype is None else whole().to(dtype)
    assert differences(fake_score, expected) == []
    assert differences(teacher, whole()) == []
    report = fakescore.last_report()
    assert report.read == "all"
    # On 2 ranks, some of these are the same shards.
    assert "redistributed" in report.read_reason or dist.get_world_size() == 2


@pytest.mark.parametrize("width", [1, 3, 5])
def test_a_live_teacher_in_uneven_shards_goes_to_whole_modules(several, width):
    teacher = live(fsdp2, width)
    assert differences(create(lambda: Net(width), teacher), whole(width)) == []
    half = live(fsdp2, width).to(torch.bfloat16)
    fake_score = create(lambda: Net(width), half, dtype=torch.float32)
    expected = whole(width).to(torch.bfloat16).float()
    expected.freqs = whole(width).freqs  # not persistent: no state dict has it
    assert differences(fake_score, expected) == []


def fsdp1(width, *, has_mesh=False, use_orig_params=True):
    return FullyShardedDataParallel(
        whole(width).requires_grad_(False),
        auto_wrap_policy=ModuleWrapPolicy({type(whole().blocks[0])}),
        use_orig_params=use_orig_params,
        device_id=torch.device("cpu"),
        device_mesh=init_device_mesh("cpu", (dist.get_world_size(),)) if has_mesh else None,
    )


@pytest.mark.parametrize("has_mesh", [True, False])
@pytest.mark.parametrize("use_orig_params", [True, False])
@pytest.mark.parametrize("shard", [fsdp2, fsdp2_by_columns, None])
@pytest.mark.parametrize("width", [3, 8])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Multiple backends")
def test_a_live_teacher_of_fsdp1(world_size, has_mesh, use_orig_params, shard, width):
    """On one rank it shards nothing. With 4 ranks, some have nothing of some tensors."""
    if shard is fsdp2_by_columns and width % world_size:
        pytest.skip("FSDP2 has no uneven columns")
    teacher = fsdp1(width, has_mesh=has_mesh, use_orig_params=use_orig_params)
    before = teacher(torch.arange(6).reshape(2, 3))
    fake_score = create(lambda: Net(width), teacher, shard=shard)
    assert differences(fake_score, whole(width)) == []
    assert fakescore.last_report().read == ("all" if world_size > 1 else "root")
    assert torch.equal(teacher(torch.arange(6).reshape(2, 3)), before)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Multiple backends")
def test_a_teacher_of_fsdp1_that_one_rank_lacks_or_fails_beside(several, rank, last):
    teacher = fsdp1(8)
    with pytest.raises(fakescore.TeacherError, match=f"rank {last} has another teacher"):
        create(Net, teacher if rank != last else None, shard=fsdp2)

    def build():
        if rank == last:
            raise ValueError("no room")
        return Net()

    with pytest.raises(fakescore.BuildError, match="no room"):
        create(build, teacher, shard=fsdp2)
    assert differences(create(Net, teacher, shard=fsdp2), whole()) == []


def test_parts_that_are_offloaded(several):
    """On CPUs there is nothing to offload from: the emulated tier has the rest."""
    policy = CPUOffloadPolicy(pin_memory=False)
    teacher = live(functools.partial(fsdp2, offload_policy=policy))
    fake_score = create(Net, teacher, shard=functools.partial(fsdp2, offload_policy=policy))
    assert differences(fake_score, whole()) == []
    step_as_whole(fake_score, whole())


def test_the_students_start_from_a_live_teachers_state_dict(several):
    state_dict = {f"net.{name}": value for name, value in live(fsdp2).state_dict().items()}
    with fakescore.meta_init():
        student = Net()
    fsdp2(student)
    materialize(student, state_dict, map_keys="net.")
    assert differences(student, whole()) == []


def test_a_live_teacher_that_does_not_fit(several, rank, last):
    teacher = live(fsdp2)
    with pytest.raises(fakescore.TeacherError, match=f"rank {last} .*is not given on this rank"):
        create(Net, teacher if rank != last else None, shard=fsdp2)
    with pytest.raises(fakescore.TeacherError, match=f"rank {last} has .*not in shards"):
        create(Net, teacher if rank != last else saved_alone(whole()), shard=fsdp2)
    assert differences(create(Net, teacher, shard=fsdp2), whole()) == []


def saved_alone(module):
    path = pathlib.Path(tempfile.mkdtemp()) / "alone.safetensors"
    save_model(module, str(path))
    return path


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_file_that_one_rank_reads(dtype):
    with_values = whole()
    fake_score = create(Net, saved(with_values), shard=fsdp2, read="root", dtype=dtype)
    assert fakescore.last_report().read == "root"
    assert differences(fake_score, with_values.to(dtype or torch.float32)) == []


def test_a_cast_that_comes_too_late_is_an_error():
    with fakescore.meta_init():
        net = Net()
    fsdp2(net)
    with pytest.raises(fakescore.ConfigError, match="sharded already"):
        materialize(net, saved(whole()), dtype=torch.bfloat16)


def test_a_shard_that_fails_on_one_rank_is_an_error_on_all(rank, last):
    def shard(module):
        if rank == last:
            raise ValueError("no such block")
        fsdp2(module)

    with pytest.raises(fakescore.BuildError, match=f"rank {last} .*no such block"):
        create(Net, saved(whole()), shard=shard)


def test_units_of_several_dtypes_are_an_error():
    with pytest.raises(fakescore.ConfigError, match="FSDP2 cannot run"):
        create(Net, saved(whole()), shard=fsdp2, dtype_rules={r"blocks\.0\.norm": torch.bfloat16})


@pytest.mark.parametrize("init", ["reset_parameters", lambda part: part.reset_parameters()])
@pytest.mark.parametrize("unit_has_parameters", [False, True])
def test_init_gives_whole_values_on_the_source(init, unit_has_parameters):
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 7))
    if unit_has_parameters:
        fully_shard(net[1])
    fsdp2(net)
    first = nn.Sequential(nn.Linear(6, 5))
    materialize(net, saved(first), init=init)
    gathered = net[1].weight.full_tensor()
    assert gathered.std() > 0.1
    assert gathered.abs().max() <= 5**-0.5
    assert fakescore.last_report().missing == ("1.weight", "1.bias")


def bytes_read():
    counts = pathlib.Path("/proc/self/io").read_text()
    return int(counts.split("rchar: ")[1].split()[0])


def test_no_rank_reads_more_than_its_part(world_size):
    wide = nn.Linear(1024, 4096, bias=False)
    for parameter in wide.parameters():
        dist.broadcast(parameter.detach(), 0)
    path = saved(wide)
    before = bytes_read()
    fake_score = create(lambda: nn.Linear(1024, 4096, bias=False), path, shard=fsdp2)
    part = 4 * 1024 * 4096 // world_size
    assert part <= bytes_read() - before < part + (1 << 20)
    assert differences(fake_score, wide) == []
    moved = next(phase for phase in fakescore.last_report().phases if phase.name == "move")
    assert moved.bytes == part


def test_what_fsdp2_keeps_with_a_module_goes_by_the_name_that_is_passed_over():
    """Else a module's attributes would be searched through meshes and process groups."""
    net = nn.Linear(8, 8)
    names = set(vars(net))
    fully_shard(net)
    added = {name for name in vars(net) if name not in names and vars(net)[name] is not True}
    assert added
    assert all(name.startswith(STATE_OF_FSDP2) for name in added)
