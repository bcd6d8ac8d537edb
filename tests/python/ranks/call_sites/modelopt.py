"""How the DMD2 recipe of NVIDIA's Model-Optimizer gets its fake score, and what it then does."""

from __future__ import annotations

import functools
import pathlib

import torch
from call_sites.wan import prediction
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import nn
from torch.distributed.algorithms._checkpoint import checkpoint_wrapper as wrapping


def load_transformer(pipeline: pathlib.Path) -> nn.Module:
    return WanTransformer3DModel.from_pretrained(
        pipeline, subfolder="transformer", torch_dtype=torch.bfloat16, low_cpu_mem_usage=True
    )


def checkpoint_activations(transformer: nn.Module) -> nn.Module:
    """What the recipe's parallelizer does to names before it shards."""
    wrapping.apply_activation_checkpointing(
        transformer,
        checkpoint_wrapper_fn=functools.partial(
            wrapping.checkpoint_wrapper, checkpoint_impl=wrapping.CheckpointImpl.NO_REENTRANT
        ),
        check_fn=lambda part: isinstance(part, WanTransformerBlock),
    )
    return transformer


def load_fake_score(pipeline: pathlib.Path) -> nn.Module:
    """On every rank: a third copy, trainable."""
    fake_score = checkpoint_activations(load_transformer(pipeline))
    fake_score.train()
    for parameter in fake_score.parameters():
        parameter.requires_grad_(True)
    return fake_score


def train(fake_score: nn.Module, steps: int = 4) -> list[torch.Tensor]:
    """The phases of the recipe. The first is the student's, in which the fake score is frozen."""
    optimizer = torch.optim.AdamW(
        [parameter for parameter in fake_score.parameters() if parameter.requires_grad], lr=1e-3
    )
    outputs = []
    for step in range(steps):
        if step % 2 == 0:
            fake_score.eval().requires_grad_(False)
            with torch.no_grad():
                outputs.append(prediction(fake_score))
            continue
        fake_score.train().requires_grad_(True)
        output = prediction(fake_score)
        output.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        outputs.append(output.detach())
    return outputs
