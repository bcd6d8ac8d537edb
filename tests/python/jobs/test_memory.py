"""What memory a rank needs to fill its shards, by the kernel's own counts."""

import json
import pathlib

import pytest
from memory_rank import DEPTH, MODEL_BYTES, WAYS, value_of
from safetensors.torch import save_file

from support import run_python

SCRIPT = pathlib.Path(__file__).with_name("memory_rank.py")
#: Exchanges have so much of whole tensors on its way.
BUCKETS = 4 * (8 << 20)
#: Of memory that the ranks share: what the source sends to all others together.
RINGS = 8 << 20
#: Objects of Python, what malloc rounds up, and pages that the kernel counts in batches.
SLACK = 4 << 20


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("memory") / "teacher.safetensors"
    save_file({f"{layer}.weight": value_of(layer) for layer in range(DEPTH)}, path)
    yield str(path)
    path.unlink()


@pytest.fixture(scope="module", params=[2, 4])
def growths(request, teacher, tmp_path_factory):
    """Of each rank, by way."""
    results = tmp_path_factory.mktemp("results")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
    run_python(*torchrun, request.param, SCRIPT, teacher, results)
    return [json.loads((results / f"{rank}.json").read_text()) for rank in range(request.param)]


def sent_and_received(read, rank, ranks):
    """Of the buckets on their way: others receive their own parts alone."""
    if read == "all":
        return 0
    return BUCKETS if rank == 0 else BUCKETS // ranks


def pages_of_files(read, dim, rank):
    """That the rank has mapped: they take no memory that the kernel cannot have back at once."""
    if read == "root":
        return BUCKETS if rank == 0 else 0
    # Rows are read into place. Columns are copied from a mapping, which lasts until the call ends.
    return 0 if dim == 0 else MODEL_BYTES


def shared_memory(read, rank, ranks):
    """Pages of the source's, which a rank that receives counts as well as the source does."""
    if read == "all":
        return 0
    return RINGS if rank == 0 else RINGS // (ranks - 1)


@pytest.mark.parametrize("way", range(len(WAYS)), ids=lambda way: "-".join(map(str, WAYS[way])))
def test_a_rank_holds_its_shards_and_the_buckets_on_their_way(growths, way):
    ranks = len(growths)
    shards = MODEL_BYTES // ranks
    read, dim = WAYS[way]
    for rank, growth in enumerate(own[way] for own in growths):
        assert (growth["rank"], growth["read"], growth["dim"]) == (rank, read, dim)
        assert growth["right"], growth
        bound = shards + sent_and_received(read, rank, ranks) + SLACK
        assert growth["anonymous peak"] <= bound, growth
        # malloc may keep what buckets took, of this call or of one before, and use it again.
        assert shards // 2 < growth["anonymous after"] <= bound, growth
        mapped = pages_of_files(read, dim, rank) + shared_memory(read, rank, ranks)
        assert growth["resident peak"] <= bound + mapped, growth
