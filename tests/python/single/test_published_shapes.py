"""Published models at their full size, by diffusers' own constructors: shapes, and no memory."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator

import diffusers
import pytest
import torch
from torch import nn

import fakescore
from fakescore.tensors import registered_tensors, unregistered_tensors
from support import MODELS

MANIFESTS = sorted((MODELS.parent / "manifests").glob("*.json"))
#: For the objects of a module and what is recorded; the smallest model's weights are 143 MB.
OBJECTS = 64e6


def status_bytes(field: str) -> int:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field + ":"))


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """What is done within has a peak not far above what was taken before."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    before = status_bytes("VmRSS")
    yield
    assert status_bytes("VmHWM") - before < OBJECTS


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def parameters_of(module: nn.Module) -> list[list[object]]:
    return [[name, list(parameter.shape)] for name, parameter in module.named_parameters()]


def buffers_of(module: nn.Module) -> list[list[object]]:
    state = module.state_dict()
    return [
        [name, list(buffer.shape), short(buffer.dtype), name in state]
        for name, buffer in module.named_buffers()
    ]


def class_of(manifest: dict) -> type[nn.Module]:
    """Found, and so imported, before memory is looked at."""
    kind: type[nn.Module] = getattr(diffusers, manifest["class"])
    return kind


@pytest.fixture(params=MANIFESTS, ids=lambda path: path.stem)
def manifest(request) -> dict:
    return json.loads(request.param.read_text())


def test_all_manifests_are_there():
    assert len(MANIFESTS) == 10


def test_names_and_shapes_are_the_published_ones_and_take_no_memory(manifest):
    kind = class_of(manifest)
    with little_memory(), fakescore.meta_init():
        module = kind(**manifest["config"])
    assert parameters_of(module) == manifest["parameters"]
    assert buffers_of(module) == manifest["buffers"]
    assert all(tensor.is_meta for tensor in module.state_dict().values())
    assert {short(parameter.dtype) for parameter in module.parameters()} == {"float32"}
    assert sum(parameter.numel() for parameter in module.parameters()) == manifest["numel"]
    persistent = [buffer[0] for buffer in manifest["buffers"] if buffer[3]]
    ties = [name for names in manifest["tied"] for name in names[1:]]
    names = {name for name, _ in manifest["parameters"]} | set(persistent) | set(ties)
    assert module.state_dict().keys() == names
    registered = registered_tensors(module)
    assert {entry.name for entry in registered} >= names
    plain = [
        [entry.name, list(entry.tensor.shape), short(entry.tensor.dtype)]
        for entry in unregistered_tensors(module, registered)
        if entry.tensor.is_meta
    ]
    assert plain == manifest["plain_tensors"]
    assert 4 * manifest["numel"] > 2 * OBJECTS


def folder_of(path: pathlib.Path, manifest: dict) -> pathlib.Path:
    """What `from_pretrained` sees of a published model, without its weights."""
    config = {"_class_name": manifest["class"], **manifest["config"]}
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_from_pretrained_gives_the_published_dtypes(manifest, tmp_path):
    folder = folder_of(tmp_path, manifest)
    kind = class_of(manifest)
    with little_memory(), fakescore.meta_init():
        module = kind.from_pretrained(folder, torch_dtype=torch.bfloat16)
    assert parameters_of(module) == manifest["parameters"]
    in_fp32 = {name for name, p in module.named_parameters() if p.dtype == torch.float32}
    assert in_fp32 == set(manifest["fp32_parameters"])
    assert {p.dtype for p in module.parameters()} <= {torch.bfloat16, torch.float32}
    assert not module.training
