"""Modules that FSDP1 is to shard: filled before, and refused after."""

import functools

import pytest
import torch
from torch.distributed.fsdp import FullyShardedDataParallel

import fakescore
from support import TIMEOUT, Net, differences, seeded

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Multiple backends")

CPU = torch.device("cpu")
create = functools.partial(fakescore.create_fake_score_meta, timeout=TIMEOUT, device="cpu")


def test_a_module_that_is_filled_on_cpus_is_wrapped_afterwards(rank):
    fake_score = create(Net, seeded() if rank == 0 else None)
    ids = torch.arange(6).reshape(2, 3)
    wrapped = FullyShardedDataParallel(fake_score, device_id=CPU, use_orig_params=True)
    with torch.no_grad():
        assert torch.equal(wrapped(ids), seeded()(ids))
    with FullyShardedDataParallel.summon_full_params(wrapped):
        assert differences(wrapped.module, seeded()) == []


@pytest.mark.parametrize("use_orig_params", [True, False])
def test_a_module_that_is_wrapped_is_refused(rank, use_orig_params):
    def shard(module):
        return FullyShardedDataParallel(
            module,
            param_init_fn=lambda part: part.to_empty(device="cpu", recurse=False),
            device_id=CPU,
            use_orig_params=use_orig_params,
        )

    with pytest.raises(fakescore.ConfigError, match=r"module: is wrapped by FSDP1.*device='cpu'"):
        create(Net, seeded() if rank == 0 else None, shard=shard)
