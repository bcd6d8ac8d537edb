"""What of a module is not as `from_pretrained` has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.distributed.tensor import DTensor

PARTS = ("weights", "buffers", "ties", "attributes")
#: What is looked at, by the name of what is wrong with it first; empty where all is right.
Findings = dict[str, str]


def findings(module: nn.Module, reference: nn.Module) -> Findings:
    got, want = _parameters(module), _parameters(reference)
    got_buffers, want_buffers = _buffers(module), _buffers(reference)
    return {
        "weights": _first_difference(got, want),
        "buffers": _first_difference(got_buffers, want_buffers),
        "ties": _first_untied({**got, **got_buffers}, {**want, **want_buffers}),
        "attributes": _first_difference(dict(_attributes(module)), dict(_attributes(reference))),
    }


def _parameters(module: nn.Module) -> dict[str, torch.Tensor]:
    return dict(module.named_parameters(remove_duplicate=False))


def _buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    return dict(module.named_buffers(remove_duplicate=False))


def _attributes(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors that are neither parameters nor buffers."""
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor):
                yield f"{prefix}.{name}".lstrip("."), value


def _first_difference(got: Mapping[str, torch.Tensor], want: Mapping[str, torch.Tensor]) -> str:
    for name in [*want, *got]:
        if name not in got or name not in want or not _same_bits(got[name], want[name]):
            return name
    return ""


def _same_bits(got: torch.Tensor, want: torch.Tensor) -> bool:
    if isinstance(got, DTensor) and got.shape == want.shape:
        (chunk,) = got.__create_chunk_list__()
        bounds = zip(chunk.offsets, chunk.sizes, strict=True)
        return _same_bits(
            got.to_local(), want[tuple(slice(begin, begin + size) for begin, size in bounds)]
        )
    return (
        got.device == want.device
        and got.dtype == want.dtype
        and got.shape == want.shape
        and torch.equal(_bits(got), _bits(want))
    )


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def _first_untied(got: Mapping[str, torch.Tensor], want: Mapping[str, torch.Tensor]) -> str:
    """The first name that is one object with an earlier one on one side alone."""
    got_owners, want_owners = _owners(got), _owners(want)
    return next((name for name in want if got_owners.get(name) != want_owners[name]), "")


def _owners(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """For each name the first name of the same object."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in tensors.items()}
