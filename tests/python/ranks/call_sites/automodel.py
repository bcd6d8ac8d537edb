"""How NVIDIA's Automodel loads what it trains: whole on every rank, and only then in shards."""

from __future__ import annotations

import pathlib

import torch
import torch.distributed as dist
from diffusers import WanTransformer3DModel
from peft import LoraConfig
from torch import nn
from torch.distributed.algorithms._checkpoint import checkpoint_wrapper as wrapping
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module


def load_transformer(pipeline: pathlib.Path, dtype: torch.dtype) -> nn.Module:
    """What its pipeline does up to the sharding, without the other parts of the pipeline."""
    transformer = WanTransformer3DModel.from_pretrained(
        pipeline, subfolder="transformer", torch_dtype=dtype
    )
    transformer.to(dtype=dtype)  # and with it what diffusers keeps in float32
    return transformer.requires_grad_(True)


def load_with_adapters(pipeline: pathlib.Path, dtype: torch.dtype) -> nn.Module:
    """In one dtype with the base, for FSDP2 has one in each unit."""
    transformer = load_transformer(pipeline, dtype)
    transformer.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v"]))
    return transformer.to(dtype=dtype)


class Manager:
    """Shards as its strategy for Wan does, over a mesh of three dimensions."""

    def __init__(self, dtype: torch.dtype, tp_size: int = 1) -> None:
        self._mesh = init_device_mesh(
            "cpu",
            (1, dist.get_world_size() // tp_size, tp_size),
            mesh_dim_names=("dp_replicate", "dp_shard_cp", "tp"),
        )
        self._policy = MixedPrecisionPolicy(
            param_dtype=dtype, reduce_dtype=torch.float32, output_dtype=dtype
        )

    def checkpoint_activations(self, transformer: nn.Module) -> nn.Module:
        for index, block in enumerate(transformer.blocks):
            transformer.blocks[index] = wrapping.checkpoint_wrapper(
                block, checkpoint_impl=wrapping.CheckpointImpl.NO_REENTRANT
            )
        return transformer

    def parallelize(self, transformer: nn.Module) -> nn.Module:
        if self._mesh["tp"].size() > 1:
            for block in transformer.blocks:
                block.ffn = parallelize_module(
                    block.ffn,
                    self._mesh["tp"],
                    {"net.0.proj": ColwiseParallel(), "net.2": RowwiseParallel()},
                )
        self.checkpoint_activations(transformer)
        *others, last = transformer.blocks
        for block in others:
            self._fully_shard(block, reshard_after_forward=True)
        # FSDP2 would gather it again at once.
        self._fully_shard(last, reshard_after_forward=False)
        return self._fully_shard(transformer, reshard_after_forward=False)

    def _fully_shard(self, module: nn.Module, reshard_after_forward: bool) -> nn.Module:
        return fully_shard(
            module,
            mesh=self._mesh["dp_replicate", "dp_shard_cp"],
            mp_policy=self._policy,
            reshard_after_forward=reshard_after_forward,
        )
