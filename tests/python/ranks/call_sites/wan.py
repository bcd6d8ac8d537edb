"""The tiny Wan transformer of the call sites, and something to predict with it."""

from __future__ import annotations

import torch
from torch import nn

from support import MODELS

FOLDER = MODELS / "wan"


def prediction(model: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    # Some of its parameters are kept in float32.
    dtype = next(p.dtype for name, p in model.named_parameters() if "patch_embedding" in name)
    return model(
        hidden_states=torch.randn(1, 4, 3, 8, 6, generator=generator).to(dtype),
        timestep=torch.tensor([403]),
        encoder_hidden_states=torch.randn(1, 7, 64, generator=generator).to(dtype),
        return_dict=False,
    )[0]
