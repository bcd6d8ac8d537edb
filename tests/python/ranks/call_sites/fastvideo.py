"""How FastVideo loads a transformer: other names than the file's, merges, and new parameters."""

from __future__ import annotations

import contextlib
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

Mapping = dict[str, str | tuple[str, int, int]]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)
        self.to_gate_compress = nn.Linear(width, width)
        nn.init.zeros_(self.to_gate_compress.weight)
        nn.init.zeros_(self.to_gate_compress.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.to_qkv(x).chunk(3, -1)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.to_out(attended) + self.to_gate_compress(x)


class VideoTransformer(nn.Module):
    #: A pattern for `re.match`, and a name, or a name, the number of the part and of how many.
    param_names_mapping: Mapping = {  # noqa: RUF012
        r"^transformer_blocks\.(\d+)\.attn\.to_q\.(.*)$": (r"blocks.\1.to_qkv.\2", 0, 3),
        r"^transformer_blocks\.(\d+)\.attn\.to_k\.(.*)$": (r"blocks.\1.to_qkv.\2", 1, 3),
        r"^transformer_blocks\.(\d+)\.attn\.to_v\.(.*)$": (r"blocks.\1.to_qkv.\2", 2, 3),
        r"^transformer_blocks\.(\d+)\.attn\.to_out\.0\.(.*)$": r"blocks.\1.to_out.\2",
        r"^x_embedder\.(.*)$": r"patch_embedding.\1",
    }

    def __init__(self, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.patch_embedding = nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.proj_out = nn.Linear(width, width)
        self.register_buffer("freqs", torch.empty(width), persistent=False)
        self.materialize_non_persistent_buffers()

    def materialize_non_persistent_buffers(self) -> None:
        width = self.proj_out.in_features
        self.freqs = (torch.arange(width, dtype=torch.float32) / width).cos().to(self.freqs.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embedding(x) * self.freqs
        for block in self.blocks:
            x = block(x)
        return self.proj_out(x)


def published_names(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of the transformer as diffusers has it: parts apart, and no new parameters."""
    published = {}
    for name, value in state_dict.items():
        if "gate_compress" in name:
            continue
        there = re.sub(r"^blocks\.(\d+)\.", r"transformer_blocks.\1.attn.", name)
        there = there.replace("to_out", "to_out.0").replace("patch_embedding", "x_embedder")
        if "to_qkv" not in there:
            published[there] = value.clone()
            continue
        for part, chunk in zip("qkv", value.chunk(3), strict=True):
            published[there.replace("to_qkv", f"to_{part}")] = chunk.clone()
    return published


def mapped_name(mapping: Mapping, name: str) -> tuple[str, int | None, int | None]:
    """The first pattern that matches counts."""
    for pattern, replacement in mapping.items():
        if not re.match(pattern, name):
            continue
        if isinstance(replacement, str):
            return re.sub(pattern, replacement, name), None, None
        target, index, count = replacement
        return re.sub(pattern, target, name), index, count
    return name, None, None


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def load(files: list[pathlib.Path], dtype: torch.dtype) -> VideoTransformer:
    """On every rank: on meta, then the whole checkpoint to the host, then tensor by tensor."""
    with default_dtype(dtype), torch.device("meta"):
        model = VideoTransformer()
    parts: dict[str, dict[int, torch.Tensor]] = {}
    filled: dict[str, Any] = {}
    for file in files:
        for name, value in load_file(file).items():
            target, index, count = mapped_name(model.param_names_mapping, name)
            if index is not None:
                found = parts.setdefault(target, {})
                found[index] = value
                if len(found) < (count or 0):
                    continue
                value = torch.cat([found[i] for i in range(len(found))])  # noqa: PLW2901
            filled[target] = nn.Parameter(value.to(dtype))
    for name, on_meta in model.state_dict().items():
        if name not in filled:
            assert "gate_compress" in name, f"new parameter {name} is not supported"
            filled[name] = nn.Parameter(torch.zeros(on_meta.shape, dtype=dtype))
    model.load_state_dict(filled, assign=True)
    model.materialize_non_persistent_buffers()
    return model


def key_map_of(mapping: Mapping) -> list[Callable[[str], str] | dict[str, Any]]:
    """The same mapping for fakescore: its parts get names of their own, and are then merged."""

    def part_named(name: str) -> str:
        target, index, count = mapped_name(mapping, name)
        return target if index is None else f"{target}.{index}_of_{count}"

    counts = {replacement[2] for replacement in mapping.values() if isinstance(replacement, tuple)}
    merges = {f"of_{n}": [f"{index}_of_{n}" for index in range(n)] for n in sorted(counts)}
    return [part_named, merges, {r"\.of_\d+$": ""}]
