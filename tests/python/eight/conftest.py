"""Collective tests on eight ranks, on CPUs or on emulated GPUs: torchrun starts pytest on each."""

import os

import pytest
import torch
import torch.distributed as dist


def pytest_configure(config):
    if os.environ.get("WORLD_SIZE") != "8":
        raise pytest.UsageError("start these with torchrun on 8 ranks: tests/python/run does")


@pytest.fixture(scope="session", autouse=True)
def process_group():
    if "FAKESCORE_EMULATION_DEVICES" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl")
    else:
        dist.init_process_group("gloo")
    yield
    dist.destroy_process_group()
