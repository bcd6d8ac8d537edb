"""The teachers: one that is measured, and small ones that have what is easily got wrong."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel, WanTransformer3DModel
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

GIGABYTE = 10**9

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

    def from_pretrained(self) -> nn.Module:
        module: nn.Module = self.cls.from_pretrained(self.folder)
        return module

    def from_config(self) -> nn.Module:
        if self.cls is LlamaForCausalLM:
            return LlamaForCausalLM(LlamaConfig.from_pretrained(self.folder))
        module: nn.Module = self.cls.from_config(self.cls.load_config(self.folder))
        return module

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def file(self) -> pathlib.Path:
        (file,) = self.folder.glob("*.safetensors")
        return file


def measured(folder: pathlib.Path) -> Teacher:
    """Wan 2.1's shapes in float32; its rotary tables are buffers that no file holds."""
    return Teacher(_Wan, folder / "Wan")


def small(folder: pathlib.Path) -> tuple[Teacher, ...]:
    """Llama has its embeddings tied, Qwen-Image its rotary tables in plain attributes."""
    return (
        Teacher(LlamaForCausalLM, folder / "Llama"),
        Teacher(QwenImageTransformer2DModel, folder / "Qwen-Image"),
    )


def write(folder: pathlib.Path, gigabytes: float) -> None:
    """Writes all teachers, with random weights."""
    wan = measured(folder)
    _save(wan, wan.cls(**_WAN_1_3B, num_layers=_blocks(gigabytes)))
    llama, qwen_image = small(folder)
    _save(llama, llama.cls(LlamaConfig(**_SMALL_LLAMA)))
    _save(qwen_image, qwen_image.cls(**_SMALL_QWEN_IMAGE))


def _blocks(gigabytes: float) -> int:
    """How many blocks make about as many bytes; at least one."""
    one, two = (_bytes_with(blocks) for blocks in (1, 2))
    return max(1, 1 + round((gigabytes * GIGABYTE - one) / (two - one)))


def _bytes_with(blocks: int) -> int:
    with torch.device("meta"):
        module = _Wan(**_WAN_1_3B, num_layers=blocks)
    return sum(parameter.nbytes for parameter in module.parameters())


def _save(teacher: Teacher, module: Any) -> None:
    # Biases of zeros and norms of ones would be right by chance in memory that nobody wrote.
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.02)
    module.save_pretrained(teacher.folder, max_shard_size="1TB")
