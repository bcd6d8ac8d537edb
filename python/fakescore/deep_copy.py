"""The fake score of one process: a deep copy."""

from __future__ import annotations

import collections
import copy
import logging
import types

from torch import nn

from .errors import ConfigError
from .wrappers import is_sharded, unwrap

_LOGGER = logging.getLogger("fakescore")

# What modelopt.torch.fastgen's attach_feature_capture leaves on a teacher.
_CAPTURE_ATTRIBUTES = (
    "_fastgen_captured",
    "_fastgen_capture_handles",
    "_fastgen_capture_indices",
    "_fastgen_capture_shape",
)
_CONTAINERS = (list, dict, set, collections.deque)


def create_fake_score(teacher: nn.Module, *, deep_copy: bool = True) -> nn.Module:
    """The fake score of a teacher in this process, with the contract of ModelOpt's function.

    Args:
        teacher: a module with its weights, on any device. It is not changed. A
            DistributedDataParallel is unwrapped.
        deep_copy: copy it; False returns the very module, and checks nothing.

    Returns:
        A module in training mode in which every floating-point or complex parameter requires
        gradients. (ModelOpt's raises for a parameter of integers; here it is left as it is.)
        Dtypes, buffers and ties are the teacher's. Forward hooks that are functions which hold a
        list or a dict are not copied, nor is what ModelOpt's feature capture leaves on a teacher:
        they would go on to write into the teacher's.

    Raises:
        ConfigError (a RuntimeError): the teacher is wrapped by FSDP, has a DTensor, or is split by
            DeepSpeed's ZeRO-3.

    Not collective.
    """
    if not deep_copy:
        return _make_trainable(teacher)
    teacher = unwrap(teacher)
    _refuse_sharded(teacher)
    memo: dict[int, object] = {}
    for module in teacher.modules():
        for name in _CAPTURE_ATTRIBUTES:
            # What was captured has a graph, which cannot be copied.
            if name in module.__dict__:
                memo[id(module.__dict__[name])] = None
    fake_score = copy.deepcopy(teacher, memo)
    _drop_captures(fake_score)
    return _make_trainable(fake_score)


def _refuse_sharded(teacher: nn.Module) -> None:
    if any(hasattr(module, "_fsdp_wrapped_module") for module in teacher.modules()) or any(
        is_sharded(parameter) for parameter in teacher.parameters()
    ):
        raise ConfigError(
            "create_fake_score(deep_copy=True) is not safe on an FSDP-wrapped teacher (DTensor "
            "parameters + FSDP hooks + meta-init bookkeeping don't survive copy.deepcopy). "
            "Use create_fake_score_meta, which builds the fake score on every rank from a builder "
            "and the teacher's weights."
        )
    for name, parameter in teacher.named_parameters():
        if hasattr(parameter, "ds_id"):
            raise ConfigError.of(
                name,
                "is a parameter that DeepSpeed's ZeRO-3 has split: a copy would have no values",
                "save the teacher's weights (zero_to_fp32.py) and use create_fake_score_meta",
            )


def _writes_into_its_maker(hook: object) -> bool:
    """Whether a hook is a function that holds a container: a deep copy shares both."""
    if not isinstance(hook, types.FunctionType):
        return False
    held = []
    for cell in hook.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not bound yet
            continue
    return any(isinstance(value, _CONTAINERS) for value in held)


def _drop_captures(module: nn.Module) -> None:
    dropped = 0
    for part in module.modules():
        for name in _CAPTURE_ATTRIBUTES:
            part.__dict__.pop(name, None)
        for key, hook in list(part._forward_hooks.items()):
            if _writes_into_its_maker(hook):
                del part._forward_hooks[key]
                part._forward_hooks_with_kwargs.pop(key, None)
                part._forward_hooks_always_called.pop(key, None)
                dropped += 1
    if dropped:
        _LOGGER.info("create_fake_score: %d forward hooks of the teacher were not copied", dropped)


def _make_trainable(module: nn.Module) -> nn.Module:
    module.train()
    for parameter in module.parameters():
        if parameter.is_floating_point() or parameter.is_complex():
            parameter.requires_grad_(True)
    return module


__all__ = ["create_fake_score"]
