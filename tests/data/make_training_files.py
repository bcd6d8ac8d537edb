#!/usr/bin/env python3
"""Writes torch_training/: checkpoints of training programs, which hold more than weights.

    python3 -m venv numpy_1 && numpy_1/bin/pip install numpy==1.26.4 omegaconf==2.4.0 torch==2.11.0
    python3 -m venv numpy_2 && numpy_2/bin/pip install numpy==2.4.6 omegaconf==2.4.0 torch==2.11.0
    for venv in numpy_1 numpy_2; do $venv/bin/python3 tests/data/make_training_files.py; done

The key "model" of each is {"w": [1, 2], "b": [3]} in float32. NumPy 1 and 2 give their classes other
names, as do the protocols of pickles to Python's own.
"""
import argparse
import collections
import datetime
import decimal
import enum
import functools
import operator
import pathlib
import random
import types
import uuid

import numpy
import omegaconf
import torch

FOLDER = pathlib.Path(__file__).resolve().parent / "torch_training"


class Precision(enum.Enum):
    BF16 = "bf16"


class Stage(str, enum.Enum):
    TRAIN = "train"


class Callback:
    """Keeps its trainer, which keeps it: a cycle."""
    __slots__ = ("trainer", "best", "__dict__")

    def __init__(self, trainer):
        self.trainer, self.best, self.score = trainer, {"w": torch.ones(1)}, numpy.float64(0.5)


class Trainer:
    def __init__(self):
        self.callbacks = [Callback(self)]


class ByKeyword:
    """Made by NEWOBJ_EX: with arguments by name."""
    def __new__(cls, *, size):
        made = super().__new__(cls)
        made.size = size
        return made

    def __getnewargs_ex__(self):
        return (), {"size": self.size}


class Config(dict):
    pass


Point = collections.namedtuple("Point", "x y")


def schedule(step):
    return 1 / (1 + step)


def weights():
    return {"w": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}


def training():
    parameters = [torch.nn.Parameter(torch.ones(2))]
    optimizer = torch.optim.AdamW(parameters)
    parameters[0].sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    return {
        "model": weights(), "optimizer": optimizer.state_dict(), "optimizer_object": optimizer,
        "scheduler": scheduler, "args": argparse.Namespace(lr=1e-4, out=pathlib.PurePosixPath("/out")),
        "config": omegaconf.OmegaConf.create({"model": {"width": 8}, "steps": [1, 2]}),
        "simple": types.SimpleNamespace(a=1), "precision": Precision.BF16, "trainer": Trainer(),
        "keyword": ByKeyword(size=3), "dict": Config(model=weights()), "point": Point(1, 2),
        "schedule": schedule, "partial": functools.partial(schedule, 3), "method": operator.attrgetter("a"),
        "bound": collections.OrderedDict.fromkeys, "class": argparse.Namespace, "dtype": numpy.dtype("int32"),
        "loss": numpy.float32(0.25), "losses": numpy.arange(3.0), "objects": numpy.array([{}, None], object),
        "rng": {"numpy": numpy.random.get_state(), "generator": numpy.random.default_rng(1),
                "python": random.Random(1), "torch": torch.get_rng_state()[:8]},
        "saved": datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.timezone.utc),
        "took": datetime.timedelta(seconds=3), "price": decimal.Decimal("1.5"), "id": uuid.UUID(int=7),
        "enums": {Precision.BF16: 1, Stage.TRAIN: [Stage.TRAIN]}, "module": torch.nn.Linear(1, 1)}


def plain():
    """What Python and its collections have, by every name."""
    return {
        "model": weights(), "deque": collections.deque([1, 2], 5), "counter": collections.Counter("aab"),
        "chain": collections.ChainMap({"a": 1}), "user": [collections.UserDict(a=1), collections.UserList([1]),
                                                           collections.UserString("a")],
        "defaults": [collections.defaultdict(kind, a=kind()) for kind in
                     (int, float, bool, str, bytes, bytearray, complex, list, tuple, dict, set, frozenset)],
        "nested": collections.defaultdict(collections.OrderedDict), "none": collections.defaultdict(None),
        "types": [int, float, bool, str, bytes, bytearray, complex, list, tuple, dict, set, frozenset, object,
                  type, type(None), range, slice], "constants": [Ellipsis, NotImplemented, None, True],
        "range": range(2, 9, 3), "slice": slice(1, None, 2), "bytes": b"\x00\xff", "array": bytearray(b"\x01"),
        "complex": 1 + 2j, "big": [2**63 - 1, 2**63, -2**63, -2**200], "sets": [{1, 2}, frozenset(["a"])]}


def inside():
    """What may not lie in a state dict."""
    namespace = argparse.Namespace(lr=1)
    return {
        "value": {"net": dict(weights(), args=namespace)},
        "list": {"net": dict(weights(), history=[1, (2, [namespace])])},
        "key": {"net": {Precision.BF16: torch.ones(1), **weights()}},
        "class": {"net": dict(weights(), cls=argparse.Namespace)},
        "numpy": {"net": dict(weights(), scale=numpy.float32(2))},
        "deep": {"net": {"encoder": dict(weights(), args=namespace)}},
        "container": {"net": Config(weights())}}


class Tagged(torch.Tensor):
    pass


class TaggedParameter(torch.nn.Parameter):
    def __reduce_ex__(self, protocol):
        return torch.Tensor.__reduce_ex__(self, protocol)


class Halved(torch.Tensor):
    """Holds half of its values: a tensor that wraps another."""
    @staticmethod
    def __new__(cls, half):
        return torch.Tensor._make_wrapper_subclass(cls, half.shape, dtype=half.dtype)

    def __init__(self, half):
        self.half = half

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), named=None):
        return function(*(2 * a.half if isinstance(a, Halved) else a for a in arguments), **(named or {}))


def distributed_state_dict():
    import torch.distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    mesh = init_device_mesh("cpu", (1,))
    return {"blocks.0.w": distribute_tensor(torch.ones(2, 3), mesh, [Shard(0)])}


def classes():
    """State dicts of tensors that are more than their elements, and what the remedies make of them."""
    w, b = weights()["w"], weights()["b"]
    distributed = distributed_state_dict()
    states = {"dtensor": distributed, "subclass": {"w": w.as_subclass(Tagged)},
              "parameter": {"w": TaggedParameter(w)}, "wrapper": {"w": Halved(w / 2)}}
    for name, content in states.items():
        torch.save(content, FOLDER / f"class_{name}.pt")
    assert type(distributed["blocks.0.w"].full_tensor()) is torch.Tensor
    remedied = {"w": states["parameter"]["w"].detach().as_subclass(torch.Tensor),
                "b": b.as_subclass(Tagged).detach().as_subclass(torch.Tensor)}
    torch.save(remedied, FOLDER / "remedied.pt")


def main():
    numpy.random.seed(1)
    version = numpy.__version__.partition(".")[0]
    FOLDER.mkdir(exist_ok=True)
    for protocol in (2, 3, 4, 5):
        torch.save(training(), FOLDER / f"training_numpy{version}_{protocol}.pt", pickle_protocol=protocol)
        torch.save(plain(), FOLDER / f"plain_{protocol}.pt", pickle_protocol=protocol)
    for name, content in inside().items():
        torch.save(content, FOLDER / f"inside_{name}.pt")
    classes()


if __name__ == "__main__":
    main()
