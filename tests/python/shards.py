"""Ways to shard a module, and what each rank then has to hold; for collective tests."""

from __future__ import annotations

import functools
import itertools
import pathlib
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_model
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

from support import Net, named, same_bits

_NUMBERS = itertools.count()


def mesh_of(*sizes: int, names: tuple[str, ...] | None = None) -> DeviceMesh:
    """Of all ranks, and of the devices that their group is for."""
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    return init_device_mesh(device, sizes, mesh_dim_names=names)


def blocks_of(module: nn.Module) -> Iterable[nn.Module]:
    """The first list of blocks, if there is one."""
    return next((part for part in module.children() if isinstance(part, nn.ModuleList)), ())


def fsdp2(module: nn.Module, mesh: DeviceMesh | None = None, **kwargs: Any) -> None:
    for block in blocks_of(module):
        fully_shard(block, mesh=mesh, **kwargs)
    fully_shard(module, mesh=mesh, **kwargs)


def _second_dimension(parameter: nn.Parameter) -> Shard:
    return Shard(1) if parameter.dim() > 1 else Shard(0)


def fsdp2_by_columns(module: nn.Module) -> None:
    fsdp2(module, shard_placement_fn=_second_dimension)


def hybrid(module: nn.Module, replicas: int = 2) -> None:
    sizes = (replicas, dist.get_world_size() // replicas)
    fsdp2(module, mesh_of(*sizes, names=("replicas", "shards")))


def tensor_parallel(module: nn.Module, mesh: DeviceMesh) -> None:
    plan = {f"blocks.{i}.to_qkv": ColwiseParallel() for i in range(len(module.blocks))}
    parallelize_module(module, mesh, plan)


def tensor_parallel_alone(module: nn.Module) -> None:
    tensor_parallel(module, mesh_of(dist.get_world_size()))


def tensor_parallel_and_fsdp2(module: nn.Module) -> None:
    mesh = mesh_of(2, dist.get_world_size() // 2, names=("dp", "tp"))
    tensor_parallel(module, mesh["tp"])
    fsdp2(module, mesh["dp"])


def cut(whole: torch.Tensor, dtensor: DTensor) -> torch.Tensor:
    """What this rank holds of a tensor, by DTensor's own cutting of a real one."""
    mesh = dtensor.device_mesh
    real = DTensor.from_local(
        whole.to(mesh.device_type), mesh, [Replicate()] * mesh.ndim, run_check=False
    )
    return real.redistribute(placements=dtensor.placements).to_local()


def differences(sharded: nn.Module, whole: nn.Module) -> list[str]:
    """Names of tensors of which some rank does not hold the bits that it should of `whole`.

    Collective, so that no rank goes on to wait for one whose test has failed.
    """
    expected = dict(named(whole))
    names = []
    for name, tensor in named(sharded):
        wanted = expected.pop(name).detach()
        is_same = (
            same_bits(tensor.to_local(), cut(wanted, tensor))
            if isinstance(tensor, DTensor)
            else same_bits(tensor, wanted)
        )
        if not is_same:
            names.append(name)
    return _of_all_ranks(names + sorted(expected))


def differences_of_parts(a: nn.Module, b: nn.Module) -> list[str]:
    """Names of tensors of which two modules hold other parts, or other bits, on some rank.

    Collective, as `differences` is.
    """
    return _of_all_ranks(
        [
            name
            for (name, ours), (same_name, its) in zip(named(a), named(b), strict=True)
            if name != same_name or not _is_same_part(ours, its)
        ]
    )


def _of_all_ranks(names: list[str]) -> list[str]:
    everyone: list[list[str]] = [[]] * dist.get_world_size()
    dist.all_gather_object(everyone, names)
    return [f"{name} of rank {rank}" for rank, own in enumerate(everyone) for name in own]


def _is_same_part(ours: torch.Tensor, its: torch.Tensor) -> bool:
    if not isinstance(ours, DTensor) or not isinstance(its, DTensor):
        return type(ours) is type(its) and same_bits(ours, its)
    return (
        ours.placements == its.placements
        and torch.equal(ours.device_mesh.mesh, its.device_mesh.mesh)
        and same_bits(ours.to_local(), its.to_local())
    )


def whole(width: int = 8, seed: int = 7) -> Net:
    """The same on every rank."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net(width)


@functools.cache
def shared_folder() -> pathlib.Path:
    folders = [tempfile.mkdtemp()] if dist.get_rank() == 0 else [None]
    dist.broadcast_object_list(folders)
    return pathlib.Path(folders[0])


def saved(module: nn.Module) -> pathlib.Path:
    """A file of its weights, that all ranks see."""
    path = shared_folder() / f"{next(_NUMBERS)}.safetensors"
    if dist.get_rank() == 0:
        save_model(module, str(path))
    dist.barrier()
    return path


def _predict_ids(net: nn.Module) -> torch.Tensor:
    return net(torch.arange(6).reshape(2, 3))


def _gathered(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _assert_close(ours: torch.Tensor, wanted: torch.Tensor) -> None:
    if wanted.dtype == torch.bfloat16:
        # FSDP2 adds up the gradients of what several units take in another order.
        atol = 2**-7 * wanted.abs().max().item()
        torch.testing.assert_close(ours, wanted, rtol=2**-6, atol=atol)
    else:
        torch.testing.assert_close(ours, wanted)


def _times_too_large(module: nn.Module) -> int:
    """What FSDP2 makes of gradients over Gloo: before torch 2.9 their sum over a shard's ranks."""
    if torch.__version__ >= "2.9":
        return 1
    groups = [
        part._get_fsdp_state()._fsdp_param_group
        for part in module.modules()
        if isinstance(part, FSDPModule)
    ]
    (size,) = {group.mesh_info.shard_mesh_size for group in groups if group is not None}
    return int(size)


def take_step(
    module: nn.Module, predict: Callable[[nn.Module], torch.Tensor] = _predict_ids
) -> torch.Tensor:
    """Forward, backward and the optimizer's step. Returns what was predicted."""
    output = predict(module.train())
    output.float().square().mean().backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    return output.detach()


def step_as_whole(
    sharded: nn.Module,
    module: nn.Module,
    predict: Callable[[nn.Module], torch.Tensor] = _predict_ids,
) -> None:
    """A training step of both ends with the same gradients and parameters, which are then used."""
    scale = _times_too_large(sharded)
    torch.testing.assert_close(take_step(sharded, predict), take_step(module, predict))
    wanted = dict(module.named_parameters())
    assert any(parameter.grad is not None for parameter in wanted.values())
    for name, parameter in sharded.named_parameters():
        if wanted[name].grad is None:
            assert parameter.grad is None, name
            continue
        _assert_close(_gathered(parameter.grad) / scale, wanted[name].grad)
        if scale == 1:
            _assert_close(_gathered(parameter), wanted[name])
    if scale == 1:
        with torch.no_grad():
            _assert_close(predict(sharded), predict(module))
        for part in sharded.modules():
            if isinstance(part, FSDPModule):
                part.reshard()
