"""Collective tests on emulated GPUs: torchrun starts pytest, under bin/emulate, on every rank."""

import os

import pytest
import torch
import torch.distributed as dist


def pytest_configure(config):
    if "RANK" not in os.environ or "FAKESCORE_EMULATION_DEVICES" not in os.environ:
        raise pytest.UsageError("start these with torchrun and bin/emulate: tests/python/run does")


@pytest.fixture(scope="session", autouse=True)
def process_group():
    """NCCL alone: there is no backend for CPUs, and control messages go over the store."""
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    yield
    dist.destroy_process_group()
