"""How LightX2V's trainer loads student, fake score and teacher, and how it adds adapters."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import torch
from diffusers import WanTransformer3DModel
from peft import LoraConfig
from torch import nn


class WanModel:
    """No module: it holds one."""

    def __init__(self, load_transformer: Callable[[pathlib.Path], nn.Module]) -> None:
        self._load_transformer = load_transformer

    @classmethod
    def from_pretrained(cls, pipeline: pathlib.Path, load: Callable[..., nn.Module]) -> WanModel:
        model = cls(load)
        model.transformer = model._load_transformer(pipeline)
        return model

    def add_lora(self, rank: int = 4) -> None:
        self.transformer.add_adapter(
            LoraConfig(
                r=rank,
                lora_alpha=rank,
                init_lora_weights="gaussian",
                target_modules=["to_q", "to_k", "to_v", "to_out.0"],
            )
        )

    def set_lora_trainable(self) -> None:
        self.transformer.requires_grad_(False)
        self.transformer.train()
        for name, parameter in self.transformer.named_parameters():
            parameter.requires_grad = "lora" in name

    def set_full_trainable(self) -> None:
        self.transformer.requires_grad_(True)
        self.transformer.train()


def load_transformer(pipeline: pathlib.Path) -> nn.Module:
    """On every rank."""
    return WanTransformer3DModel.from_pretrained(
        pipeline, subfolder="transformer", torch_dtype=torch.bfloat16
    )
