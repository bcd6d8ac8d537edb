import os
import pathlib
import sys

import pytest
import torch.distributed as dist

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from support import end_process


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    session.config.status_of_rank = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    if "RANK" in os.environ and hasattr(config, "status_of_rank"):
        end_process(config.status_of_rank)


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
