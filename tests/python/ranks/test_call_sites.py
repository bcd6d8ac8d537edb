"""The places where other projects make their fake scores, small, before and after.

`call_sites` has each project's own way, in its order; here the same goes through fakescore, and the
results are compared bit for bit on every rank.
"""

import functools
import os
import pathlib

import diffusers
import pytest
import torch
import torch.distributed as dist
from call_sites import fastgen, fastvideo, lightx2v, modelopt, self_forcing
from call_sites.wan import FOLDER, prediction
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn

import fakescore
from support import (
    MODELS,
    TIMEOUT,
    differences,
    named,
    same_bits,
    same_on_all_ranks,
    texts_of_all_ranks,
)

create = functools.partial(fakescore.create_fake_score_meta, timeout=TIMEOUT)
materialize = functools.partial(fakescore.materialize, timeout=TIMEOUT)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    """A folder that rank 0 made, on every rank; collective."""
    paths = [str(tmp_path_factory.mktemp("call_sites"))] if dist.get_rank() == 0 else [None]
    dist.broadcast_object_list(paths)
    return pathlib.Path(paths[0])


def made_by_rank_0(make):
    if dist.get_rank() == 0:
        make()
    dist.barrier()


@pytest.fixture(scope="module")
def pipeline(shared_folder):
    """The folder of a diffusers pipeline."""
    folder = shared_folder / "pipeline"
    made_by_rank_0(lambda: (folder.mkdir(), os.symlink(FOLDER, folder / "transformer")))
    return folder


# Model-Optimizer


def after_at_once(pipeline):
    return modelopt.checkpoint_activations(create(lambda: modelopt.load_transformer(pipeline)))


def after_wrapping_in_the_builder(pipeline):
    return create(lambda: modelopt.checkpoint_activations(modelopt.load_transformer(pipeline)))


def after_wrapping_between_the_steps(pipeline):
    with fakescore.meta_init():
        fake_score = modelopt.load_transformer(pipeline)
    return materialize(modelopt.checkpoint_activations(fake_score))


def after_with_the_teacher_of_the_last_rank(pipeline):
    last = dist.get_world_size() - 1
    teacher = modelopt.load_transformer(pipeline) if dist.get_rank() == last else None
    return modelopt.checkpoint_activations(
        create(lambda: modelopt.load_transformer(pipeline), teacher, source=last)
    )


@pytest.mark.parametrize(
    "after",
    [
        after_at_once,
        after_wrapping_in_the_builder,
        after_wrapping_between_the_steps,
        after_with_the_teacher_of_the_last_rank,
    ],
)
def test_modelopt_trains_the_same_fake_score(pipeline, after):
    expected = modelopt.load_fake_score(pipeline)
    fake_score = after(pipeline)
    assert differences(fake_score, expected) == []
    assert fake_score.config == expected.config
    assert fakescore.last_report().missing == fakescore.last_report().unexpected == ()
    outputs = modelopt.train(fake_score)
    expected_outputs = modelopt.train(expected)
    assert all(map(same_bits, outputs, expected_outputs))
    assert differences(fake_score, expected) == []
    assert not same_bits(outputs[0], outputs[-1])


def test_modelopts_discriminator_is_the_same_on_all_ranks(rank, world_size):
    # Its ranks are seeded differently, and it averages gradients alone.
    torch.manual_seed(1234 + rank)
    discriminator = nn.Sequential(nn.Conv2d(4, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 1, 1))
    assert same_on_all_ranks(discriminator) == (world_size == 1)
    fakescore.sync_module_states(discriminator, timeout=TIMEOUT)
    assert same_on_all_ranks(discriminator)


# FastGen


def fastgen_before(pipeline, precision):
    with fastgen.meta_on_other_ranks():
        torch.manual_seed(5)
        teacher = fastgen.Wan(pipeline)
    fake_score = fastgen.build_fake_score(pipeline, teacher)
    fake_score.to(dtype=precision)
    fastgen.fill_from_rank_0(fake_score, fastgen.state_dict_of_rank_0(fake_score))
    return teacher, fake_score


@pytest.mark.parametrize("teacher_is_cast", [False, True])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_fastgen_fills_later_from_a_teacher_that_is_real_on_rank_0(
    pipeline, precision, teacher_is_cast
):
    teacher, expected = fastgen_before(pipeline, precision)
    with fakescore.meta_init():
        fake_score = fastgen.Wan(pipeline)
    if teacher_is_cast:
        teacher.to(dtype=precision)
    fake_score.to(dtype=precision)
    materialize(fake_score, teacher, strict=True)
    assert differences(fake_score, expected) == []
    assert same_bits(fake_score.noise_scheduler._sigmas, expected.noise_scheduler._sigmas)
    assert fake_score.transformer.is_gradient_checkpointing
    # Nothing else was computed or sent: not what was recorded before the cast.
    assert fakescore.last_report().replayed == (
        "transformer.rope.freqs_cos",
        "transformer.rope.freqs_sin",
        "noise_scheduler._sigmas",
    )
    assert {t.dtype for t in fake_score.parameters()} == {precision}


def test_fastgen_may_keep_its_own_contexts(pipeline, rank):
    """Real on rank 0 and on meta elsewhere; the buffers that no state dict holds are rank 0's."""
    teacher, expected = fastgen_before(pipeline, torch.float32)
    with fastgen.meta_on_other_ranks():
        fake_score = fastgen.Wan(pipeline)
    with pytest.raises(fakescore.BuildError, match=r"transformer\.rope\.freqs_cos"):
        materialize(fake_score, teacher)
    materialize(fake_score, teacher, init="keep")
    assert differences(fake_score, expected) == []
    # Without a record nobody knows of tensors that are not registered: they stay its own affair.
    assert fake_score.noise_scheduler._sigmas.is_meta == (rank != 0)
    fake_score.reset_parameters()
    assert same_bits(fake_score.noise_scheduler._sigmas, expected.noise_scheduler._sigmas)


def test_fastgen_reads_its_pipeline_without_a_teacher(pipeline):
    fake_score = create(
        lambda: fastgen.Wan(pipeline),
        fakescore.Checkpoint(pipeline, subfolder="transformer"),
        map_keys={"^": "transformer."},
    )
    expected = fastgen.Wan(pipeline)
    new = ("logvar", "transformer.logvar_linear", "transformer.r_embedder")
    assert all(name.startswith(new) for name in differences(fake_score, expected))
    assert all(name.startswith(new) for name in fakescore.last_report().missing)
    assert same_on_all_ranks(fake_score)


def test_fastgen_reads_scalars_of_old_checkpoints(pipeline, shared_folder):
    path = shared_folder / "old.pth"

    def save():
        torch.manual_seed(9)
        state_dict = fastgen.Wan(pipeline).state_dict()
        state_dict["logvar"] = torch.tensor(-1.25)
        torch.save(state_dict, path)

    made_by_rank_0(save)
    expected = fastgen.Wan(pipeline)
    fastgen.load_checkpoint(expected, path)
    fake_score = create(lambda: fastgen.Wan(pipeline), path, strict=True)
    assert differences(fake_score, expected) == []
    assert fake_score.logvar.shape == (1,)


# FastVideo


@pytest.fixture(scope="module")
def published_files(shared_folder):
    """A checkpoint in two files, under the names of the project that published it."""
    files = [shared_folder / f"{index}.safetensors" for index in range(2)]

    def save():
        with torch.random.fork_rng():
            torch.manual_seed(2)
            published = fastvideo.published_names(fastvideo.VideoTransformer().state_dict())
        names = sorted(published)
        for file, own in zip(files, (names[::2], names[1::2]), strict=True):
            save_file({name: published[name] for name in own}, file)

    made_by_rank_0(save)
    return files


KEY_MAPS = {
    "by_hand": {
        r"^transformer_blocks\.(\d+)\.attn\.": "blocks.$1.",
        r"to_out\.0\.": "to_out.",
        r"^x_embedder\.": "patch_embedding.",
        "to_qkv": ["to_q", "to_k", "to_v"],
    },
    "from_its_own": fastvideo.key_map_of(fastvideo.VideoTransformer.param_names_mapping),
}


def fill_freqs(part):
    """New parameters stay zeros, as FastVideo has them."""
    if isinstance(part, fastvideo.VideoTransformer):
        part.materialize_non_persistent_buffers()


@pytest.mark.parametrize("context", ["its_own", "meta_init"])
@pytest.mark.parametrize("key_map", KEY_MAPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fastvideo_maps_and_merges_names(published_files, dtype, key_map, context):
    expected = fastvideo.load(published_files, dtype)
    is_own = context == "its_own"
    with (
        fastvideo.default_dtype(dtype),
        torch.device("meta") if is_own else fakescore.meta_init(),
    ):
        model = fastvideo.VideoTransformer()
    init = fill_freqs if is_own else None
    materialize(model, published_files, map_keys=KEY_MAPS[key_map], init=init)
    assert differences(model, expected) == []
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert same_bits(model(x), expected(x))
    # What the loader has an allow-list for.
    new = fakescore.last_report().missing
    assert new and all("gate_compress" in name for name in new)
    assert fakescore.last_report().unexpected == ()


def test_fastvideo_is_told_what_no_file_has(published_files):
    with torch.device("meta"):
        model = fastvideo.VideoTransformer()
    with pytest.raises(fakescore.BuildError, match=r"freqs, blocks\.0\.to_gate_compress"):
        materialize(model, published_files, map_keys=KEY_MAPS["by_hand"])
    with pytest.raises(fakescore.TeacherError, match=r"missing.*gate_compress"):
        materialize(
            model, published_files, map_keys=KEY_MAPS["by_hand"], init=fill_freqs, strict=True
        )


# LightX2V


def load_by_fakescore(pipeline, **options):
    return create(lambda: lightx2v.load_transformer(pipeline), **options)


def test_lightx2v_loads_each_role_by_one_line(pipeline):
    roles = []
    for load in (lightx2v.load_transformer, load_by_fakescore):
        model = lightx2v.WanModel.from_pretrained(pipeline, load)
        model.set_full_trainable()
        roles.append(model.transformer)
    expected, fake_score = roles
    assert differences(fake_score, expected) == []
    assert all(parameter.requires_grad for parameter in fake_score.parameters())
    assert same_bits(prediction(fake_score), prediction(expected))


# PEFT gives adapters the dtype of what they are added to, but leaves those on meta as they are.
of_adapters = {
    "trainable": lambda name, parameter: "lora_" in name,
    "dtype_rules": {"lora_": torch.bfloat16},
}


def test_lightx2v_adds_adapters_afterwards(pipeline):
    models = []
    for load in (lightx2v.load_transformer, load_by_fakescore):
        model = lightx2v.WanModel.from_pretrained(pipeline, load)
        torch.manual_seed(6)
        model.add_lora()
        model.set_lora_trainable()
        models.append(model.transformer)
    expected, fake_score = models
    assert differences(fake_score, expected) == []
    assert trained(fake_score) == trained(expected)


def trained(module):
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("how", ["add_adapter", "get_peft_model"])
def test_lightx2v_adds_adapters_in_the_builder(pipeline, rank, how):
    def build():
        if how == "add_adapter":
            model = lightx2v.WanModel.from_pretrained(pipeline, lightx2v.load_transformer)
            model.add_lora()
            return model.transformer
        config = LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
        return get_peft_model(lightx2v.load_transformer(pipeline), config)

    torch.manual_seed(40 + rank)
    expected = build().train()
    expected.requires_grad_(False)
    for name, parameter in expected.named_parameters():
        parameter.requires_grad = "lora_" in name
    torch.manual_seed(40 + rank)
    options = of_adapters if how == "add_adapter" else {"trainable": of_adapters["trainable"]}
    fake_score = create(build, **options)
    unequal = differences(fake_score, expected)
    assert unequal and all("lora_A" in name for name in unequal)
    assert trained(fake_score) == trained(expected)
    dtypes = {name: tensor.dtype for name, tensor in named(expected)}
    assert {name: tensor.dtype for name, tensor in named(fake_score)} == dtypes
    assert all("lora_" in name for name in fakescore.last_report().missing)
    # Adapters that each rank draws for itself would differ.
    assert same_on_all_ranks(fake_score)
    # As yet they do nothing, so that it predicts what the teacher does.
    assert same_bits(prediction(fake_score), prediction(lightx2v.load_transformer(pipeline)))
    prediction(fake_score).float().square().mean().backward()
    with_gradient = {name for name, p in fake_score.named_parameters() if p.grad is not None}
    assert with_gradient == trained(fake_score)


def test_lightx2v_goes_on_from_adapters_that_were_trained(pipeline, rank, last):
    def build():
        model = lightx2v.WanModel.from_pretrained(pipeline, lightx2v.load_transformer)
        model.add_lora()
        return model.transformer

    torch.manual_seed(3)
    trained_before = build()
    for name, parameter in trained_before.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    teacher = trained_before if rank == last else None
    fake_score = create(build, teacher, source=last, strict=True, **of_adapters)
    assert differences(fake_score, trained_before) == []


# Self-Forcing and CausVid


def test_self_forcing_loads_in_a_constructor(rank):
    expected = self_forcing.WanDiffusionWrapper(FOLDER).train()
    fake_score = create(lambda: self_forcing.WanDiffusionWrapper(FOLDER))
    assert differences(fake_score, expected) == []
    assert fake_score.model.config == expected.model.config
    for name, tensor in vars(expected.scheduler).items():
        if isinstance(tensor, torch.Tensor):
            assert same_bits(getattr(fake_score.scheduler, name), tensor)
    assert same_bits(prediction(fake_score.model), prediction(expected.model))
    teacher = expected.state_dict() if rank == 0 else None
    again = create(lambda: self_forcing.WanDiffusionWrapper(FOLDER), teacher, strict=True)
    assert differences(again, expected) == []


def test_self_forcing_fills_all_roles_at_once():
    expected = self_forcing.DMD(FOLDER)
    dmd = create(
        lambda: self_forcing.DMD(FOLDER),
        trainable=lambda name, parameter: not name.startswith("real_score."),
    )
    assert differences(dmd, expected) == []
    assert trained(dmd) == trained(expected)
    assert dmd.generator.model.config == expected.generator.model.config
    assert same_bits(dmd.denoising_step_list, expected.denoising_step_list)


class Holder(nn.Module):
    """Something that gives the wrapper another name."""

    def __init__(self, score):
        super().__init__()
        self.score = score


def in_data_parallel(score):
    from torch.distributed.algorithms._checkpoint import checkpoint_wrapper as wrapping

    score.model.blocks[1] = wrapping.checkpoint_wrapper(score.model.blocks[1])
    return Holder(Holder(score))


@pytest.mark.parametrize("wrap", [Holder, torch.compile, in_data_parallel])
def test_self_forcing_wraps_before_it_fills(wrap):
    with fakescore.meta_init():
        fake_score = self_forcing.WanDiffusionWrapper(FOLDER, is_causal=True)
    expected = self_forcing.WanDiffusionWrapper(FOLDER, is_causal=True)
    wrapped = materialize(wrap(fake_score), strict=True)
    assert differences(wrapped, wrap(expected)) == []


def test_self_forcing_replaces_blocks_in_a_constructor():
    build = functools.partial(
        self_forcing.WanDiffusionWrapper, FOLDER, is_causal=True, use_float_tokens=True
    )
    expected = build()
    fake_score = create(build)
    unequal = differences(fake_score, expected)
    assert unequal == [f"model.blocks.{index}.float_tokens" for index in range(3)]
    assert set(fakescore.last_report().missing) == set(unequal)
    assert fake_score.model.blocks[0].float_tokens.std() > 0.01
    assert same_on_all_ranks(fake_score)


def test_self_forcing_reads_checkpoints_without_the_prefix(rank):
    transformer = diffusers.WanTransformer3DModel.from_pretrained(FOLDER)
    generator = {name: value * 2 for name, value in transformer.state_dict().items()}
    fake_score = create(
        lambda: self_forcing.WanDiffusionWrapper(FOLDER),
        generator if rank == 0 else None,
        map_keys={"^": "model."},
        strict=True,
    )
    assert all(same_bits(fake_score.model.state_dict()[n], v) for n, v in generator.items())


# Published files


def test_names_of_old_attention_blocks_are_followed(shared_folder):
    """As the files of google/ddpm-cifar10-32 have them."""
    folder = shared_folder / "old_unet2d"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def save():
        unet = diffusers.UNet2DModel.from_pretrained(MODELS / "unet2d")
        unet.save_config(folder)
        tensors = {}
        for name, value in unet.state_dict().items():
            now = next((now for now in old if f".{now}." in name), None)
            tensors[name.replace(now, old[now]) if now else name] = value.contiguous()
        assert any("proj_attn" in name for name in tensors)
        save_file(tensors, folder / "diffusion_pytorch_model.safetensors")

    made_by_rank_0(save)
    fake_score = create(lambda: diffusers.UNet2DModel.from_pretrained(folder))
    assert differences(fake_score, diffusers.UNet2DModel.from_pretrained(folder)) == []
    assert differences(fake_score, diffusers.UNet2DModel.from_pretrained(MODELS / "unet2d")) == []
    assert fakescore.last_report().unexpected == ()


def test_names_of_the_hub_are_looked_up_in_its_cache(shared_folder):
    cache = shared_folder / "hub"
    snapshot = cache / "models--org--tiny-wan" / "snapshots" / ("0" * 40)

    def download():
        snapshot.mkdir(parents=True)
        os.symlink(FOLDER, snapshot / "transformer")
        refs = snapshot.parents[1] / "refs"
        refs.mkdir()
        (refs / "main").write_text("0" * 40)

    made_by_rank_0(download)
    load = functools.partial(
        diffusers.WanTransformer3DModel.from_pretrained,
        "org/tiny-wan",
        subfolder="transformer",
        cache_dir=cache,
        local_files_only=True,
    )
    fake_score = create(load)
    expected = load().train()
    assert differences(fake_score, expected) == []
    assert fake_score.config == expected.config
    with pytest.raises(fakescore.ConfigError, match=r"org/other.*snapshot_download") as raised:
        create(lambda: diffusers.WanTransformer3DModel.from_pretrained("org/other"))
    assert len(set(texts_of_all_ranks(str(raised.value)))) == 1
