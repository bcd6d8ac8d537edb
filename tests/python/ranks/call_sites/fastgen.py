"""How NVIDIA's FastGen builds teacher and fake score: real on rank 0, on meta elsewhere."""

from __future__ import annotations

import contextlib
import copy
import pathlib

import torch
import torch.distributed as dist
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard


class NoiseSchedule:
    """No module, and its tensor is no buffer."""

    def __init__(self) -> None:
        self._sigmas = torch.linspace(0.002**0.5, 80**0.5, 11) ** 2


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.noise_scheduler = NoiseSchedule()

    @staticmethod
    def _is_in_meta_context() -> bool:
        return nn.Parameter(torch.empty(0)).device.type == "meta"

    def reset_parameters(self) -> None:
        self.noise_scheduler = NoiseSchedule()


class Wan(Network):
    def __init__(self, pipeline: pathlib.Path) -> None:
        super().__init__()
        if self._is_in_meta_context():
            config = WanTransformer3DModel.load_config(pipeline, subfolder="transformer")
            self.transformer = WanTransformer3DModel.from_config(config)
        else:
            self.transformer = WanTransformer3DModel.from_pretrained(
                pipeline, subfolder="transformer", local_files_only=True
            )
        width = self.transformer.proj_out.in_features
        self.transformer.logvar_linear = nn.Linear(width, 1)
        self.transformer.r_embedder = self.init_embedder()
        self.logvar = nn.Parameter(torch.zeros(1))  # FSDP2 takes no parameter without a dimension
        self.transformer.enable_gradient_checkpointing()

    def init_embedder(self) -> nn.Module:
        embedder = copy.deepcopy(self.transformer.condition_embedder)
        del embedder.text_embedder
        if not self._is_in_meta_context():
            nn.init.zeros_(embedder.time_proj.weight)
            nn.init.zeros_(embedder.time_proj.bias)
        return embedder

    def fully_shard(self, mesh: DeviceMesh, mp_policy: MixedPrecisionPolicy) -> None:
        """Not of itself: FSDP2 gives what it shards another class, and this one's is abstract."""
        for block in self.transformer.blocks:
            fully_shard(block, mesh=mesh, mp_policy=mp_policy)
        fully_shard(self.transformer, mesh=mesh, mp_policy=mp_policy)

    def reset_parameters(self) -> None:
        """Of what `to_empty` left as garbage, what no state dict holds."""
        config = self.transformer.config
        rope = WanRotaryPosEmbed(
            config.attention_head_dim, config.patch_size, config.rope_max_seq_len
        )
        with torch.no_grad():
            self.transformer.rope.freqs_cos.copy_(rope.freqs_cos)
            self.transformer.rope.freqs_sin.copy_(rope.freqs_sin)
        super().reset_parameters()


def meta_on_other_ranks() -> contextlib.AbstractContextManager[object]:
    return contextlib.nullcontext() if dist.get_rank() == 0 else torch.device("meta")


def build_fake_score(pipeline: pathlib.Path, teacher: Wan) -> Wan:
    with meta_on_other_ranks():
        fake_score = Wan(pipeline)
    if dist.get_rank() == 0:
        fake_score.load_state_dict(teacher.state_dict())
    dist.barrier()
    return fake_score


def cast_and_shard(net: Wan, precision: torch.dtype) -> None:
    """The first part of its `model_to_fsdp`."""
    net.to(dtype=precision)
    net.fully_shard(
        mesh=init_device_mesh("cpu", (dist.get_world_size(),)),
        mp_policy=MixedPrecisionPolicy(
            param_dtype=precision, reduce_dtype=torch.float32, cast_forward_inputs=False
        ),
    )


def state_dict_of_rank_0(net: Wan) -> dict[str, torch.Tensor]:
    return copy.deepcopy(net.state_dict()) if dist.get_rank() == 0 else {}


def fill_from_rank_0(net: Wan, state_dict: dict[str, torch.Tensor]) -> None:
    """The last part of its `model_to_fsdp`."""
    net.to_empty(device="cpu")
    net.reset_parameters()
    set_model_state_dict(
        net,
        state_dict,
        options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True),
    )


def load_checkpoint(net: Wan, path: pathlib.Path) -> None:
    """A checkpoint of before parameters without a dimension got one."""
    state_dict = torch.load(path, weights_only=True, map_location="cpu")
    for name, value in state_dict.items():
        if value.ndim == 0:
            state_dict[name] = value.unsqueeze(0)
    net.load_state_dict(state_dict, strict=False)
