"""create_fake_score_meta and materialize on every rank of a job."""

import copy
import functools
import gc

import diffusers
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn

import fakescore
from support import (
    MODELS,
    TIMEOUT,
    Net,
    differences,
    same_bits,
    same_on_all_ranks,
    seeded,
    texts_of_all_ranks,
)
from tiny_models import CLASSES

create = functools.partial(fakescore.create_fake_score_meta, timeout=TIMEOUT)
materialize = functools.partial(fakescore.materialize, timeout=TIMEOUT)


def only_on(source, rank, teacher):
    return teacher if rank == source else None


@pytest.mark.usefixtures("each_recorder")
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("model", CLASSES)
def test_from_pretrained_in_a_builder_becomes_the_teacher(model, dtype):
    load = functools.partial(CLASSES[model].from_pretrained, MODELS / model, torch_dtype=dtype)
    fake_score = create(load)
    expected = load().train()
    assert differences(fake_score, expected) == []
    assert fake_score.training
    assert all(parameter.requires_grad for parameter in fake_score.parameters())
    assert fakescore.last_report().missing == ()
    assert fakescore.last_report().unexpected == ()


@pytest.mark.usefixtures("each_recorder")
def test_outputs_and_gradients_are_those_of_from_pretrained():
    load = functools.partial(diffusers.UNet2DModel.from_pretrained, MODELS / "unet2d")
    # A copy: torch's kernels may round otherwise where weights are a file's pages, not aligned.
    expected = copy.deepcopy(load()).train()
    results = []
    for model in (create(load), expected):
        torch.manual_seed(3)
        sample = torch.randn(1, model.config.in_channels, 32, 32)
        output = model(sample, 7, class_labels=torch.tensor([1])).sample
        output.square().mean().backward()
        results.append((output, [parameter.grad for parameter in model.parameters()]))
    assert same_bits(results[0][0], results[1][0])
    assert all(map(same_bits, results[0][1], results[1][1]))


@pytest.mark.usefixtures("each_recorder")
@pytest.mark.parametrize("where", ["none", "meta"])
def test_a_module_is_needed_on_the_source_alone(rank, last, where):
    teacher = seeded() if rank == last else None
    if teacher is None and where == "meta":
        with torch.device("meta"):
            teacher = Net()
    fake_score = create(Net, teacher, source=last)
    expected = seeded()
    assert differences(fake_score, expected) == []
    assert same_bits(fake_score.mask, expected.mask)
    assert same_bits(fake_score.scheduler.sigmas, expected.scheduler.sigmas)
    assert fake_score.extra["tables"][0].shape == (3,)
    assert fake_score.head.weight is fake_score.embed.weight
    assert same_on_all_ranks(fake_score)
    assert torch.isfinite(fake_score(torch.arange(16))).all()


@pytest.mark.usefixtures("each_recorder")
def test_random_values_that_no_teacher_has_are_the_sources(rank):
    torch.manual_seed(100 + rank)
    fake_score = create(Net, only_on(0, rank, {"scale": torch.tensor([3.0])}))
    assert fake_score.scale.item() == 3
    assert "blocks.1.to_qkv.weight" in fakescore.last_report().missing
    assert fake_score.embed.weight.std() > 0.5
    assert same_on_all_ranks(fake_score)
    tables = texts_of_all_ranks(str(fake_score.extra["tables"][0].tolist()))
    assert len(set(tables)) == 1


@pytest.mark.parametrize("read", ["auto", "root", "all"])
def test_files_are_read_by_the_source_or_by_all(tmp_path_factory, rank, read, world_size):
    paths = [None]
    if rank == 0:
        folder = tmp_path_factory.mktemp("teacher")
        tensors = {name: t.clone() for name, t in seeded().state_dict().items()}
        save_file(tensors, folder / "model.safetensors")
        paths = [str(folder)]
    dist.broadcast_object_list(paths)
    fake_score = create(Net, paths[0], read=read, verify=True)
    assert differences(fake_score, seeded()) == []
    report = fakescore.last_report()
    assert report.read == ("root" if read == "root" or world_size == 1 else "all")
    assert report.digest
    assert report.taken.endswith("model.safetensors")


@pytest.mark.usefixtures("each_recorder")
def test_dtypes_by_rule(rank):
    teacher = only_on(0, rank, seeded().state_dict())
    fake_score = create(
        Net,
        teacher,
        dtype=torch.bfloat16,
        dtype_rules={"norm": torch.float32, r"^scale$": torch.half},
    )
    expected = seeded()
    assert same_bits(fake_score.embed.weight, expected.embed.weight.bfloat16())
    assert same_bits(fake_score.blocks[0].norm.weight, expected.blocks[0].norm.weight)
    assert same_bits(fake_score.scale, expected.scale.half())
    assert same_bits(fake_score.freqs, expected.freqs.bfloat16())
    assert fake_score.steps.dtype == torch.long
    assert fake_score.scheduler.sigmas.dtype == torch.float32
    assert fake_score.head.weight is fake_score.embed.weight


def split_qkv(state_dict):
    """As other code bases store attention, under another prefix and another name."""
    stored = {}
    for name, value in state_dict.items():
        there = "net." + name.replace("blocks.", "layers.")
        if "to_qkv" not in there:
            stored[there] = value
            continue
        for part, chunk in zip("qkv", value.chunk(3), strict=True):
            stored[there.replace("to_qkv", f"to_{part}")] = chunk
    return stored


@pytest.mark.parametrize("kind", ["dict", "callable"])
def test_names_are_mapped_and_parts_merged(rank, kind):
    stored = split_qkv(seeded().state_dict())
    key_map = {
        r"^net\.": "",
        r"^layers\.(\d+)\.": "blocks.$1.",
        "to_qkv": ["to_q", "to_k", "to_v"],
    }
    if kind == "callable":
        stored = {name.replace("blocks.", "x."): t for name, t in seeded().state_dict().items()}
        stored["optimizer.step"] = torch.zeros(1)

        def key_map(name):
            return None if name.startswith("optimizer") else name.replace("x.", "blocks.")

    fake_score = create(Net, only_on(0, rank, stored), map_keys=key_map, strict=True)
    assert differences(fake_score, seeded()) == []


def test_a_prefix_is_stripped_and_a_wrong_one_explained(rank):
    stored = {"model." + name: value for name, value in seeded().state_dict().items()}
    fake_score = create(Net, only_on(0, rank, stored), map_keys="model.", strict=True)
    assert differences(fake_score, seeded()) == []
    with pytest.raises(fakescore.TeacherError, match=r'they begin with "model\.'):
        create(Net, only_on(0, rank, stored), map_keys="module.")


@pytest.mark.usefixtures("each_recorder")
def test_names_of_wrappers_are_taken_off_on_either_side(rank):
    stored = {f"module._orig_mod.{name}": value for name, value in seeded().state_dict().items()}
    stored["module.blocks.0.attention._extra_state"] = torch.zeros(3, dtype=torch.uint8)
    with fakescore.meta_init():
        net = Net()
    from torch.distributed.algorithms._checkpoint import checkpoint_wrapper as wrapper

    net.blocks[0] = wrapper.checkpoint_wrapper(net.blocks[0])
    compiled = torch.compile(net)
    materialize(compiled, only_on(0, rank, stored), strict=True)
    assert fakescore.last_report().skipped == ("blocks.0.attention._extra_state",)
    assert same_bits(net.embed.weight, seeded().embed.weight)
    assert not any(t.is_meta for t in net.state_dict().values())


@pytest.mark.usefixtures("each_recorder")
def test_a_trainer_may_cast_between_the_two_steps(rank):
    with fakescore.meta_init():
        net = Net()
    kept = net.embed.weight
    net = net.to(torch.bfloat16)
    materialize(net, only_on(0, rank, seeded()))
    expected = seeded().to(torch.bfloat16)
    assert differences(net, expected) == []
    assert net.embed.weight is kept
    assert not hasattr(net, "_fakescore_record")


@pytest.mark.usefixtures("each_recorder")
def test_deep_copies_of_parts_follow_their_record(rank):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = copy.deepcopy(self.first)
            self.register_buffer("freqs", torch.arange(4) / 7, persistent=False)

    with fakescore.meta_init(seed=11):
        module = Twice()
    module = copy.deepcopy(module).double()
    weights = {"first.weight": torch.eye(4), "first.bias": torch.zeros(4)}
    materialize(module, only_on(0, rank, weights))
    assert same_bits(module.first.weight, torch.eye(4).double())
    assert same_bits(module.freqs, (torch.arange(4) / 7).double())
    assert module.second.weight.abs().sum() > 0
    assert same_on_all_ranks(module)


def test_modules_on_plain_meta_need_their_values_from_somewhere(rank, last):
    with torch.device("meta"):
        net = Net()
    teacher = only_on(last, rank, seeded())
    with pytest.raises(fakescore.BuildError, match="freqs: is not in the teacher"):
        materialize(net, teacher, source=last)
    with pytest.raises(fakescore.BuildError, match=r"embed\.weight, blocks\.0\.to_qkv\.weight, "):
        materialize(net, only_on(last, rank, {"scale": torch.ones(1)}), source=last)

    called = []

    def init(module):
        called.append(type(module).__name__)
        module.freqs.copy_(torch.arange(8) / 3)

    materialize(net, teacher, source=last, init=init)
    assert differences(net, seeded()) == []
    assert called == (["Net"] if rank == last else [])


def test_memory_without_a_record_is_no_value(rank):
    net = seeded().to_empty(device="cpu")
    with pytest.raises(fakescore.BuildError, match="freqs"):
        materialize(net, only_on(0, rank, seeded()))
    real = seeded(9)
    materialize(real, only_on(0, rank, {"scale": torch.ones(1)}), init="keep")
    assert same_bits(real.embed.weight, seeded(9).embed.weight)
    assert real.scale.item() == 1


def test_memory_that_was_given_after_a_record_is_no_value(rank):
    with fakescore.meta_init():
        net = Net()
    net.to_empty(device="cpu")
    net.freqs.fill_(13)
    net.scale.fill_(13)  # it was real when it was made
    lacking = {name: tensor for name, tensor in seeded().state_dict().items() if name != "scale"}
    with pytest.raises(fakescore.BuildError, match=r"scale, freqs.*no to_empty after it"):
        materialize(net, only_on(0, rank, lacking))
    materialize(net, only_on(0, rank, lacking), init="keep")
    assert net.freqs.unique().item() == net.scale.item() == 13
    assert same_bits(net.embed.weight, seeded().embed.weight)


def test_what_was_real_when_it_was_made_keeps_its_values(rank):
    with fakescore.meta_init():
        net = Net()
    net.scale.fill_(3 + rank)  # the source's counts
    net = net.to(torch.float64)
    net.freqs = torch.arange(8.0) / 5
    lacking = {name: tensor for name, tensor in seeded().state_dict().items() if name != "scale"}
    with pytest.raises(fakescore.BuildError, match="freqs"):
        materialize(net, only_on(0, rank, lacking))
    materialize(net, only_on(0, rank, lacking), init="keep")
    assert net.scale.item() == 3
    assert same_bits(net.freqs, torch.arange(8.0) / 5)


def test_a_new_layer_says_nothing_of_what_was_cast_or_copied(rank):
    with fakescore.meta_init():
        net = Net()
    net = copy.deepcopy(net.to(torch.bfloat16))
    net.head.weight = nn.Parameter(torch.zeros(16, 8, dtype=torch.bfloat16))
    lacking = {name: tensor for name, tensor in seeded().state_dict().items() if name != "scale"}
    materialize(net, only_on(0, rank, lacking))
    assert net.scale.item() == 2
    assert same_bits(net.freqs, seeded().to(torch.bfloat16).freqs)


def test_reset_parameters_gives_what_is_missing(rank):
    with torch.device("meta"):
        layer = nn.Linear(6, 6)
    torch.manual_seed(rank)
    materialize(layer, only_on(0, rank, {"bias": torch.ones(6)}), init="reset_parameters")
    assert layer.weight.std() > 0
    assert same_bits(layer.bias, torch.ones(6))
    assert same_on_all_ranks(layer)


@pytest.mark.usefixtures("each_recorder")
def test_only_what_is_chosen_is_trained(rank):
    names = []

    def adapters(name, parameter):
        names.append(name)
        return name.startswith("blocks.1")

    fake_score = create(Net, only_on(0, rank, seeded()), trainable=adapters)
    trained = {name for name, p in fake_score.named_parameters() if p.requires_grad}
    assert trained and all(name.startswith("blocks.1") for name in trained)
    assert "head.weight" in names


@pytest.mark.usefixtures("each_recorder")
def test_temporaries_that_live_on_one_rank_change_nothing(rank, last):
    def build():
        net = Net()
        if rank == last:
            cycle = [torch.randn(5)]
            cycle.append(cycle)
        return net

    gc.disable()
    try:
        fake_score = create(build, only_on(0, rank, seeded()))
    finally:
        gc.enable()
    assert differences(fake_score, seeded()) == []


@pytest.mark.usefixtures("each_recorder")
def test_what_one_ranks_builder_raises_all_raise(rank, last):
    def build():
        if rank == last:
            raise KeyError("no such layer")
        return Net()

    with pytest.raises(fakescore.BuildError) as raised:
        create(build, only_on(0, rank, seeded()))
    texts = texts_of_all_ranks(str(raised.value))
    assert set(texts) == {texts[0]}
    assert f"rank {last} in build: KeyError: 'no such layer'" in texts[0]
    assert raised.value.rank == last and raised.value.phase == "build"
    assert isinstance(raised.value.__cause__, KeyError) == (rank == last)
    # The group still works.
    assert differences(create(Net, only_on(0, rank, seeded())), seeded()) == []


def test_a_teacher_that_does_not_fit_is_the_same_error_everywhere(rank):
    stored = seeded().state_dict()
    stored["scale"] = torch.ones(2)
    with pytest.raises(fakescore.TeacherError, match=r"scale: has shape \[2\] in the teacher"):
        create(Net, only_on(0, rank, stored))
    with pytest.raises(fakescore.TeacherError, match="the teacher of rank 0"):
        create(Net)
    with pytest.raises(fakescore.ConfigError, match="is a int and no tensor"):
        create(Net, only_on(0, rank, {"scale": 3}))
    with pytest.raises(fakescore.TeacherError, match="/no/such/folder"):
        create(Net, only_on(0, rank, "/no/such/folder"))
    with pytest.raises(fakescore.TeacherError, match="1 unexpected"):
        create(Net, only_on(0, rank, {**seeded().state_dict(), "x": torch.ones(1)}), strict=True)


@pytest.mark.usefixtures("several")
def test_ranks_that_build_different_modules_are_named(rank):
    with pytest.raises(fakescore.MismatchError, match="freqs"):
        create(lambda: Net(width=8 + 8 * rank), only_on(0, rank, seeded()))


@pytest.mark.usefixtures("several", "each_recorder")
def test_a_subgroup_is_a_job_of_its_own(rank, last):
    group = dist.new_group([0, last])
    if rank not in (0, last):
        with pytest.raises(fakescore.ConfigError, match="does not have this rank"):
            create(Net, seeded(), process_group=group)
        return
    own = dist.get_rank(group)
    fake_score = create(Net, only_on(1, own, seeded()), source=1, process_group=group)
    assert differences(fake_score, seeded()) == []
    assert fakescore.last_report().world_size == 2


def test_a_source_outside_the_group_is_refused(world_size):
    with pytest.raises(fakescore.ConfigError, match=f"{world_size} is not a rank"):
        create(Net, seeded(), source=world_size)


def test_the_result_trains_and_is_saved_and_resumed(tmp_path_factory, rank):
    import torch.distributed.checkpoint as dcp

    fake_score = create(Net, only_on(0, rank, seeded()))
    optimizer = torch.optim.AdamW(fake_score.parameters())
    fake_score(torch.arange(16)).square().mean().backward()
    optimizer.step()
    assert "embed.weight" in differences(fake_score, seeded())
    folders = [str(tmp_path_factory.mktemp("dcp"))] if rank == 0 else [None]
    dist.broadcast_object_list(folders)
    dcp.save(fake_score.state_dict(), checkpoint_id=folders[0])
    resumed = create(Net, folders[0], strict=True)
    assert differences(resumed, fake_score) == []
    restored = seeded().state_dict()
    dcp.load(restored, checkpoint_id=folders[0])
    assert all(same_bits(restored[name], value) for name, value in fake_score.state_dict().items())
    own = tmp_path_factory.mktemp("own")
    torch.save(fake_score, own / "module.pt")
    again = torch.load(own / "module.pt", weights_only=False)
    assert differences(again, fake_score) == []
