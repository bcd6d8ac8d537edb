"""Fake score and student from one live teacher in shards, by two calls; it is left as it was."""

import functools

import pytest
import torch
from call_sites.wan import FOLDER, prediction
from diffusers import WanTransformer3DModel

import fakescore
from shards import differences, fsdp2, hybrid, step_as_whole
from support import TIMEOUT, same_bits

create = functools.partial(fakescore.create_fake_score_meta, timeout=TIMEOUT)
materialize = functools.partial(fakescore.materialize, timeout=TIMEOUT)


def load():
    return WanTransformer3DModel.from_pretrained(FOLDER)


def other_than_the_file():
    teacher = load().requires_grad_(False)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.25)
    return teacher


def state_of(teacher):
    """What a call could change of it: objects, where they lie, placements, flags and modes."""
    return {
        "parameters": {
            name: (
                id(parameter),
                parameter.to_local().data_ptr(),
                parameter.placements,
                parameter.device_mesh,
                parameter.dtype,
                parameter.requires_grad,
            )
            for name, parameter in teacher.named_parameters()
        },
        "buffers": {name: (id(b), b.data_ptr(), b.dtype) for name, b in teacher.named_buffers()},
        "training": [part.training for part in teacher.modules()],
    }


@pytest.mark.parametrize(
    ("shard_teacher", "shard_student", "dtype"),
    [
        (fsdp2, fsdp2, torch.float32),
        (fsdp2, hybrid, torch.bfloat16),
        (hybrid, fsdp2, torch.float32),
    ],
)
def test_two_calls_from_one_teacher(several, shard_teacher, shard_student, dtype):
    teacher = other_than_the_file()
    shard_teacher(teacher)
    before = state_of(teacher)
    predicted = prediction(teacher)  # FSDP2 leaves the root gathered

    fake_score = create(load, teacher, shard=fsdp2)
    with fakescore.meta_init():
        student = load()
    shard_student(student.to(dtype))
    materialize(student, teacher)

    expected = other_than_the_file().to(dtype)
    assert differences(fake_score, other_than_the_file()) == []
    assert differences(student, expected) == []
    assert state_of(teacher) == before
    step_as_whole(fake_score, other_than_the_file().requires_grad_(True), prediction)
    step_as_whole(student, expected.requires_grad_(True), prediction)
    assert differences(teacher, other_than_the_file()) == []
    assert state_of(teacher) == before
    assert same_bits(prediction(teacher), predicted)
    assert same_bits(predicted, prediction(other_than_the_file()))
