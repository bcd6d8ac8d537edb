"""`from_pretrained` under a `meta_init`: the module from its config alone."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .errors import ConfigError

Remember = Callable[[nn.Module, "Pretrained"], None]


@dataclass(frozen=True)
class Pretrained:
    """Where the weights are that a `from_pretrained` did not read."""

    path: str
    subfolder: str = ""
    variant: str = ""


@contextlib.contextmanager
def config_only(remember: Remember) -> Iterator[None]:
    """Replaces `from_pretrained` of diffusers' and transformers' models, as far as imported."""
    with contextlib.ExitStack() as stack:
        diffusers = sys.modules.get("diffusers.models.modeling_utils")
        if diffusers is not None:
            stack.enter_context(_replaced(diffusers.ModelMixin, _from_diffusers, remember))
        transformers = sys.modules.get("transformers.modeling_utils")
        if transformers is not None:
            stack.enter_context(
                _replaced(transformers.PreTrainedModel, _from_transformers, remember)
            )
        yield


def rebound(build: Callable[..., Any]) -> Callable[..., Any]:
    """A `from_pretrained` that was looked up before it was replaced, looked up again."""
    if isinstance(build, functools.partial):
        return functools.partial(rebound(build.func), *build.args, **build.keywords)
    if inspect.ismethod(build) and build.__name__ == "from_pretrained":
        owner: Any = build.__self__
        again: Callable[..., Any] = owner.from_pretrained
        return again
    return build


@contextlib.contextmanager
def _replaced(owner: Any, build: Callable[..., nn.Module], remember: Remember) -> Iterator[None]:
    original = owner.__dict__["from_pretrained"]

    def from_pretrained(cls: Any, path: Any, *args: Any, **kwargs: Any) -> nn.Module:
        where = Pretrained(
            _local_folder(path), kwargs.get("subfolder") or "", kwargs.get("variant") or ""
        )
        module = build(cls, where, kwargs)
        remember(module, where)
        return module

    owner.from_pretrained = classmethod(from_pretrained)
    try:
        yield
    finally:
        owner.from_pretrained = original


def _local_folder(path: Any) -> str:
    folder: str = os.path.abspath(os.fspath(path))
    if os.path.isdir(folder):
        return folder
    raise ConfigError.of(
        f"from_pretrained({str(path)!r})",
        "is no folder on this machine, and under meta_init nothing is downloaded",
        "download it first (huggingface_hub.snapshot_download) and give the folder",
    )


def _dtype(kwargs: dict[str, Any]) -> torch.dtype | None:
    dtype = kwargs.get("dtype", kwargs.get("torch_dtype"))
    return dtype if isinstance(dtype, torch.dtype) else None


def _from_diffusers(cls: Any, where: Pretrained, kwargs: dict[str, Any]) -> nn.Module:
    config = cls.load_config(where.path, subfolder=where.subfolder or None)
    dtype = _dtype(kwargs)
    if dtype is None:
        module: nn.Module = cls.from_config(config)
        return module.eval()
    # As diffusers has it: constructors run with that default, then what a state dict holds is cast.
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        module = cls.from_config(config)
    finally:
        torch.set_default_dtype(before)
    in_fp32 = cls._keep_in_fp32_modules or []
    _cast(module, dtype, [in_fp32] if isinstance(in_fp32, str) else in_fp32)
    return module.eval()


def _cast(module: nn.Module, dtype: torch.dtype, in_fp32: list[str]) -> None:
    for name, tensor in module.state_dict(keep_vars=True).items():
        if not tensor.is_floating_point():
            continue
        stays = any(part in in_fp32 for part in name.split("."))
        tensor.data = tensor.data.to(torch.float32 if stays else dtype)


def _from_transformers(cls: Any, where: Pretrained, kwargs: dict[str, Any]) -> nn.Module:
    config = kwargs.get("config")
    if config is None:
        config = cls.config_class.from_pretrained(where.path, subfolder=where.subfolder)
    dtype = _dtype(kwargs)
    module: nn.Module = cls._from_config(config, **({"dtype": dtype} if dtype else {}))
    return module.eval()
