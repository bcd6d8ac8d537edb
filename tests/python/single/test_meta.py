"""What builders may do under meta_init, in one process."""

import copy
import importlib
import sys
import threading

import pytest
import torch
from torch import nn

import fakescore
from support import Net, differences, same_bits, seeded

pytestmark = pytest.mark.usefixtures("each_recorder")


def made(build, **options):
    """What `build` makes under meta_init, then with its recorded values."""
    with fakescore.meta_init(**options):
        module = build()
    assert all(parameter.is_meta for parameter in module.parameters())
    return fakescore.materialize(module, {"none": torch.zeros(1)})


class Holder(nn.Module):
    """A module with one parameter and one buffer, from a function."""

    def __init__(self, function):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("value", function(), persistent=False)


BUILDERS = {
    "tensor": lambda: torch.tensor([1.5, 2.5]),
    "tensor_on_device": lambda: torch.tensor([1.5], device="cuda"),
    "from_numpy": lambda: torch.from_numpy(__import__("numpy").arange(3.0)),
    "arithmetic": lambda: torch.tensor([1.0, 2.0]) * torch.arange(2) + torch.linspace(0, 1, 2),
    "item": lambda: torch.full((2,), torch.arange(4).sum().item()),
    "branch": lambda: torch.ones(2) if torch.arange(3).max() == 2 else torch.zeros(2),
    "cuda": lambda: torch.arange(3, device="cuda", dtype=torch.float32).cuda(),
    "to_cuda": lambda: torch.arange(3.0).to("cuda").to(torch.float64),
    "to_all": lambda: torch.arange(3.0).to("cuda", torch.float16, copy=True),
    "to_other": lambda: torch.arange(3).to(torch.ones(1, dtype=torch.float64)),
    "new_zeros": lambda: torch.arange(3.0).new_full((2,), 7.0, device="cuda"),
    "new_tensor": lambda: torch.arange(3.0).new_tensor([1.5, 2.5], device="cuda"),
    "pinned": lambda: torch.arange(3, pin_memory=True).pin_memory(),
    "indexed": lambda: torch.arange(6.0).reshape(2, 3)[:, 1],
    "in_place": lambda: torch.zeros(3).add_(1).mul_(torch.arange(3)),
    "complex": lambda: torch.polar(torch.ones(3), torch.arange(3.0)),
    "deepcopy": lambda: copy.deepcopy(torch.arange(3.0) / 7),
    "stack": lambda: torch.stack([torch.arange(2.0), torch.tensor([5.0, 6.0])]),
    "where": lambda: torch.where(torch.arange(4) > 1, torch.ones(4), torch.zeros(4)),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_values_are_those_of_eager_construction(name):
    function = BUILDERS[name]
    module = made(lambda: Holder(function))
    if "cuda" in name or name in (
        "tensor_on_device",
        "to_all",
        "new_zeros",
        "new_tensor",
        "pinned",
    ):
        expected = {
            "tensor_on_device": torch.tensor([1.5]),
            "cuda": torch.arange(3.0),
            "to_cuda": torch.arange(3.0, dtype=torch.float64),
            "to_all": torch.arange(3.0, dtype=torch.float16),
            "new_zeros": torch.full((2,), 7.0),
            "new_tensor": torch.tensor([1.5, 2.5]),
            "pinned": torch.arange(3),
        }[name]
    else:
        expected = function()
    assert module.value.device.type == "cpu"
    assert same_bits(module.value, expected)


CONTEXTS = {
    "cpu": lambda: torch.device("cpu"),
    "cuda": lambda: torch.device("cuda"),
    "meta": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("place", ["inside", "around"])
@pytest.mark.parametrize("name", CONTEXTS)
def test_device_contexts_have_no_say(name, place):
    def build():
        if place == "around":
            return Net()
        with CONTEXTS[name]():
            return Net()

    torch.manual_seed(3)
    if place == "around":
        with CONTEXTS[name](), fakescore.meta_init(sequential=True):
            module = build()
    else:
        with fakescore.meta_init(sequential=True):
            module = build()
    fakescore.materialize(module, {"none": torch.zeros(1)})
    torch.manual_seed(3)
    assert differences(module, Net()) == []


def test_default_devices_and_dtypes():
    torch.set_default_device("cuda")
    torch.set_default_dtype(torch.bfloat16)
    try:
        with fakescore.meta_init(seed=1):
            layer = nn.Linear(3, 3)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    fakescore.materialize(layer, {"bias": torch.ones(3)})
    assert layer.weight.dtype == torch.bfloat16
    assert same_bits(layer.bias, torch.ones(3, dtype=torch.bfloat16))


def test_sequential_draws_are_the_eager_ones_to_the_bit():
    torch.manual_seed(8)
    with fakescore.meta_init(sequential=True):
        module = Net()
    fakescore.materialize(module, {"none": torch.zeros(1)})
    torch.manual_seed(8)
    expected = Net()
    assert differences(module, expected) == []
    assert same_bits(module.extra["tables"][0], expected.extra["tables"][0])


def test_a_builder_may_ask_whether_it_is_on_meta():
    with fakescore.meta_init():
        assert nn.Parameter(torch.empty(0)).device.type == "meta"
        assert torch.zeros(2).is_meta
    assert not torch.zeros(2).is_meta


@pytest.mark.parametrize("method", ["numpy", "tolist"])
def test_what_needs_values_says_what_to_do(method):
    with fakescore.meta_init():
        with pytest.raises(fakescore.BuildError, match=f"Tensor.{method}: .*torch.tensor"):
            getattr(torch.ones(2), method)()
        assert torch.tensor([1, 2]).tolist() == [1, 2]


def test_what_modules_make_as_they_are_imported_is_real(tmp_path, monkeypatch, each_recorder):
    (tmp_path / "made_at_import.py").write_text("import torch\nTABLE = torch.arange(3) * 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with fakescore.meta_init(recorder=each_recorder):
        module = importlib.import_module("made_at_import")
        assert torch.ones(1).is_meta
    assert same_bits(module.TABLE, torch.arange(3) * 2)
    del sys.modules["made_at_import"]


def test_other_threads_are_left_alone():
    made_elsewhere = []
    with fakescore.meta_init():
        thread = threading.Thread(target=lambda: made_elsewhere.append(torch.ones(2)))
        thread.start()
        thread.join()
    assert same_bits(made_elsewhere[0], torch.ones(2))


def test_an_exception_leaves_nothing_behind():
    with pytest.raises(ZeroDivisionError), fakescore.meta_init():
        raise ZeroDivisionError
    assert not torch.ones(1).is_meta
    init = fakescore.meta_init()
    with init:
        pass
    with pytest.raises(fakescore.ConfigError, match="entered before"), init:
        pass
    with pytest.raises(fakescore.ConfigError, match="seed"), fakescore.meta_init(seed=-1):
        pass


def test_a_large_module_takes_no_memory():
    with fakescore.meta_init():
        layers = nn.ModuleList(nn.Linear(20_000, 20_000) for _ in range(100))
    assert sum(parameter.nbytes for parameter in layers.parameters()) > 160e9


def test_one_layer_of_a_large_module_is_drawn_alone():
    with fakescore.meta_init(seed=4):
        layers = nn.ModuleList(nn.Linear(50, 50) for _ in range(3))
    teacher = {name: t for name, t in layers.state_dict().items() if not name.startswith("1.")}
    teacher = {name: torch.zeros(t.shape) for name, t in teacher.items()}
    fakescore.materialize(layers, teacher)
    assert fakescore.last_report().replayed == ("1.weight", "1.bias")
    assert layers[1].weight.std() > 0.01


def test_parts_of_two_meta_inits_are_refused():
    with fakescore.meta_init():
        first = nn.Linear(2, 2)
    with fakescore.meta_init():
        second = nn.Linear(2, 2)
    with pytest.raises(fakescore.ConfigError, match="2 different meta_init"):
        fakescore.materialize(nn.Sequential(first, second), {"0.weight": torch.ones(2, 2)})


def test_a_module_on_meta_may_be_saved_and_pickled(tmp_path):
    with fakescore.meta_init():
        module = Net()
    torch.save(module, tmp_path / "meta.pt")
    again = torch.load(tmp_path / "meta.pt", weights_only=False)
    assert again.embed.weight.is_meta
    fakescore.materialize(again, seeded(), init=lambda part: part.freqs.copy_(seeded().freqs))
    assert differences(again, seeded()) == []


BAD_NUMBERS = {
    "normal": lambda weight: weight.normal_(0, -1),
    "geometric": lambda weight: weight.geometric_(2),
    "exponential": lambda weight: weight.exponential_(-1),
    "cauchy": lambda weight: weight.cauchy_(0, -1),
    "log_normal": lambda weight: weight.log_normal_(1, -1),
    "clamp": lambda weight: weight.clamp_(),
}


@pytest.mark.parametrize("name", BAD_NUMBERS)
def test_an_initialiser_refuses_its_numbers_each_time(name):
    initialise = BAD_NUMBERS[name]
    errors = (RuntimeError, ValueError)  # Python's meta kernels raise the latter
    with pytest.raises(errors):
        initialise(torch.zeros(2))
    with fakescore.meta_init():
        weight = torch.zeros(2).normal_(0, 1).geometric_(0.5).exponential_(1).clamp_(0, 1)
        weight.cauchy_(0, 1).log_normal_(1, 1)
        for _ in range(2):
            with pytest.raises(errors):
                initialise(weight)


class Plain(nn.Module):
    """Has a tensor that nobody registered."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.tables = [torch.arange(3.0)]


def test_what_nobody_registered_is_named_if_it_stays_on_meta(caplog):
    teacher = {"weight": torch.ones(1)}
    with torch.device("meta"):
        module = Plain()
    fakescore.materialize(module, teacher)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "1 tensors that nobody registered stay on the meta device (tables.0, ...)" in warning
    caplog.clear()
    with fakescore.meta_init():
        recorded = Plain()
    fakescore.materialize(recorded, teacher)
    assert same_bits(recorded.tables[0], torch.arange(3.0))
    assert caplog.records == []
