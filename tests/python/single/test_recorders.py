"""Both recorders of meta_init give the same values, and refuse the same things."""

import copy
import json
import threading

import diffusers
import numpy
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import fakescore
from fakescore import _native, calls, recorders
from fakescore.forecast import forecast_options
from fakescore.teachers import native_teacher
from support import MODELS, Net, differences, same_bits

NOTHING = {"own": torch.zeros(1)}


class Holder(nn.Module):
    """Holds what a function makes, and what is drawn after it."""

    def __init__(self, function):
        super().__init__()
        self.register_buffer("own", torch.ones(1))
        self.value = function()
        self.after = torch.rand(2)


def made(build, recorder, sequential=False, **options):
    """What `build` makes by a recorder, with its recorded values."""
    torch.manual_seed(11)
    with fakescore.meta_init(recorder=recorder, sequential=sequential):
        module = build()
    module.requires_grad_(False)
    return fakescore.materialize(module, NOTHING, **options)


def eager(build):
    torch.manual_seed(11)
    return build()


def same(a, b):
    if a.stride() != b.stride() or a.is_conj() != b.is_conj() or a.is_neg() != b.is_neg():
        return False
    return same_bits(a.resolve_conj().resolve_neg(), b.resolve_conj().resolve_neg())


def with_config(folder):
    config = json.loads((MODELS / folder / "config.json").read_text())
    return lambda: getattr(diffusers, config["_class_name"]).from_config(config)


MODULES = {
    "net": Net,
    "linear": lambda: nn.Linear(5, 7),
    "bilinear": lambda: nn.Bilinear(3, 4, 5),
    "embedding": lambda: nn.Embedding(9, 5, padding_idx=2),
    "embedding_bag": lambda: nn.EmbeddingBag(9, 5),
    "conv": lambda: nn.Sequential(nn.Conv1d(4, 6, 3), nn.Conv2d(4, 6, 3), nn.Conv3d(4, 6, 3)),
    "conv_transpose": lambda: nn.Sequential(
        nn.ConvTranspose1d(4, 6, 3), nn.ConvTranspose2d(4, 6, 3), nn.ConvTranspose3d(4, 6, 3)
    ),
    "norms": lambda: nn.Sequential(
        nn.BatchNorm2d(3),
        nn.SyncBatchNorm(3),
        nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
        nn.GroupNorm(1, 3),
        nn.LayerNorm(3),
        nn.RMSNorm(3),
        nn.PReLU(3),
    ),
    "rnn": lambda: nn.RNN(3, 4, 2),
    "lstm": lambda: nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True),
    "gru": lambda: nn.GRU(3, 4),
    "attention": lambda: nn.MultiheadAttention(8, 2, kdim=4, add_bias_kv=True),
    "transformer": lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
    "softmax": lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10]),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(3, 4)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(3, 4)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
    "deep_copies": lambda: nn.ModuleList(copy.deepcopy(nn.Linear(3, 3)) for _ in range(2)),
    **{folder: with_config(folder) for folder in ("wan", "qwen_image", "flux", "unet2d")},
}


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_modules_are_the_same_by_both(name, sequential):
    by_key = made(MODULES[name], "key", sequential)
    by_mode = made(MODULES[name], "mode", sequential)
    assert differences(by_mode, by_key) == []
    if sequential:
        assert differences(by_mode, eager(MODULES[name])) == []


def initialised(function, *size):
    tensor = torch.empty(size)
    function(tensor)
    return tensor


def changed(tensor, *changes):
    for change in changes:
        change(tensor)
    return tensor


def row_of_a_transposed():
    return changed(torch.zeros(2, 3), torch.Tensor.t_, lambda t: t[0].fill_(7))


def through_set():
    source = torch.arange(4.0)
    target = torch.ones(3).set_(source)
    source.add_(1)
    return target


def read_before_a_write():
    a = torch.arange(3.0)
    b = torch.full((2,), a.sum().item())
    a.mul_(10)
    return b + a.sum()


def seeded_again():
    first = torch.randn(5)
    torch.manual_seed(4)
    generator = torch.Generator().manual_seed(5)
    parts = [first, torch.randn(5), torch.empty(20).normal_(generator=generator), torch.randn(5)]
    return torch.cat([*parts, torch.empty(20).normal_(generator=generator)])


def in_float64():
    torch.set_default_dtype(torch.float64)
    third = torch.arange(3) / 3
    torch.set_default_dtype(torch.float32)
    return third * 3


def with_gradients():
    layer = nn.Linear(3, 4)
    layer(torch.randn(2, 3)).sum().backward()
    return layer.weight.grad


def lists():
    tensors = [torch.zeros(3), torch.ones(3)]
    torch._foreach_add_(tensors, 2.0)
    return tensors[0] + tensors[1]


def out_variant():
    out = torch.empty(0)
    torch.add(torch.ones(3), torch.arange(3.0), out=out)
    return out


def complex_views():
    z = torch.polar(torch.ones(3), torch.arange(3.0))
    torch.real(z).mul_(2)
    return torch.view_as_real(z.conj().resolve_conj())


LIBRARY = torch.library.Library("fakescore_test", "DEF")
LIBRARY.define("first_of(Tensor(a) one, Tensor other) -> Tensor(a)")
LIBRARY.impl("first_of", lambda one, other: one.view(one.shape), "CompositeExplicitAutograd")


def first_of(one, other):
    """A view of one of two tensors."""
    return torch.ops.fakescore_test.first_of(one, other)


FUNCTIONS = {
    "trunc_normal": lambda: initialised(nn.init.trunc_normal_, 50, 4),
    "orthogonal": lambda: initialised(nn.init.orthogonal_, 5, 4),
    "dirac": lambda: initialised(nn.init.dirac_, 3, 4, 5),
    "randperm": lambda: torch.randperm(9),
    "randint": lambda: torch.randint(0, 9, (4,)),
    "multinomial": lambda: torch.multinomial(torch.ones(5), 3),
    "dropout": lambda: nn.functional.dropout(torch.ones(50)),
    "bernoulli": lambda: torch.bernoulli(torch.full((30,), 0.4)),
    "exponential": lambda: torch.empty(9).exponential_(),
    "complex_draw": lambda: torch.randn(3, dtype=torch.complex64),
    "drawn_with_a_generator": lambda: torch.rand(5, generator=torch.Generator().manual_seed(3)),
    "drawn_like": lambda: torch.rand_like(torch.ones(3)),
    "drawn_and_read": lambda: torch.full((3,), torch.rand(()).item()) + torch.rand(3),
    "drawn_twice": lambda: torch.randn(9).normal_().uniform_(),
    "seeded_again": seeded_again,
    "real_and_meta": lambda: torch.tensor([1.0, 2, 3]) * torch.arange(3),
    "meta_into_real": lambda: torch.tensor([1.0, 2, 3]).copy_(torch.arange(3) + 5),
    "expanded_real": lambda: torch.tensor([2.0, 3]).unsqueeze(1).expand(2, 3) * torch.ones(2, 3),
    "view_of_a_real": lambda: first_of(torch.tensor([1.0, 2]), torch.ones(2)) * 3,
    "numpy": lambda: torch.from_numpy(numpy.linspace(0, 1, 5)) * torch.arange(5),
    "index_put": lambda: torch.zeros(6).index_put_((torch.tensor([1, 3]),), torch.tensor(5.0)),
    "boolean_index": lambda: torch.randn(50)[torch.arange(50) > 20] * 2,
    "nonzero": lambda: torch.arange(5).remainder(2).nonzero() * 2 + torch.zeros(2, 1),
    "unique": lambda: torch.unique(torch.randint(4, (20,))),
    "histc": lambda: torch.histc(torch.arange(8.0), 4),
    "eigvals": lambda: torch.real(torch.linalg.eigvals(torch.eye(3))),
    "equal": lambda: torch.full((2,), float(torch.equal(torch.ones(2), torch.ones(2)))),
    "read_before_a_write": read_before_a_write,
    "resize": lambda: torch.ones(3).resize_(5).fill_(4),
    "through_set": through_set,
    "through_data": lambda: changed(torch.ones(3), lambda t: t.data.mul_(5)),
    "set_data": lambda: changed(torch.ones(3), lambda t: setattr(t, "data", torch.arange(3.0))),
    "row_of_a_transposed": row_of_a_transposed,
    "rows": lambda: changed(torch.zeros(3, 2), lambda t: [row.fill_(1) for row in t.unbind()]),
    "lists": lists,
    "out_variant": out_variant,
    "complex_views": complex_views,
    "conjugate": lambda: torch.polar(torch.ones(3), torch.arange(3.0)).conj(),
    "negative": lambda: torch.imag(torch.polar(torch.ones(3), torch.arange(3.0)).conj()),
    "no_elements": lambda: torch.zeros(3, 0).sum(1),
    "flipped": lambda: torch.arange(6).flip(0).view(2, 3).t(),
    "strided": lambda: torch.arange(9.0).as_strided((2, 2), (3, 1), 1),
    "default_dtype": in_float64,
    "gradients": with_gradients,
    "rope": lambda: torch.outer(torch.arange(4.0), 1 / 10000 ** (torch.arange(0, 8, 2) / 8)),
}


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_the_same_by_both(name, sequential):
    def build():
        return Holder(FUNCTIONS[name])

    by_key = made(build, "key", sequential)
    by_mode = made(build, "mode", sequential)
    assert same(by_mode.value, by_key.value)
    assert same(by_mode.after, by_key.after)
    if sequential:
        expected = eager(build)
        assert same_bits(by_mode.value.resolve_conj(), expected.value.resolve_conj())
        assert same_bits(by_mode.after, expected.after)


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_memory_that_nothing_wrote_to_is_zero(recorder):
    module = made(lambda: Holder(lambda: torch.ones(3).resize_(5)), recorder)
    assert same_bits(module.value, torch.tensor([1.0, 1, 1, 0, 0]))
    module = made(lambda: Holder(lambda: torch.empty(1000)), recorder)
    assert same_bits(module.value, torch.zeros(1000))


@torch.inference_mode()
def in_inference_mode():
    return torch.arange(3.0) * 2


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_inference_tensors_are_recorded(recorder):
    module = made(lambda: Holder(lambda: in_inference_mode().clone()), recorder)
    assert same_bits(module.value, torch.tensor([0.0, 2, 4]))


MADE_ELSEWHERE = torch.ones(3, device="meta")

REFUSED = {
    "sparse": ("to_sparse", "sparse", lambda: torch.eye(3).to_sparse()),
    "quantized": (
        "quantize_per_tensor",
        "(quantized|another size or dtype)",  # torch 2.15's meta kernel makes a plain tensor
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    ),
    "made_elsewhere": ("mul", "not made under", lambda: MADE_ELSEWHERE * 2),
    "view_of_a_real": (
        "mul_",
        "view of a real",
        lambda: first_of(torch.tensor([1.0, 2]), torch.ones(2)).mul_(2),
    ),
    "real_and_meta": (
        "_foreach_add_",
        "real and to a meta",
        lambda: torch._foreach_add_([torch.zeros(3), torch.tensor([1.0, 2, 3])], 2.0),
    ),
    "storage_of_a_real": (
        "set_",
        "share the storage",
        lambda: torch.ones(3).set_(torch.tensor([1.0, 2, 3])),
    ),
    "shape_that_only_values_tell": (
        "nonzero",
        "cannot run on the meta device",
        lambda: torch.nonzero(torch.arange(3), out=torch.empty(0, dtype=torch.long)),
    ),
}


@pytest.mark.parametrize("recorder", ["key", "mode"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_names_the_operator(name, recorder):
    operator, message, function = REFUSED[name]
    # The key's errors come through the dispatcher, which keeps no more than their text.
    kind = fakescore.BuildError if recorder == "mode" else RuntimeError
    with pytest.raises(kind, match=f"aten::_?{operator}: .*{message}"):
        made(lambda: Holder(function), recorder)
    assert same_bits(made(lambda: Holder(lambda: torch.ones(2)), recorder).value, torch.ones(2))


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_autocast_is_refused(recorder):
    with (
        pytest.raises(fakescore.BuildError, match=r"torch\.ones: .*autocast"),
        torch.autocast("cpu", torch.bfloat16),
    ):
        made(lambda: Holder(lambda: torch.ones(2)), recorder)
    with fakescore.meta_init(recorder=recorder):
        module = Holder(lambda: torch.rand(4, 4) @ torch.rand(4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        fakescore.materialize(module, NOTHING)
    assert module.value.dtype == torch.float32


WRITES = {
    "tensor": (lambda: torch.ones(3), lambda value: value.mul_(2)),
    "parameter": (lambda: nn.Parameter(torch.ones(3)), lambda value: value.detach().mul_(2)),
    "detached": (lambda: torch.ones(3).detach(), lambda value: value.mul_(2)),
    "one_of_many_views": (lambda: torch.zeros(3, 2).unbind(), lambda value: value[2].add_(1)),
}


@pytest.mark.parametrize("recorder", ["key", "mode"])
@pytest.mark.parametrize("name", WRITES)
def test_writes_that_were_not_recorded_are_refused(name, recorder):
    function, write = WRITES[name]
    with fakescore.meta_init(recorder=recorder):
        module = Holder(function)
    write(module.value)
    with pytest.raises(fakescore.BuildError, match="was written to after"):
        fakescore.materialize(module, NOTHING)


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_a_cast_after_recording_is_seen_by_a_write_to_the_new_tensor(recorder):
    with fakescore.meta_init(recorder=recorder):
        module = Holder(lambda: nn.Parameter(torch.arange(3.0)))
        module.value.data = module.value.data.double()
    module.value.detach().mul_(2)
    with pytest.raises(fakescore.BuildError, match="was written to after"):
        fakescore.materialize(module, NOTHING)


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_real_tensors_are_copied_or_watched(recorder):
    small, large = torch.ones(3), torch.ones(400_000)
    with fakescore.meta_init(recorder=recorder):
        module = Holder(lambda: small * torch.full((3,), 2.0))
        wide = Holder(lambda: large * torch.full((400_000,), 2.0))
    small.mul_(5)
    large.mul_(5)
    assert same_bits(fakescore.materialize(module, NOTHING).value, torch.full((3,), 2.0))
    with pytest.raises(fakescore.BuildError, match=r"aten::mul: a real tensor .* has changed"):
        fakescore.materialize(wide, NOTHING)


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_only_what_the_teacher_lacks_is_computed(recorder):
    class Impossible(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("factor", torch.linalg.cholesky(-torch.eye(3)))
            self.view = self.factor[1:]
            self.register_buffer("other", torch.ones(2))

    with fakescore.meta_init(recorder=recorder):
        module = Impossible()
    teacher = {"factor": torch.eye(3)}
    with pytest.raises(fakescore.BuildError, match=r"cholesky.*wanted for factor"):
        fakescore.materialize(module, {"other": torch.zeros(2)})
    fakescore.materialize(module, teacher)
    assert same_bits(module.view, torch.eye(3)[1:])
    assert same_bits(module.other, torch.ones(2))


class Parts(nn.Module):
    """Registered tensors and others in one storage."""

    def __init__(self):
        super().__init__()
        self.register_buffer("own", torch.ones(1))
        self.weight = nn.Parameter(torch.randn(6, 2))
        self.tied = nn.Parameter(self.weight.detach())
        self.rows = self.weight.detach()[:3]
        self.flipped = self.weight.data.t()
        self.register_buffer("last", self.weight.detach()[5], persistent=False)
        self.wide = torch.ones(2).expand(4, 2)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_what_shares_storage_shares_it_afterwards(recorder, dtype):
    module = made(Parts, recorder, dtype=dtype)
    weight = eager(Parts).weight.to(dtype).detach()
    storage = module.weight.untyped_storage()
    for tensor in (module.tied, module.rows, module.flipped, module.last):
        assert tensor.untyped_storage()._cdata == storage._cdata
    assert module.weight.std() > 0
    assert module.weight.shape == weight.shape and module.weight.dtype == weight.dtype
    assert same_bits(module.flipped, module.weight.t())
    assert same_bits(module.rows, module.weight[:3])
    assert module.wide.untyped_storage().nbytes() == 8


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_a_teacher_may_have_a_part_of_a_storage(recorder):
    class Overlapping(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("all", torch.arange(6.0))
            self.register_buffer("first", self.all[:3])
            self.register_buffer("middle", self.all.detach()[2:5], persistent=False)

    with fakescore.meta_init(recorder=recorder):
        module = Overlapping()
    fakescore.materialize(module, {"first": torch.full((3,), 9.0)})
    assert module.all.tolist() == [9, 9, 9, 3, 4, 5]
    assert module.middle.tolist() == [9, 3, 4]
    assert fakescore.last_report().replayed == ("all", "middle")


def test_parts_may_be_filled_and_trained_one_after_another():
    with fakescore.meta_init(recorder="mode"):
        first, second = nn.Linear(2, 2), nn.Linear(2, 2)
        second.weight = nn.Parameter(first.weight.detach())
    fakescore.materialize(first, {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)})
    with torch.no_grad():
        first.weight.fill_(3)
    fakescore.materialize(second, {"bias": torch.zeros(2)})
    assert 0 < second.weight.std() < 1
    assert fakescore.last_report().replayed == ("weight",)


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_a_plan_needs_no_values(recorder):
    with fakescore.meta_init(recorder=recorder) as init:
        layer = nn.Linear(1_000_000, 1_000_000)
    tensors = [layer.weight.detach(), layer.bias.detach(), None]
    target = _native.classes.Target()
    _native.value_of(
        target.set_tensors(["weight", "bias", "x"], [*tensors[:2], torch.ones(1)], [0, 0, 0], False)
    )
    init.tape.attach(target)
    target.set_recorded(init.tape.planned(tensors))
    options = calls.options_json(root=0, read="auto", device="cpu", strict=False, verify=False)
    teacher = native_teacher({"x": torch.ones(1)}, is_source=True, rank=0)
    shape = calls.options_json(**forecast_options(2, 1, 1, None))
    plan = _native.value_of(target.plan(teacher, 2, options, shape))
    assert [tensor["name"] for tensor in plan["replayed"]] == ["weight", "bias"]


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_they_nest_with_a_tape_of_their_own(recorder):
    with fakescore.meta_init(recorder=recorder, seed=1):
        first = nn.Linear(2, 2)
        with fakescore.meta_init(recorder=recorder, seed=2):
            inner = nn.Linear(2, 2)
            with pytest.raises(RuntimeError, match="not made under"):
                first.weight.detach().mul(2)
        last = nn.Linear(2, 2)
    bias = {"bias": torch.ones(2)}
    values = [fakescore.materialize(part, bias).weight for part in (first, inner, last)]
    with fakescore.meta_init(recorder=recorder, seed=1):
        expected = [nn.Linear(2, 2), nn.Linear(2, 2)]
    for part in expected:
        fakescore.materialize(part, bias)
    assert same_bits(values[0], expected[0].weight)
    assert same_bits(values[2], expected[1].weight)
    assert not same_bits(values[1], values[0])


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_threads_record_for_themselves(recorder):
    values = []

    def draw():
        for _ in range(20):
            with fakescore.meta_init(recorder=recorder, seed=1):
                module = Holder(lambda: torch.full((2,), torch.rand(3).sum().item()))
            fakescore.materialize(module, NOTHING)
            values.append(torch.cat([module.value, module.after]))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(values) == 80
    assert all(same_bits(value, values[0]) for value in values)


@pytest.mark.parametrize("recorder", ["key", "mode"])
def test_the_default_generator_and_dtype_are_left_alone(recorder):
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    with fakescore.meta_init(recorder=recorder):
        module = Holder(lambda: torch.full((2,), torch.rand(()).item()))
    torch.set_default_dtype(torch.float64)
    try:
        fakescore.materialize(module, NOTHING)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert module.after.dtype == torch.float32
    assert same_bits(torch.rand(5), expected)


def test_drawing_at_once_is_refused_where_draws_follow_one_another():
    def build():
        return Holder(lambda: torch.zeros(3).add(torch.tensor([1.0, 2, 3]).normal_()))

    assert same(made(build, "mode").value, made(build, "key").value)
    for recorder in ("key", "mode"):
        with pytest.raises(RuntimeError, match="aten::normal_: draws random numbers immediately"):
            made(build, recorder, sequential=True)


def test_the_recorder_is_chosen(monkeypatch):
    def chosen(name="auto"):
        with fakescore.meta_init(recorder=name):
            return type(recorders.make_recorder(name, seed=None, sequential=False)).__name__

    monkeypatch.delenv("FAKESCORE_RECORDER", raising=False)
    assert recorders.sees_key()
    assert chosen() == "_KeyRecorder"
    assert chosen("mode") == "_ModeRecorder"
    monkeypatch.setenv("FAKESCORE_RECORDER", "mode")
    assert chosen() == "_ModeRecorder"
    assert chosen("key") == "_KeyRecorder"
    monkeypatch.setenv("FAKESCORE_RECORDER", "tape")
    with pytest.raises(fakescore.ConfigError, match="FAKESCORE_RECORDER: is 'tape'"):
        chosen()
    monkeypatch.delenv("FAKESCORE_RECORDER")
    monkeypatch.setattr(recorders, "sees_key", lambda: False)
    assert chosen() == "_ModeRecorder"
    with pytest.raises(fakescore.ConfigError, match="no dispatch key"):
        chosen("key")


def test_the_probe_asks_for_the_key_itself(monkeypatch):
    class Deaf:
        """A guard under which nothing is seen."""

        def is_supported(self):
            return True

        def begin(self, sequential, seed):
            return '{"value": null}'

        def end(self):
            return '{"value": null}'

        def tape(self):
            return self

        def knows(self, tensors):
            return [tensor.is_meta for tensor in tensors]

    class Unsupported(Deaf):
        """Of a library that was built without the key."""

        def is_supported(self):
            return False

        def begin(self, sequential, seed):
            raise AssertionError("begun")

    probe = recorders.sees_key.__wrapped__
    assert probe()
    for guard in (Deaf, Unsupported):
        classes = type("Classes", (), {"Guard": guard})
        monkeypatch.setattr(recorders._native, "classes", classes)
        assert not probe()
