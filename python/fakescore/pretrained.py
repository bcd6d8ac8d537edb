"""`from_pretrained` under a `meta_init`: the module from its config alone."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import importlib
import inspect
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .errors import ConfigError
from .imports import seen_imports

Remember = Callable[[nn.Module, "Pretrained"], None]
#: From a name in the checkpoint to the name in the module as it was made.
Fit = Callable[[str], str]
Build = Callable[..., nn.Module]
FitOf = Callable[[Any], Fit | None]


@dataclass(frozen=True)
class Pretrained:
    """Where the weights are that a `from_pretrained` did not read."""

    path: str
    name: Any  #: as the caller gave it
    subfolder: str = ""
    variant: str = ""
    fit: Fit | None = None  #: where `from_pretrained` has rules for names


# What `from_pretrained` takes and what has no say in the module that it returns.
_OF_READING = frozenset(
    {
        "_commit_hash",
        "_fast_init",
        "_from_auto",
        "_from_pipeline",
        "adapter_kwargs",
        "adapter_name",
        "allow_all_kernels",
        "cache_dir",
        "device_map",
        "disable_mmap",
        "dtype",
        "force_download",
        "from_flax",
        "from_tf",
        "generation_config",
        "ignore_mismatched_sizes",
        "local_files_only",
        "low_cpu_mem_usage",
        "max_memory",
        "mirror",
        "offload_buffers",
        "offload_folder",
        "offload_state_dict",
        "proxies",
        "revision",
        "subfolder",
        "token",
        "torch_dtype",
        "tqdm_class",
        "trust_remote_code",
        "use_safetensors",
        "variant",
        "weights_only",
    }
)
_IMPLEMENTATIONS = ("attn_implementation", "experts_implementation")
# What makes another module of it, or reads something else.
_REFUSED = (
    "device_mesh",
    "distributed_config",
    "fusion_config",
    "gguf_file",
    "kernel_config",
    "key_mapping",
    "output_loading_info",
    "parallel_config",
    "quantization_config",
    "state_dict",
    "tp_plan",
    "tp_size",
    "use_flashpack",
    "use_kernels",
)


@contextlib.contextmanager
def config_only(remember: Remember) -> Iterator[None]:
    """Replaces `from_pretrained` of diffusers' and transformers' models, for this thread.

    A library that the builder is the first to import is seen to as it is imported. What modules
    make as they are imported is not recorded.
    """
    libraries = (
        ("diffusers.models.modeling_utils", "ModelMixin", _from_diffusers, _diffusers_fit),
        ("transformers.modeling_utils", "PreTrainedModel", _from_transformers, _transformers_fit),
    )
    on_import: dict[str, Callable[[types.ModuleType], None]] = {}
    with contextlib.ExitStack() as stack:
        for name, class_name, build, fit_of in libraries:

            def replace(
                module: types.ModuleType,
                class_name: str = class_name,
                build: Build = build,
                fit_of: FitOf = fit_of,
            ) -> None:
                owner = getattr(module, class_name)
                stack.enter_context(_replaced(owner, build, fit_of, remember))

            # Both import their parts when they are asked for, which may be within the builder.
            if name.partition(".")[0] in sys.modules:
                replace(importlib.import_module(name))
            else:
                on_import[name] = replace
        stack.enter_context(seen_imports(on_import))
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
def _replaced(
    owner: Any,
    build: Build,
    fit_of: FitOf,
    remember: Remember,
) -> Iterator[None]:
    original = owner.__dict__["from_pretrained"]
    thread = threading.get_ident()

    def from_pretrained(cls: Any, path: Any, *args: Any, **kwargs: Any) -> nn.Module:
        if threading.get_ident() != thread:
            module: nn.Module = original.__get__(None, cls)(path, *args, **kwargs)
            return module
        _refuse(cls, args, kwargs)
        where = Pretrained(
            _local_folder(path, kwargs),
            path,
            kwargs.get("subfolder") or "",
            kwargs.get("variant") or "",
        )
        module = build(cls, where, kwargs)
        remember(module, dataclasses.replace(where, fit=fit_of(module)))
        return module

    owner.from_pretrained = classmethod(from_pretrained)
    try:
        yield
    finally:
        owner.from_pretrained = original


def _refuse(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    named = next((name for name in _REFUSED if kwargs.get(name)), None)
    if named is None and not args:
        return
    raise ConfigError.of(
        f"{cls.__name__}.from_pretrained({named + '=' if named else '*args'})",
        "cannot be followed under meta_init, which makes the module from its config alone",
        "leave it out; map_keys renames, and dtype and device are given to the call that fills",
    )


def _local_folder(path: Any, kwargs: dict[str, Any]) -> str:
    folder: str = os.path.abspath(os.fspath(path))
    if os.path.isdir(folder):
        return folder
    cached = _in_cache(os.fspath(path), kwargs)
    if cached is not None:
        return cached
    raise ConfigError.of(
        f"from_pretrained({str(path)!r})",
        "is no folder on this machine and not in the hub's cache, and under meta_init nothing is "
        "downloaded",
        "download it first, with huggingface_hub.snapshot_download",
    )


def _in_cache(name: str, kwargs: dict[str, Any]) -> str | None:
    """The folder of a repository of the hub that was downloaded before."""
    import huggingface_hub  # diffusers and transformers need it themselves

    try:
        return str(
            huggingface_hub.snapshot_download(
                name,
                cache_dir=kwargs.get("cache_dir"),
                revision=kwargs.get("revision"),
                local_files_only=True,
            )
        )
    except (OSError, ValueError):  # it is not there, or is no name of a repository
        return None


def _of_config(kwargs: dict[str, Any]) -> dict[str, Any]:
    """What is given to `from_pretrained` in place of what its config says."""
    return {name: value for name, value in kwargs.items() if name not in _OF_READING | {*_REFUSED}}


def _dtype(kwargs: dict[str, Any]) -> Any:
    dtype = kwargs.get("dtype")
    return kwargs.get("torch_dtype") if dtype is None else dtype


def _from_diffusers(cls: Any, where: Pretrained, kwargs: dict[str, Any]) -> nn.Module:
    config, others = cls.load_config(
        where.path,
        subfolder=where.subfolder or None,
        return_unused_kwargs=True,
        **_of_config(kwargs),
    )
    dtype = _dtype(kwargs)
    if not isinstance(dtype, torch.dtype):
        module: nn.Module = cls.from_config(config, **others)
        return _as_loaded(module, where)
    # As diffusers has it: constructors run with that default, then what a state dict holds is cast.
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        module = cls.from_config(config, **others)
    finally:
        torch.set_default_dtype(before)
    in_fp32 = cls._keep_in_fp32_modules or []
    _cast(module, dtype, [in_fp32] if isinstance(in_fp32, str) else in_fp32)
    return _as_loaded(module, where)


def _as_loaded(module: Any, where: Pretrained) -> nn.Module:
    module.register_to_config(_name_or_path=where.name)
    loaded: nn.Module = module.eval()
    return loaded


def _cast(module: nn.Module, dtype: torch.dtype, in_fp32: list[str]) -> None:
    for name, tensor in module.state_dict(keep_vars=True).items():
        if not tensor.is_floating_point():
            continue
        wanted = torch.float32 if any(part in in_fp32 for part in name.split(".")) else dtype
        if tensor.dtype is not wanted:
            tensor.data = tensor.data.to(wanted)


def _from_transformers(cls: Any, where: Pretrained, kwargs: dict[str, Any]) -> nn.Module:
    others = _of_config(kwargs)
    config = others.pop("config", None)
    if config is None or isinstance(config, (str, os.PathLike)):
        # These are of the config and of the constructor as well.
        chosen = {name: others[name] for name in _IMPLEMENTATIONS if name in others}
        config, others = cls.config_class.from_pretrained(
            where.path if config is None else config,
            subfolder=where.subfolder,
            return_unused_kwargs=True,
            **others,
        )
        others = {**others, **chosen}
    else:
        config = copy.deepcopy(config)  # the caller's stays as it is
    config.name_or_path = where.name
    dtype = _dtype(kwargs)
    if dtype is not None and dtype != "auto":
        others["dtype"] = dtype
    module: nn.Module = cls._from_config(config, **others)
    return module.eval()


# Of attention blocks as diffusers had them before 0.13.
_DEPRECATED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def _diffusers_fit(module: Any) -> Fit | None:
    names = {
        f"{path}.{old}.{local}": f"{path}.{new}.{local}"
        for path, part in module.named_modules()
        if getattr(part, "_from_deprecated_attn_block", False)
        for old, new in _DEPRECATED.items()
        for local in ("weight", "bias")
    }
    return (lambda name: names.get(name, name)) if names else None


def _transformers_fit(module: Any) -> Fit:
    own = dict.fromkeys(module.state_dict(), True)
    prefix = module.base_model_prefix
    try:
        from transformers import conversion_mapping, core_model_loading
    except ImportError:  # of before transformers 5
        return functools.partial(_fit_base_model, own, prefix)
    conversions = conversion_mapping.get_model_conversion_mapping(module)
    renamings = [
        each for each in conversions if isinstance(each, core_model_loading.WeightRenaming)
    ]
    converters = [
        each for each in conversions if isinstance(each, core_model_loading.WeightConverter)
    ]

    def fit(name: str) -> str:
        renamed, converter = core_model_loading.rename_source_key(
            name, renamings, converters, prefix, own
        )
        if renamed not in own and name in own:
            renamed, converter = name, None
        if converter is not None and renamed in own:
            raise ConfigError.of(
                name,
                f"is a part that transformers converts into {renamed} when it loads",
                "build with from_config, and give the teacher and map_keys that merge",
            )
        return str(renamed)

    return fit


def _fit_base_model(own: Mapping[str, bool], prefix: str, name: str) -> str:
    """A checkpoint of a base model is loaded into one with a head, and the other way round."""
    without = name.removeprefix(prefix + ".")
    if without != name and without in own:
        return without
    return f"{prefix}.{name}" if f"{prefix}.{name}" in own else name
