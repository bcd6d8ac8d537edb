"""`python -m fakescore`: what it understands and does. Printing is left to `__main__`."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from . import _build, _native
from .errors import ConfigError, TeacherError
from .fill import create_fake_score_meta, last_report
from .forecast import Forecast, HostTraffic, Prediction, RankTraffic
from .plan import plan_fake_score
from .report import Report
from .teachers import Checkpoint, KeyMap, OneKeyMap, apply_key_map, native_teacher

Print = Callable[[str], None]
_DTYPES = ("bfloat16", "float16", "float32", "float64")
_SHOWN = 10
_MOVED = ("read", "sent", "received")
_FIRST_SHOWN, _LAST_SHOWN = 3, 2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m fakescore",
        description="Builds a teacher's fake score on every rank of a job; under torchrun, on all "
        "of its ranks.",
        epilog="Exit codes: 0 success, 1 internal error, 2 bad usage, 3 bad teacher, 4 ranks "
        "differ, 5 lost peer, 6 build failed, 7 out of memory.",
    )
    top.add_argument("--version", action="version", version=f"fakescore {_build.VERSION}")
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="build and fill the fake score, and report")
    _add_job_options(run)
    run.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    run.add_argument("--timeout", type=float, help="seconds to wait for another rank")
    run.add_argument("--no-verify", action="store_true", help="compare no digest across ranks")
    run.add_argument("--output", help="folder in which the last rank saves its fake score")
    plan = commands.add_parser("plan", help="say what run would do; reads no weights")
    _add_job_options(plan)
    plan.add_argument("--ranks", type=int, help="of a job on one host; default: 1")
    plan.add_argument("--hosts", type=int, help="of a job on several")
    plan.add_argument("--ranks-per-host", type=int, help="on each of --hosts")
    plan.add_argument(
        "--ranks-per-copy",
        type=int,
        default=1,
        help="ranks that share one copy of the module, as FSDP2's shards do; the others hold "
        "replicas; default: 1",
    )
    plan.add_argument("--figures", help="file that fakescore measure wrote: predicts the time")
    inspect = commands.add_parser("inspect", help="list the tensors of a checkpoint")
    _add_teacher_options(inspect)
    return top


def _add_teacher_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("teacher", help="file, index or folder of weights")
    command.add_argument("--key", default="", help="under which a file nests its state dict: ema")
    command.add_argument("--variant", default="", help="of a folder's files: fp16")
    command.add_argument("--subfolder", default="", help="that holds the weights: transformer")
    command.add_argument("--strip-prefix", help="of names: model.diffusion_model.")
    command.add_argument(
        "--map", action="append", default=[], metavar="FROM=TO", help="$1 is FROM's first group"
    )
    command.add_argument("--json", help="file for the report")


def _add_job_options(command: argparse.ArgumentParser) -> None:
    _add_teacher_options(command)
    command.add_argument(
        "--class",
        dest="class_name",
        metavar="MODULE:NAME",
        help="of the module; default: what config.json names, of diffusers or transformers",
    )
    command.add_argument("--config", help="folder with the config.json; default: the teacher's")
    command.add_argument("--dtype", choices=_DTYPES)
    command.add_argument("--dtype-rule", action="append", default=[], metavar="REGEX=DTYPE")
    command.add_argument("--no-strict", action="store_true", help="report keys that do not match")
    command.add_argument("--read", choices=("auto", "root", "all", "turns"), default="auto")


def execute(options: argparse.Namespace, show: Print) -> None:
    """Does what was asked for. Raises FakescoreError."""
    commands = {"run": _run, "plan": _plan, "inspect": _inspect}
    commands[options.command](options, show)


def _checkpoint(options: argparse.Namespace) -> Checkpoint:
    return Checkpoint(options.teacher, options.key, options.variant, options.subfolder)


def _key_map(options: argparse.Namespace) -> KeyMap:
    maps: list[OneKeyMap] = [options.strip_prefix] if options.strip_prefix else []
    return maps + [dict([_split(rule, "--map")]) for rule in options.map]


def _split(rule: str, option: str) -> tuple[str, str]:
    pattern, equals, value = rule.rpartition("=") if option != "--map" else rule.partition("=")
    if not equals or not pattern:
        raise ConfigError.of(f"{option} {rule!r}", 'has no "="', "write FROM=TO")
    return pattern, value


def _dtype(name: str, option: str) -> torch.dtype:
    if name not in _DTYPES:
        raise ConfigError.of(f"{option}", f"has the dtype {name!r}", f"give one of {_DTYPES}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _config_folder(options: Any) -> pathlib.Path:
    if options.config:
        return pathlib.Path(options.config)
    folder = pathlib.Path(options.teacher)
    if not folder.is_dir():
        folder = folder.parent
    return folder.joinpath(options.subfolder)


def _class_of(options: argparse.Namespace, folder: pathlib.Path) -> Any:
    if options.class_name:
        module, _, name = options.class_name.partition(":")
        return _attribute(module, name, f"--class {options.class_name}")
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError.of(
            str(file), f"cannot be read: {error}", "give --config FOLDER or --class MODULE:NAME"
        ) from error
    if "_class_name" in config:
        return _attribute("diffusers", config["_class_name"], str(file))
    if config.get("architectures"):
        return _attribute("transformers", config["architectures"][0], str(file))
    raise ConfigError.of(
        str(file), "names no class of diffusers or transformers", "give --class MODULE:NAME"
    )


def _attribute(module: str, name: str, subject: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError.of(
            subject, f"there is no {module}.{name}: {error}", "install it, or give another class"
        ) from error


def _builder(options: argparse.Namespace) -> Callable[[], nn.Module]:
    folder = _config_folder(options)
    owner = _class_of(options, folder)
    if hasattr(owner, "from_pretrained"):
        return functools.partial(owner.from_pretrained, str(folder))
    build: Callable[[], nn.Module] = owner
    return build


def _job_arguments(options: argparse.Namespace) -> dict[str, Any]:
    rules = dict(_split(rule, "--dtype-rule") for rule in options.dtype_rule)
    return {
        "map_keys": _key_map(options),
        "strict": not options.no_strict,
        "read": options.read,
        "dtype": _dtype(options.dtype, "--dtype") if options.dtype else None,
        "dtype_rules": {name: _dtype(dtype, "--dtype-rule") for name, dtype in rules.items()},
    }


def _run(options: argparse.Namespace, show: Print) -> None:
    device = options.device
    if "RANK" in os.environ:
        if device == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    try:
        fake_score = create_fake_score_meta(
            _builder(options),
            _checkpoint(options),
            device=device,
            timeout=options.timeout,
            verify=not options.no_verify,
            **_job_arguments(options),
        )
        rank = dist.get_rank() if dist.is_initialized() else 0
        report = last_report()
        assert report is not None
        if rank == 0:
            for line in report_lines(type(fake_score).__name__, report):
                show(line)
            _write_json(options, dataclasses.asdict(report))
        if options.output and rank == report.world_size - 1:
            _save(fake_score, pathlib.Path(options.output))
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _plan(options: argparse.Namespace, show: Print) -> None:
    hosts, ranks = _shape(options)
    plan = plan_fake_score(
        _builder(options),
        _checkpoint(options),
        world_size=ranks,
        hosts=hosts,
        ranks_per_copy=options.ranks_per_copy,
        figures=options.figures,
        **_job_arguments(options),
    )
    show(f"ranks       {plan.world_size}")
    show(f"file        {plan.taken}")
    show(f"broadcast   {_bytes(plan.wire_bytes)} in {plan.broadcasts} broadcasts")
    show(f"storage     {_bytes(plan.storage_bytes)} a rank")
    show(f"mapped      {_bytes(plan.mapped_bytes)} where it is read")
    for title in ("in_place", "assembled", "replayed", "missing", "unexpected", "skipped"):
        for line in _list_lines(title.replace("_", " "), getattr(plan, title)):
            show(line)
    for forecast in plan.forecasts:
        for line in _forecast_lines(forecast):
            show(line)
    _write_json(options, dataclasses.asdict(plan))
    if plan.strict_failure:
        raise TeacherError(plan.strict_failure)


def _shape(options: argparse.Namespace) -> tuple[int, int]:
    """Hosts, and ranks in all."""
    if options.hosts is None and options.ranks_per_host is None:
        return 1, 1 if options.ranks is None else options.ranks
    if options.ranks is not None or options.hosts is None or options.ranks_per_host is None:
        raise ConfigError.of(
            "the job's ranks",
            "are not said in one way",
            "give --ranks, or both --hosts and --ranks-per-host",
        )
    return options.hosts, options.hosts * options.ranks_per_host


def _inspect(options: argparse.Namespace, show: Print) -> None:
    native = native_teacher(_checkpoint(options), is_source=True, rank=0)
    apply_key_map(native, _key_map(options))
    tensors = _native.value_of(native.tensors())
    for tensor in tensors:
        show(f"{tensor['name']}  {tensor['dtype']}{tensor['sizes']}  {tensor['file']}")
    show(f"{len(tensors)} tensors")
    _write_json(options, tensors)


def _write_json(options: argparse.Namespace, value: Any) -> None:
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(value, indent=2) + "\n")


def _save(module: nn.Module, folder: pathlib.Path) -> None:
    save: Any = getattr(module, "save_pretrained", None)
    if save is not None:
        save(str(folder))
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), folder / "pytorch_model.bin")


def report_lines(class_name: str, report: Report) -> Iterator[str]:
    yield f"fake score  {class_name}"
    yield f"ranks       {report.world_size} ({report.backend})"
    reason = f": {report.read_reason}" if report.read_reason else ""
    yield f"read by     {report.read}{reason}"
    yield f"file        {report.taken}"
    yield f"{'phase':<10} {'seconds':>10} {'bytes':>12}"
    for phase in report.phases:
        yield f"{phase.name:<10} {phase.seconds:>10.3f} {_bytes_or_none(phase.bytes):>12}"
    yield f"{'total':<10} {report.seconds:>10.3f} {_bytes(report.bytes):>12}"
    yield from _rank_lines(report)
    yield from _host_lines(report)
    digest = f"{report.digest}, the same on every rank" if report.digest else "not computed"
    yield f"digest      {digest}"
    yield from _list_lines("missing", report.missing)
    yield from _list_lines("unexpected", report.unexpected)
    yield from _list_lines("replayed", report.replayed)
    yield from _list_lines("cast", tuple(key.name for key in report.cast))


def _rank_lines(report: Report) -> Iterator[str]:
    on_gpu = bool(report.peak_device_bytes)
    yield (
        f"{'rank':<10} {'host':>10} {'read':>12} {'sent':>12} {'received':>12} "
        f"{'peak host memory':>16}{'  peak GPU memory' if on_gpu else ''}"
    )
    for rank, host in enumerate(report.hosts):
        moved = (report.read_bytes[rank], report.sent_bytes[rank], report.received_bytes[rank])
        columns = " ".join(f"{_bytes_or_none(each):>12}" for each in moved)
        peaks = f"{_bytes(report.peak_host_bytes[rank]):>16}"
        if on_gpu:
            peaks += f" {_bytes(report.peak_device_bytes[rank]):>16}"
        yield f"{rank:<10} {host:>10} {columns} {peaks}"


def _host_lines(report: Report) -> Iterator[str]:
    if len(report.link_sent_bytes) == 1:
        return
    yield f"{'host':<10} {'read':>12} {'sent to other hosts':>22} {'received from them':>22}"
    read = [0] * len(report.link_sent_bytes)
    for host, each in zip(report.hosts, report.read_bytes, strict=True):
        read[host] += each
    links = zip(report.link_sent_bytes, report.link_received_bytes, strict=True)
    for host, (sent, received) in enumerate(links):
        yield (
            f"{host:<10} {_bytes_or_none(read[host]):>12} {_bytes_or_none(sent):>22} "
            f"{_bytes_or_none(received):>22}"
        )


def _forecast_lines(forecast: Forecast) -> Iterator[str]:
    yield f"traffic     read by {forecast.read}: {forecast.reason}"
    for kinds in (forecast.ranks, forecast.hosts):
        yield from _shortened([_kind_line(kind) for kind in kinds])
    for source, prediction in (
        ("page caches", forecast.from_page_cache),
        ("disks", forecast.from_disk),
    ):
        if prediction is not None:
            yield _prediction_line(source, prediction)


def _kind_line(kind: RankTraffic | HostTraffic) -> str:
    one = "rank" if isinstance(kind, RankTraffic) else "host"
    many = f"{one} {kind.first}"
    if kind.last > kind.first:
        many = f"{one}s {kind.first} to {kind.last}"
    moved = ", ".join(f"{name} {_bytes(getattr(kind, name))}" for name in _MOVED)
    if isinstance(kind, HostTraffic):
        moved += f"; {_bytes(kind.from_disk)} from its disk at most"
    else:
        moved += f"; holds {_bytes(kind.filled)}"
    return f"  {many:<24} {moved}"


def _prediction_line(source: str, prediction: Prediction) -> str:
    return (
        f"  from {source:<19} {prediction.seconds:.3f} s; the bottleneck: {prediction.bottleneck}"
    )


def _shortened(lines: list[str]) -> list[str]:
    """The first and the last ones of many."""
    left_out = len(lines) - _FIRST_SHOWN - _LAST_SHOWN
    if left_out <= 0:
        return lines
    return [*lines[:_FIRST_SHOWN], f"  ... {left_out} more kinds", *lines[-_LAST_SHOWN:]]


def _list_lines(title: str, names: tuple[str, ...]) -> Iterator[str]:
    yield f"{title:<11} {len(names)}"
    for name in names[:_SHOWN]:
        yield f"  {name}"
    if len(names) > _SHOWN:
        yield f"  and {len(names) - _SHOWN} more"


def _bytes_or_none(count: int) -> str:
    return _bytes(count) if count else "-"


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
