"""Builders that compute with what their `from_pretrained` would have read."""

import copy

import diffusers
import pytest
import torch
from torch import nn

import fakescore
from support import MODELS, TIMEOUT, differences

FOLDER = MODELS / "unet2d"

pytestmark = pytest.mark.usefixtures("each_recorder")


def loaded():
    return diffusers.UNet2DModel.from_pretrained(FOLDER)


def create(build, teacher=None):
    return fakescore.create_fake_score_meta(build, teacher, device="cpu", timeout=TIMEOUT)


def with_copied_part():
    net = loaded()
    net.teacher_conv = copy.deepcopy(net.conv_in)
    return net


def of_part_alone():
    return nn.Sequential(copy.deepcopy(loaded().conv_in))


def with_weight_norm():
    net = loaded()
    nn.utils.parametrizations.weight_norm(net.conv_in)
    return net


def with_computed_buffer():
    net = loaded()
    net.register_buffer("mean", net.conv_out.weight.mean())
    return net


@pytest.mark.parametrize(
    ("build", "name", "teacher"),
    [
        (with_copied_part, "conv_in", None),
        (with_copied_part, "conv_in", FOLDER),
        (of_part_alone, "conv_in", FOLDER),
        (with_weight_norm, "conv_in", None),
        (with_computed_buffer, "conv_out", None),
    ],
)
def test_what_is_computed_with_them_is_an_error(build, name, teacher):
    computed = rf"computes with {name}\.(weight|bias) of UNet2DModel.*\(compute it after the fill"
    with pytest.raises(fakescore.BuildError, match=computed):
        create(build, teacher)


def test_a_part_without_the_rest_wants_a_teacher():
    with pytest.raises(fakescore.TeacherError, match="is not given"):
        create(of_part_alone)


def test_what_is_written_to_them_is_an_error_where_the_checkpoint_would_undo_it():
    def build():
        net = loaded()
        nn.init.zeros_(net.conv_out.weight)
        return net

    written = r"conv_out\.weight of UNet2DModel: is written to"
    with pytest.raises(fakescore.BuildError, match=written):
        create(build)
    with pytest.raises(fakescore.BuildError, match=written):
        fakescore.plan_fake_score(build)
    # A teacher that is given has the last word anyhow.
    assert differences(create(build, FOLDER), loaded()) == []


# torch does not know that the copies are recorded.
@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning")
def test_another_checkpoint_that_the_builder_loads_is_an_error():
    other = {name: tensor + 1 for name, tensor in loaded().state_dict().items()}

    def build():
        net = loaded()
        net.load_state_dict(other)
        return net

    with pytest.raises(fakescore.BuildError, match=r"is written to.*give a teacher"):
        create(build)


def test_a_copy_of_all_and_casts_are_filled():
    copied = create(lambda: copy.deepcopy(loaded()))
    assert differences(copied, loaded()) == []
    cast = create(lambda: loaded().to(torch.bfloat16))
    assert differences(cast, loaded().to(torch.bfloat16)) == []


def test_what_no_checkpoint_has_may_be_computed_with():
    def build():
        net = loaded()
        net.adapter = nn.Linear(4, 4)
        net.adapter_ema = copy.deepcopy(net.adapter)
        nn.init.zeros_(net.adapter.bias)
        return net

    filled = create(build)
    assert torch.equal(filled.adapter.weight, filled.adapter_ema.weight)
    assert not filled.adapter.bias.any()
    assert (
        differences(
            nn.ModuleDict({"conv": filled.conv_in}), nn.ModuleDict({"conv": loaded().conv_in})
        )
        == []
    )
