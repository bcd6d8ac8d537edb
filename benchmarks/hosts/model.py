"""The module that is filled, and what is in the file."""

import torch
from torch import nn

WIDTH = 2048
LAYER_BYTES = WIDTH * WIDTH * 4


def build(layers: int) -> nn.Module:
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(layers)))


def whole(layers: int) -> nn.Module:
    torch.manual_seed(7)
    return build(layers)
