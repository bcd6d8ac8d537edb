"""The example that trains with ModelOpt's DMDPipeline: our ranks, and one process of ModelOpt's."""

import json
import math
import os
import pathlib
import sys

import pytest

from support import run_python

MISSING = "is not installed: pip install -r tests/python/requirements.txt"
pytest.importorskip("modelopt", reason=f"nvidia-modelopt {MISSING}")
pytest.importorskip("sklearn", reason=f"scikit-learn {MISSING}")

#: bin/emulate of a release build, which tests/python/run names.
EMULATE = os.environ.get("FAKESCORE_EMULATE")
SCRIPT = pathlib.Path(__file__).parents[3] / "examples/python/modelopt_digits/train.py"
#: The student's turn is every fifth step, from the first one on.
STEPS = 6


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def trained(launcher, options, record, gan=0.03):
    arguments = ["--steps", STEPS, "--gan", gan, "--record", record]
    run_python(*launcher, SCRIPT, *options, *arguments)
    return json.loads(record.read_text())


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return trained(TORCHRUN, [], tmp_path_factory.mktemp("ours") / "record.json")


def test_training_is_to_the_bit_that_of_one_process_with_modelopts_copy(ours, tmp_path):
    """Losses of both ranks, and what became of every network."""
    alone = ["--one-process", "2", "--fake-score", "modelopt"]
    reference = trained([], alone, tmp_path / "record.json")
    assert ours["losses"] == reference["losses"]
    # One process has one replica of what is equal on all ranks.
    assert {name: set(digests) for name, digests in ours["replicas"].items()} == {
        name: set(digests) for name, digests in reference["replicas"].items()
    }


def test_the_first_student_step_sees_no_difference_between_teacher_and_fake_score(ours):
    for losses in ours["losses"]:
        assert losses[0]["vsd"] == 0
        assert losses[5]["vsd"] > 0


def test_every_loss_is_finite_and_of_its_ranks_own_data(ours):
    first, second = ours["losses"]
    assert [set(losses) for losses in first] == [
        {"vsd", "gan_gen"} if step % 5 == 0 else {"fake_score", "gan_disc"} for step in range(STEPS)
    ]
    for a, b in zip(first, second, strict=True):
        assert all(math.isfinite(loss) for loss in [*a.values(), *b.values()])
        assert a != b


def test_the_average_follows_the_student_and_is_not_it(ours):
    replicas = ours["replicas"]
    assert replicas["student's average"] != replicas["student"]
    assert replicas["student's average"] != replicas["fake score as made"]


def test_replicas_of_the_discriminator_are_made_equal_and_all_stay_so(ours):
    equal = {name: len(set(digests)) == 1 for name, digests in ours["replicas"].items()}
    assert equal.pop("discriminator as made") is False
    assert equal and all(equal.values())


def expect_the_same_training(sharded, whole):
    """The norm of all gradients is added up in another order, so that last bits differ."""
    made = "fake score as made"
    assert sharded["replicas"][made] == whole["replicas"][made]
    for ours, its in zip(sharded["losses"], whole["losses"], strict=True):
        assert [set(step) for step in ours] == [set(step) for step in its]
        for step, other in zip(ours, its, strict=True):
            assert all(math.isfinite(loss) for loss in step.values())
            assert step == pytest.approx(other, rel=1e-3)
    for network, distance in sharded["distances"].items():
        assert distance == pytest.approx(whole["distances"][network], rel=1e-3) != 0


def test_networks_that_fsdp2_has_sharded_train_as_whole_ones(tmp_path):
    """The fake score is made of the parts that each rank has of the teacher."""
    whole = trained(TORCHRUN, [], tmp_path / "whole.json", gan=0)
    sharded = trained(TORCHRUN, ["--fsdp2"], tmp_path / "sharded.json", gan=0)
    expect_the_same_training(sharded, whole)


@pytest.mark.skipif(EMULATE is None, reason="there is no bin/emulate: tests/run builds it")
def test_the_same_on_emulated_gpus_with_an_average_of_the_sharded_student(tmp_path):
    script = pathlib.Path(__file__).with_name("emulated_script.py")
    launcher = [*TORCHRUN, "--no-python", EMULATE, sys.executable, script]
    on_gpus = ["--device", "cuda"]
    whole = trained(launcher, on_gpus, tmp_path / "whole.json", gan=0)
    sharded = trained(launcher, [*on_gpus, "--fsdp2"], tmp_path / "sharded.json", gan=0)
    expect_the_same_training(sharded, whole)
    assert set(sharded["distances"]) == {"student", "fake score", "student's average"}
    replicas = sharded["replicas"]
    assert all(len(set(digests)) == 1 for digests in replicas.values())
    assert replicas["student's average"] != replicas["student"]
    assert replicas["student's average"] != replicas["fake score as made"]
