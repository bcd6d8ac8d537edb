"""How Self-Forcing and CausVid load their models: in the constructor of a wrapper."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy


class FlowMatchScheduler:
    """No module."""

    def __init__(self, shift: float) -> None:
        self.shift = shift

    def set_timesteps(self, steps: int) -> None:
        sigmas = torch.linspace(1.0, 0.0, steps + 1)[:-1]
        self.sigmas = self.shift * sigmas / (1 + (self.shift - 1) * sigmas)
        self.timesteps = self.sigmas * 1000
        weighing = torch.exp(-2 * ((self.timesteps - 500) / 1000) ** 2)
        self.linear_timesteps_weights = weighing / weighing.sum()


class BlockWithTokens(WanTransformerBlock):
    """A block with parameters that no checkpoint has."""

    def __init__(self, config: dict[str, int], width: int) -> None:
        super().__init__(
            width,
            config["ffn_dim"],
            config["num_attention_heads"],
            config["qk_norm"],
            config["cross_attn_norm"],
        )
        self.float_tokens = nn.Parameter(torch.randn(4, width) * 0.02)


class WanDiffusionWrapper(nn.Module):
    def __init__(
        self,
        folder: pathlib.Path,
        *,
        is_causal: bool = False,
        rope_max_seq_len: int = 16,
        use_float_tokens: bool = False,
    ) -> None:
        super().__init__()
        if is_causal:  # what the causal class has beyond its config
            self.model = WanTransformer3DModel.from_pretrained(
                folder, rope_max_seq_len=rope_max_seq_len
            )
        else:
            self.model = WanTransformer3DModel.from_pretrained(folder)
        if use_float_tokens:
            config = self.model.config
            width = self.model.proj_out.in_features
            for index, block in enumerate(self.model.blocks):
                with_tokens = BlockWithTokens(config, width)
                with_tokens.load_state_dict(block.state_dict(), strict=False)
                self.model.blocks[index] = with_tokens
        self.model.eval()
        self.scheduler = FlowMatchScheduler(shift=8.0)
        self.scheduler.set_timesteps(1000)


def fsdp_wrap(
    module: nn.Module, param_init_fn: Callable[[nn.Module], None] | None = None
) -> FullyShardedDataParallel:
    """As its trainer wraps each role, on CPUs, without a `param_init_fn`: its roles are real."""
    return FullyShardedDataParallel(
        module,
        auto_wrap_policy=functools.partial(
            transformer_auto_wrap_policy, transformer_layer_cls={WanTransformerBlock}
        ),
        sharding_strategy=ShardingStrategy.FULL_SHARD,
        device_id=torch.device("cpu"),
        limit_all_gathers=True,
        use_orig_params=True,
        sync_module_states=False,
        param_init_fn=param_init_fn,
    )


class DMD(nn.Module):
    """The three roles, each a copy of its own on every rank."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__()
        self.generator = WanDiffusionWrapper(folder, is_causal=True)
        self.generator.model.requires_grad_(True)
        self.real_score = WanDiffusionWrapper(folder)
        self.real_score.model.requires_grad_(False)
        self.fake_score = WanDiffusionWrapper(folder)
        self.fake_score.model.requires_grad_(True)
        steps = torch.tensor([1000, 750, 500, 250])
        timesteps = torch.cat((self.generator.scheduler.timesteps, torch.tensor([0.0])))
        self.denoising_step_list = timesteps[1000 - steps]
