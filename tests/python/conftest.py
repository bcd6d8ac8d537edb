import pathlib
import sys

import pytest
import torch.distributed as dist

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(params=["key", "mode"])
def each_recorder(request, monkeypatch):
    """The test runs by both recorders of meta_init."""
    monkeypatch.setenv("FAKESCORE_RECORDER", request.param)
    return request.param


@pytest.fixture
def rank():
    """Of a collective test."""
    return dist.get_rank()


@pytest.fixture
def world_size():
    """Of a collective test."""
    return dist.get_world_size()
