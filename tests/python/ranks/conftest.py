"""These tests are collective: torchrun starts pytest on every rank."""

import os

import pytest
import torch.distributed as dist


def pytest_configure(config):
    if "RANK" not in os.environ:
        raise pytest.UsageError("start these with torchrun: tests/python/run does")


@pytest.fixture(scope="session", autouse=True)
def process_group():
    dist.init_process_group("gloo")
    yield
    dist.destroy_process_group()


@pytest.fixture
def last():
    """The last rank of the job."""
    return dist.get_world_size() - 1


@pytest.fixture
def several(world_size):
    if world_size == 1:
        pytest.skip("needs a second rank")
