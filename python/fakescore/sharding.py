"""Parts of DTensors: what this rank holds, and memory for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .errors import BuildError, ConfigError
from .fsdp_internals import FlatPart, offloaded
from .wrappers import is_sharded, is_sharded_tensor

if TYPE_CHECKING:
    from .tensors import ModuleTensor


@dataclass(frozen=True)
class Shard:
    """fakescore::Shard: what this rank holds of a DTensor."""

    global_sizes: tuple[int, ...]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    #: of the whole tensor before it was flattened; empty if it was not
    flattened_from: tuple[int, ...] = ()

    @classmethod
    def of_flattened(cls, flat: FlatPart) -> Shard:
        """A stretch of a parameter that FSDP1 has flattened."""
        return cls((math.prod(flat.sizes),), (flat.begin,), (flat.values.numel(),), flat.sizes)


class Parts:
    """Which part of a tensor this rank holds, for many tensors.

    The blocks of a model have the same sizes and placements: torch is asked once for each.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], Shard] = {}

    def of(self, name: str, tensor: torch.Tensor) -> tuple[torch.Tensor, Shard | None]:
        """What the rank holds, sharing its memory, and where it is; None of one that is whole.

        Asks the DTensor itself, by the protocol that distributed checkpoints use, so that whatever
        its mesh and placements are is for torch to say.

        Raises ConfigError for one that is no box of the whole: a partial sum, or a split that torch
        does not know to place.
        """
        if is_sharded_tensor(tensor):
            return part_of(tensor), _of_sharded_tensor(name, tensor)
        if not is_sharded(tensor):
            return tensor, None
        dtensor: Any = tensor
        key = (tuple(tensor.shape), dtensor.placements, dtensor.device_mesh)
        if key not in self._found:
            self._found[key] = _of_dtensor(name, dtensor)
        shard = self._found[key]
        part = part_of(tensor)
        if shard.sizes != tuple(part.shape):
            raise ConfigError.of(
                name,
                f"is a DTensor placed as {tuple(dtensor.placements)}: torch says that this rank "
                f"holds sizes {shard.sizes}, but it holds {tuple(part.shape)}",
                "use sizes that divide by the mesh's",
            )
        return part, shard


def _of_dtensor(name: str, dtensor: Any) -> Shard:
    _refuse_sums(name, dtensor)
    _refuse_uneven_twice(name, dtensor)
    try:
        chunks = dtensor.__create_chunk_list__()
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise ConfigError.of(
            name,
            f"is a DTensor placed as {tuple(dtensor.placements)}, of which torch cannot say what "
            f"this rank holds: {error}",
            "use sizes that divide by the mesh's, or other placements",
        ) from error
    if len(chunks) != 1:
        raise ConfigError.of(
            name,
            f"is a DTensor of which this rank holds {len(chunks)} separate parts",
            "use placements that give each rank one part",
        )
    return Shard(tuple(dtensor.shape), tuple(chunks[0].offsets), tuple(chunks[0].sizes))


def _of_sharded_tensor(name: str, tensor: torch.Tensor) -> Shard:
    """Of a ShardedTensor, as FSDP1 has them in its state dict without a mesh."""
    sharded: Any = tensor
    parts = sharded.local_shards()
    if len(parts) > 1:
        raise ConfigError.of(
            name,
            f"is a ShardedTensor of which this rank holds {len(parts)} separate parts",
            "use a sharding that gives each rank one part",
        )
    sizes = tuple(sharded.size())
    if not parts:
        return Shard(sizes, (0,) * len(sizes), (0, *sizes[1:]))
    metadata = parts[0].metadata
    shard = Shard(sizes, tuple(metadata.shard_offsets), tuple(metadata.shard_sizes))
    if shard.sizes != tuple(parts[0].tensor.shape):
        raise ConfigError.of(
            name,
            f"is a ShardedTensor that says to have sizes {shard.sizes} here, but has "
            f"{tuple(parts[0].tensor.shape)}",
            "give FSDP1 a device_mesh, so that its state dict has DTensors",
        )
    return shard


@dataclass(frozen=True)
class OwnPart:
    """What this rank has of a tensor of a teacher that FSDP1 has flattened."""

    values: torch.Tensor
    shard: Shard


def native_shards(
    shards: Sequence[Shard | None],
) -> tuple[list[int], list[Any], list[Any], list[Any]]:
    """As the C++ library takes them: indices, global sizes, offsets, sizes before flattening."""
    given = [(index, shard) for index, shard in enumerate(shards) if shard is not None]
    return (
        [index for index, _ in given],
        [list(shard.global_sizes) for _, shard in given],
        [list(shard.offsets) for _, shard in given],
        [list(shard.flattened_from) for _, shard in given],
    )


def _refuse_sums(name: str, dtensor: Any) -> None:
    if any(placement.is_partial() for placement in dtensor.placements):
        raise ConfigError.of(
            name,
            f"is a DTensor placed as {tuple(dtensor.placements)}, of which each rank holds a "
            "summand and no part",
            "redistribute it first",
        )


def _refuse_uneven_twice(name: str, dtensor: Any) -> None:
    # Where two dimensions of a mesh split one of the tensor unevenly, torch's own answer is wrong
    # (pytorch#168134).
    ways: dict[int, list[int]] = {}
    for size, placement in zip(dtensor.device_mesh.shape, dtensor.placements, strict=True):
        if hasattr(placement, "dim"):  # strided ones are not is_shard() in every torch
            ways.setdefault(placement.dim, []).append(size)
    for dim, sizes in ways.items():
        if len(sizes) > 1 and dtensor.shape[dim] % math.prod(sizes) != 0:
            raise ConfigError.of(
                name,
                f"has {dtensor.shape[dim]} along dimension {dim}, which {len(sizes)} dimensions of "
                f"the mesh split in {' x '.join(map(str, sizes))}: torch does not know which part "
                "a rank holds of such a tensor",
                f"use a size that is a multiple of {math.prod(sizes)}, or shard it once",
            )


def part_of(tensor: torch.Tensor) -> torch.Tensor:
    """What this rank holds of a tensor, sharing its memory."""
    dtensor: Any = tensor
    if is_sharded_tensor(tensor):
        parts = dtensor.local_shards()
        return parts[0].tensor if parts else torch.empty((0, *tensor.shape[1:]), dtype=tensor.dtype)
    if not is_sharded(tensor):
        return tensor
    with torch.no_grad():
        local: torch.Tensor = dtensor.to_local()
    return local


def allocate_shards(module: nn.Module, device: torch.device) -> None:
    """Gives the module's DTensors on meta memory of this rank's part, whatever it holds.

    As `to_empty` does, which keeps the parameter objects, their ties and the padding that FSDP2
    wants, but for DTensors alone: it would replace other parameters by new objects.

    Raises ConfigError for a mesh of other devices, and for shards that FSDP2 offloads on a GPU;
    MemoryError.
    """

    in_host_memory: set[int] = set()

    def allocate(tensor: torch.Tensor) -> torch.Tensor:
        if not is_sharded(tensor) or not tensor.is_meta:
            return tensor
        _check_device(tensor, device, id(tensor) in in_host_memory)
        try:
            return torch.empty_like(tensor, device=device)
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error

    # Of a module without any, nothing is to be touched.
    if not any(is_sharded(tensor) for tensor in (*module.parameters(), *module.buffers())):
        return
    in_host_memory |= offloaded(module)
    with torch.no_grad():
        module._apply(allocate)  # type: ignore[no-untyped-call]


def _check_device(dtensor: Any, device: torch.device, is_offloaded: bool) -> None:
    of_mesh = _device_type(dtensor)
    if is_offloaded and of_mesh != "cpu":
        if device.type == "cpu":
            return
        raise ConfigError.of(
            "device",
            f"is {device}, but FSDP2's CPUOffloadPolicy keeps the module's shards in host memory",
            "give device='cpu': what is no shard is put on the GPU then all the same",
        )
    if device.type != of_mesh:
        raise ConfigError.of(
            "device",
            f"is {device}, but the module is sharded over a mesh of {of_mesh}",
            f"give device={of_mesh!r}, or make the mesh for {device.type}",
        )


def check_flat_devices(entries: Sequence[ModuleTensor], device: torch.device) -> None:
    """Raises ConfigError for a flat parameter of FSDP1 that is elsewhere."""
    for entry in entries:
        where = entry.part.device
        if entry.flattened_from and where.type != device.type:
            raise ConfigError.of(
                "device",
                f"is {device}, but FSDP1 has {entry.name} on {where}",
                f"give device={where.type!r}: what is no shard is put where FSDP1 computes",
            )


def move_whole_tensors(entries: Sequence[ModuleTensor]) -> None:
    """Moves what is no shard to the current GPU, of a module whose shards are in host memory.

    FSDP2 and FSDP1 want buffers there where they offload parameters. Objects, and storage that
    they share, stay as they are.

    Raises MemoryError.
    """
    device = torch.device("cuda", torch.cuda.current_device())
    moved: dict[int, torch.UntypedStorage] = {}
    for entry in entries:
        tensor = entry.tensor
        if entry.shard is not None or tensor.device == device:
            continue
        storage = tensor.untyped_storage()
        there = moved.get(storage._cdata)
        if there is None:
            try:
                there = moved[storage._cdata] = storage.to(device=device)
            except torch.OutOfMemoryError as error:
                raise MemoryError(str(error)) from error
        whole = torch.empty(0, dtype=tensor.dtype, device=device)
        tensor.data = whole.set_(there, tensor.storage_offset(), tensor.shape, tensor.stride())


def has_shards_of_gpus(entries: Sequence[ModuleTensor]) -> bool:
    """Whether some DTensor is sharded over a mesh of GPUs: alike on all ranks."""
    return any(
        _device_type(entry.tensor) == "cuda" for entry in entries if is_sharded(entry.tensor)
    )


def _device_type(dtensor: Any) -> str:
    of_mesh: str = dtensor.device_mesh.device_type
    return of_mesh


def apply_shard(shard: Callable[[nn.Module], Any], module: nn.Module) -> nn.Module:
    """What `shard` makes of a module on meta: itself, or another that it returns."""
    made = shard(module)
    if made is None:
        return module
    if not isinstance(made, nn.Module):
        raise BuildError.of(
            "shard", f"returned a {type(made).__name__}", "return a torch.nn.Module, or None"
        )
    return made
