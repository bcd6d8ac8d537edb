"""Builds a teacher's module from its file's header, as teacher_module.cpp does in C++."""
import json
import pathlib
import struct
from dataclasses import dataclass

import torch
from torch import nn

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "I64": torch.int64}
NOISE_SCHEDULE = "noise_schedule"
ROTARY = "rope"

Leaves = dict[str, dict]  # the tensors of a submodule, by their names in it


@dataclass(frozen=True)
class Structure:
    submodules: dict[str, Leaves]
    ties: dict[str, str]  # a name that no file holds, and the owner's
    bytes: int


def split_name(name: str) -> tuple[str, str]:
    path, _, leaf = name.rpartition(".")
    return path, leaf


def read_structure(teacher: pathlib.Path) -> Structure:
    with open(teacher, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    ties = header.pop("__metadata__", {})
    submodules: dict[str, Leaves] = {}
    for name, entry in header.items():
        path, leaf = split_name(name)
        submodules.setdefault(path, {})[leaf] = entry
    size = max(entry["data_offsets"][1] for entry in header.values())
    return Structure(submodules, ties, size)


def rotary_tables(length: int = 1024, width: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    """On the CPU, whatever the default device is."""
    wide = {"device": "cpu", "dtype": torch.float64}
    frequencies = 1.0 / 10000 ** (torch.arange(0, width, 2, **wide) / width)
    angles = torch.outer(torch.arange(length, **wide), frequencies).repeat_interleave(2, 1)
    return angles.cos().float(), angles.sin().float()


class RotaryTables(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        device = torch.get_default_device()
        for name, table in zip(("freqs_cos", "freqs_sin"), rotary_tables()):
            self.register_buffer(name, table.to(device), persistent=False)

    def reset(self) -> None:
        self.freqs_cos, self.freqs_sin = rotary_tables()


def known_layer(leaves: Leaves) -> nn.Module | None:
    """A module of torch.nn that has exactly these tensors."""
    if "weight" not in leaves or not leaves.keys() <= {"weight", "bias"}:
        return None
    sizes, bias = leaves["weight"]["shape"], "bias" in leaves
    dtype = DTYPES[leaves["weight"]["dtype"]]
    if len(sizes) == 2:
        return nn.Linear(sizes[1], sizes[0], bias, dtype=dtype)
    if len(sizes) == 5:
        return nn.Conv3d(sizes[1], sizes[0], sizes[2:], sizes[2:], bias=bias, dtype=dtype)
    if len(sizes) == 1 and bias:
        return nn.LayerNorm(sizes, dtype=dtype)
    return None


class TeacherModule(nn.Module):
    def __init__(self, structure: Structure) -> None:
        super().__init__()
        self.ties = structure.ties
        self.paths: dict[str, nn.Module] = {"": self}
        for path, leaves in sorted(structure.submodules.items()):
            layer = known_layer(leaves)
            if layer is not None:
                self.attach(path, layer)
            else:
                self.add_tensors(self.at(path), leaves)
        for alias in self.ties:
            self.at(split_name(alias)[0])
        self.tie()
        self.attach(ROTARY, RotaryTables())
        del self.paths

    def add_tensors(self, module: nn.Module, leaves: Leaves) -> None:
        for name, entry in leaves.items():
            value = torch.zeros(entry["shape"], dtype=DTYPES[entry["dtype"]])
            if value.is_floating_point() and name != NOISE_SCHEDULE:
                module.register_parameter(name, nn.Parameter(value))
            else:
                module.register_buffer(name, value)

    def attach(self, path: str, module: nn.Module) -> None:
        parent, name = split_name(path)
        self.at(parent).add_module(name, module)
        self.paths[path] = module

    def at(self, path: str) -> nn.Module:
        if path not in self.paths:
            self.attach(path, nn.Module())
        return self.paths[path]

    def tie(self) -> None:
        for alias, owner in self.ties.items():
            path, name = split_name(alias)
            setattr(self.get_submodule(path), name, self.get_parameter(owner))

    def reset_buffers(self) -> None:
        self.get_submodule(ROTARY).reset()


def build(structure: Structure, device: str) -> TeacherModule:
    with torch.device(device):
        return TeacherModule(structure)
