"""create_fake_score, with the contract of ModelOpt's."""

import pytest
import torch
from torch import nn

import fakescore
from support import differences, same_bits, seeded


def test_a_copy_trains_and_the_teacher_stays_as_it_is():
    teacher = seeded().eval().requires_grad_(False)
    fake_score = fakescore.create_fake_score(teacher)
    assert differences(fake_score, teacher) == []
    assert fake_score.training and not teacher.training
    assert all(parameter.requires_grad for parameter in fake_score.parameters())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert fake_score.head.weight is fake_score.embed.weight
    assert fake_score.embed.weight is not teacher.embed.weight


def test_without_a_copy_it_is_the_teacher_unchecked():
    teacher = seeded().eval()
    teacher.embed.weight.full_tensor = lambda: None
    assert fakescore.create_fake_score(teacher, deep_copy=False) is teacher
    assert teacher.training


@pytest.mark.parametrize("index", [0, 3])
def test_any_sharded_parameter_is_refused(index):
    teacher = seeded()
    list(teacher.parameters())[index].full_tensor = lambda: None
    with pytest.raises(RuntimeError, match=r"meta-init.*create_fake_score_meta"):
        fakescore.create_fake_score(teacher)


def test_fsdp1_and_zero3_are_refused():
    teacher = seeded()
    teacher.blocks[1]._fsdp_wrapped_module = None
    with pytest.raises(RuntimeError, match="create_fake_score_meta"):
        fakescore.create_fake_score(teacher)
    teacher = seeded()
    teacher.scale.ds_id = 1
    teacher.blocks[0].norm.weight.ds_id = 7
    with pytest.raises(fakescore.ConfigError, match=r"blocks\.0\.norm\.weight.*ZeRO-3"):
        fakescore.create_fake_score(teacher)


def test_integer_parameters_are_left_as_they_are():
    teacher = nn.Linear(2, 2)
    teacher.table = nn.Parameter(torch.arange(3), requires_grad=False)
    fake_score = fakescore.create_fake_score(teacher)
    assert not fake_score.table.requires_grad and fake_score.weight.requires_grad


def attach_capture(teacher: nn.Module) -> list:
    """As modelopt.torch.fastgen's plugins do."""
    captured: list = []
    handles = []
    for index in (0, 1):

        def hook(module, args, output, index=index):
            captured.append((index, output))

        handles.append(teacher.blocks[index].register_forward_hook(hook))
    teacher._fastgen_captured = captured
    teacher._fastgen_capture_handles = handles
    teacher._fastgen_capture_indices = [0, 1]
    return captured


def test_hooks_that_capture_features_stay_with_the_teacher():
    teacher = seeded()
    captured = attach_capture(teacher)
    teacher(torch.arange(4))
    assert len(captured) == 2 and captured[0][1].grad_fn is not None
    counted = []
    teacher.head.register_forward_pre_hook(lambda module, args: counted.append(1))
    fake_score = fakescore.create_fake_score(teacher)
    fake_score(torch.arange(4))
    assert len(captured) == 2
    assert not any(name.startswith("_fastgen") for name in fake_score.__dict__)
    assert teacher._fastgen_captured is captured
    teacher(torch.arange(4))
    assert len(captured) == 4
    assert same_bits(fake_score.mask, teacher.mask)
