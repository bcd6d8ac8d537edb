import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hosts import linked_hosts


@pytest.fixture
def hosts(tmp_path):
    with linked_hosts(tmp_path) as pair:
        yield pair


@pytest.fixture
def teacher(tmp_path):
    torch.manual_seed(7)
    layers = nn.Sequential(*(nn.Linear(1024, 1024, bias=False) for _ in range(8)))
    save_file(layers.state_dict(), str(tmp_path / "teacher.safetensors"))
    return str(tmp_path / "teacher.safetensors")
