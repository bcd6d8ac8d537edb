"""Shards on GPUs, on the emulated tier."""

import functools
import pathlib
import shutil
import tempfile

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_model
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

import fakescore
from support import TIMEOUT, named, same_bits

create = functools.partial(fakescore.create_fake_score_meta, timeout=TIMEOUT)


def build():
    """Wide enough for several buckets, with rows that do not divide."""
    return nn.Sequential(nn.Linear(1500, 1003), nn.LayerNorm(1003), nn.Linear(1003, 7))


def whole():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return build()


def by_columns(parameter):
    return Shard(1) if parameter.dim() > 1 and parameter.shape[1] % 4 == 0 else Shard(0)


@pytest.mark.parametrize("placement", [None, by_columns])
@pytest.mark.parametrize("dtype", [None, torch.float64])
@pytest.mark.parametrize("in_memory", [True, False])
def test_each_gpu_gets_its_part(rank, tmp_path, placement, dtype, in_memory):
    def shard(module):
        fully_shard(module, shard_placement_fn=placement)

    teacher = None
    if rank == 0:
        teacher = whole() if in_memory else tmp_path / "teacher.safetensors"
        if not in_memory:
            save_model(whole(), str(teacher))
    fake_score = create(build, teacher, shard=shard, dtype=dtype)
    assert fakescore.last_report().read == "root"
    expect_parts(fake_score, whole().to(dtype or torch.float32))


def expect_parts(fake_score, module):
    expected = dict(named(module))
    for name, parameter in fake_score.named_parameters():
        assert isinstance(parameter, DTensor)
        local = parameter.to_local()
        assert local.is_cuda
        (chunk,) = parameter.__create_chunk_list__()
        box = tuple(
            slice(begin, begin + size)
            for begin, size in zip(chunk.offsets, chunk.sizes, strict=True)
        )
        assert same_bits(local.cpu(), expected[name][box]), name


@pytest.fixture
def shared_path():
    paths = [None]
    if dist.get_rank() == 0:
        paths[0] = str(pathlib.Path(tempfile.mkdtemp()) / "teacher.safetensors")
        save_model(whole(), paths[0])
    dist.broadcast_object_list(paths)
    yield paths[0]
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.rmtree(pathlib.Path(paths[0]).parent)


@pytest.mark.parametrize("placement", [None, by_columns])
@pytest.mark.parametrize("dtype", [None, torch.float64])
@pytest.mark.parametrize("read", ["auto", "all", "root"])
def test_each_gpu_reads_its_part(shared_path, placement, dtype, read):
    fake_score = create(
        build,
        shared_path,
        shard=lambda module: fully_shard(module, shard_placement_fn=placement),
        dtype=dtype,
        read=read,
    )
    assert fakescore.last_report().read == ("root" if read == "root" else "all")
    expect_parts(fake_score, whole().to(dtype or torch.float32))


def test_each_gpu_reads_all_if_it_is_told_to(shared_path):
    fake_score = create(build, shared_path, read="all")
    assert fakescore.last_report().read == "all"
    for (name, ours), its in zip(fake_score.named_parameters(), whole().parameters(), strict=True):
        assert ours.is_cuda
        assert same_bits(ours.detach().cpu(), its.detach()), name


@pytest.mark.parametrize("dtype", [None, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_live_teacher_in_other_shards(dtype, on_cpu):
    teacher = whole()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),)) if on_cpu else None
    fully_shard(teacher if on_cpu else teacher.cuda(), mesh=mesh)

    def shard(module):
        fully_shard(module, shard_placement_fn=by_columns)

    fake_score = create(build, teacher, shard=shard, dtype=dtype)
    assert "redistributed" in fakescore.last_report().read_reason
    expect_parts(fake_score, whole().to(dtype or torch.float32))
    module = create(build, teacher, dtype=dtype)
    for ours, its in zip(module.parameters(), whole().parameters(), strict=True):
        assert same_bits(ours.detach().cpu(), its.detach().to(ours.dtype))


def test_a_live_sharded_teacher_is_copied_on_each_gpu():
    def shard(module):
        fully_shard(module)

    teacher = whole().cuda()
    shard(teacher)
    fake_score = create(build, teacher, shard=shard, dtype=torch.float64)
    assert fakescore.last_report().read == "all"
    for ours, its in zip(fake_score.parameters(), teacher.parameters(), strict=True):
        assert ours.to_local().is_cuda
        assert same_bits(ours.to_local(), its.to_local().double())


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_gpu_alone_casts(rank, tmp_path, in_memory):
    alone = dist.new_group([rank], use_local_synchronization=True)
    mesh = DeviceMesh.from_group(alone, "cuda")
    teacher = whole().bfloat16()
    path = tmp_path / "teacher.safetensors"
    save_model(teacher, str(path))
    fake_score = create(
        build,
        teacher if in_memory else path,
        shard=lambda module: fully_shard(module, mesh=mesh),
        process_group=alone,
    )
    expected = dict(named(teacher))
    for name, parameter in fake_score.named_parameters():
        assert same_bits(parameter.to_local(), expected[name].float()), name


class WithBuffers(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build()
        self.register_buffer("both", torch.arange(12.0))
        self.register_buffer("second", self.both[6:], persistent=False)
        self.angles = torch.arange(4.0).cos()  # nobody registers it


def test_offloaded_parameters_are_in_host_memory_and_buffers_are_not(shared_path):
    device = torch.device("cuda", torch.cuda.current_device())
    fake_score = create(
        WithBuffers,
        shared_path,
        map_keys={"^": "net."},
        shard=lambda module: fully_shard(module, offload_policy=CPUOffloadPolicy()),
        device="cpu",
    )
    expected = dict(named(whole()))
    for name, parameter in fake_score.net.named_parameters():
        local = parameter.to_local()
        assert local.device.type == "cpu"
        assert local.numel() == 0 or local.is_pinned()
        (chunk,) = parameter.__create_chunk_list__()
        rows = slice(chunk.offsets[0], chunk.offsets[0] + chunk.sizes[0])
        assert same_bits(local, expected[name][rows]), name
    assert {fake_score.both.device, fake_score.second.device, fake_score.angles.device} == {device}
    assert same_bits(fake_score.both.cpu(), torch.arange(12.0))
    assert same_bits(fake_score.angles.cpu(), torch.arange(4.0).cos())
    assert fake_score.second.data_ptr() == fake_score.both[6:].data_ptr()


@pytest.mark.parametrize("pin_memory", [True, False])
def test_offloaded_parameters_on_a_gpu_are_refused(shared_path, pin_memory):
    with pytest.raises(fakescore.ConfigError, match=r"CPUOffloadPolicy.*device=.cpu."):
        create(
            build,
            shared_path,
            shard=lambda module: fully_shard(
                module, offload_policy=CPUOffloadPolicy(pin_memory=pin_memory)
            ),
        )


def test_parts_that_are_not_offloaded_are_refused_in_host_memory(shared_path):
    with pytest.raises(fakescore.ConfigError, match="sharded over a mesh of cuda"):
        create(build, shared_path, shard=fully_shard, device="cpu")


def test_a_module_on_another_device_is_refused(rank):
    module = build()
    fully_shard(module, mesh=DeviceMesh("cpu", [rank]))
    with pytest.raises(fakescore.ConfigError, match="is on cpu, but is to be filled on cuda"):
        fakescore.materialize(module, whole() if rank == 0 else None, timeout=TIMEOUT)
