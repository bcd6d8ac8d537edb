"""The teachers: ones that are measured, and small ones that have what is easily got wrong."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from diffusers import QwenImageTransformer2DModel, WanTransformer3DModel
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

GIGABYTE = 10**9

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_Wan: Any = WanTransformer3DModel  # its constructor has no types
_SMALL_LLAMA: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
_SMALL_QWEN_IMAGE = {
    "in_channels": 16,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "axes_dims_rope": (4, 6, 6),
}
_LLAMA_1_1B: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
}
_WAN_1_3B = {
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
}


@dataclass(frozen=True)
class Teacher:
    """A folder that `save_pretrained` wrote, and its class."""

    cls: Any
    folder: pathlib.Path
    dtype: torch.dtype = torch.float32

    def from_pretrained(self) -> nn.Module:
        return self._of_one_dtype(self.cls.from_pretrained(self.folder, torch_dtype=self.dtype))

    def from_config(self) -> nn.Module:
        if self.is_of_transformers:
            config = LlamaConfig.from_pretrained(self.folder)
            module: nn.Module = LlamaForCausalLM._from_config(config, dtype=self.dtype)
            return module
        return self._of_one_dtype(self.cls.from_config(self.cls.load_config(self.folder)))

    def _of_one_dtype(self, module: nn.Module) -> nn.Module:
        # diffusers keeps some of Wan's in float32; a unit of FSDP2's has one dtype.
        as_it_is = self.is_of_transformers or self.dtype is torch.float32
        return module if as_it_is else module.to(self.dtype)

    @property
    def is_of_transformers(self) -> bool:
        return self.cls is LlamaForCausalLM

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def file(self) -> pathlib.Path:
        (file,) = self.folder.glob("*.safetensors")
        return file


class Model(NamedTuple):
    """What can be measured: a class, and how to make one of so many blocks."""

    cls: Any
    folder: str
    with_blocks: Callable[[int], Any]


MODELS = {
    # Wan 2.1's shapes; its rotary tables are buffers that no file holds.
    "wan": Model(_Wan, "Wan", lambda blocks: _Wan(**_WAN_1_3B, num_layers=blocks)),
    # TinyLlama's.
    "llama": Model(
        LlamaForCausalLM,
        "Llama-measured",
        lambda blocks: LlamaForCausalLM(LlamaConfig(**_LLAMA_1_1B, num_hidden_layers=blocks)),
    ),
}


def measured(folder: pathlib.Path, model: str, dtype: str) -> Teacher:
    return Teacher(MODELS[model].cls, folder / MODELS[model].folder, DTYPES[dtype])


def small(folder: pathlib.Path) -> tuple[Teacher, ...]:
    """Llama has its embeddings tied, Qwen-Image its rotary tables in plain attributes."""
    return (
        Teacher(LlamaForCausalLM, folder / "Llama"),
        Teacher(QwenImageTransformer2DModel, folder / "Qwen-Image"),
    )


def write(folder: pathlib.Path, model: str, dtype: str, gigabytes: float) -> None:
    """Writes one that is measured, and the small ones, with random weights."""
    teacher = measured(folder, model, dtype)
    with_blocks = MODELS[model].with_blocks
    _save(teacher, with_blocks(_blocks(with_blocks, teacher.dtype, gigabytes)).to(teacher.dtype))
    llama, qwen_image = small(folder)
    _save(llama, llama.cls(LlamaConfig(**_SMALL_LLAMA)))
    _save(qwen_image, qwen_image.cls(**_SMALL_QWEN_IMAGE))


def _blocks(with_blocks: Callable[[int], Any], dtype: torch.dtype, gigabytes: float) -> int:
    """How many blocks make about as many bytes; at least one."""
    one, two = (_parameters_in(with_blocks, blocks) * dtype.itemsize for blocks in (1, 2))
    return max(1, 1 + round((gigabytes * GIGABYTE - one) / (two - one)))


def _parameters_in(with_blocks: Callable[[int], Any], blocks: int) -> int:
    with torch.device("meta"):
        module = with_blocks(blocks)
    return sum(parameter.numel() for parameter in module.parameters())


def _save(teacher: Teacher, module: Any) -> None:
    # Biases of zeros and norms of ones would be right by chance in memory that nobody wrote.
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.02)
    module.save_pretrained(teacher.folder, max_shard_size="1TB")
