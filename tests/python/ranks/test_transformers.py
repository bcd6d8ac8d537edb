"""Models of transformers: ties, buffers that no file has, and arguments of `from_pretrained`."""

import functools

import pytest
import torch
import torch.distributed as dist
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MixtralConfig,
    MixtralForCausalLM,
)
from transformers import initialization as initialisation

import fakescore
from support import TIMEOUT, differences, same_bits, same_on_all_ranks, texts_of_all_ranks

create = functools.partial(fakescore.create_fake_score_meta, timeout=TIMEOUT)

LLAMA = LlamaConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    tie_word_embeddings=True,
    bos_token_id=1,
    eos_token_id=2,
)
GPT2 = GPT2Config(
    vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2
)
CLASSES = {"llama": (LlamaForCausalLM, LLAMA), "gpt2": (GPT2LMHeadModel, GPT2)}


def saved(folder, model):
    """`model` as rank 0 saves it, on every rank; collective."""
    paths = [str(folder)]
    dist.broadcast_object_list(paths)
    if dist.get_rank() == 0:
        model.save_pretrained(paths[0])
    dist.barrier()
    return paths[0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model with a head in each folder, in which the head is the embedding."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        models = {name: kind(config) for name, (kind, config) in CLASSES.items()}
    return {name: saved(tmp_path_factory.mktemp(name), model) for name, model in models.items()}


def embedding_of(model):
    return model.get_input_embeddings().weight


def assert_trains_as(model, expected):
    ids = torch.arange(12).reshape(2, 6)
    results = []
    for each in (model, expected):
        torch.manual_seed(2)  # dropout
        output = each(input_ids=ids, labels=ids)
        output.loss.backward()
        gradients = {name: p.grad for name, p in each.named_parameters() if p.grad is not None}
        results.append((output.logits, gradients))
    (logits, gradients), (expected_logits, expected_gradients) = results
    assert same_bits(logits, expected_logits)
    assert gradients.keys() == expected_gradients.keys()
    assert all(same_bits(gradients[name], expected_gradients[name]) for name in gradients)


def from_pretrained(kind, config, folder):
    return create(lambda: kind.from_pretrained(folder))


def from_pretrained_itself(kind, config, folder):
    return create(functools.partial(kind.from_pretrained, folder))


def by_an_auto_class(kind, config, folder):
    return create(lambda: AutoModelForCausalLM.from_pretrained(folder))


def by_its_constructor(kind, config, folder):
    return create(lambda: kind(config), folder)


def from_config_of_an_auto_class(kind, config, folder):
    return create(lambda: AutoModelForCausalLM.from_config(config), folder)


def without_initialisation(kind, config, folder):
    def build():
        with initialisation.no_init_weights():
            model = kind(config)
        model.tie_weights()
        return model

    return create(build, folder)


def in_two_steps_on_plain_meta(kind, config, folder):
    with torch.device("meta"):
        model = kind(config)

    def init(part):
        if hasattr(part, "inv_freq"):
            inverse, part.attention_scaling = part.compute_default_rope_parameters(part.config)
            part.inv_freq.copy_(inverse)
            part.original_inv_freq.copy_(inverse)

    return fakescore.materialize(model, folder, init=init, timeout=TIMEOUT)


@pytest.mark.parametrize(
    "build",
    [
        from_pretrained,
        from_pretrained_itself,
        by_an_auto_class,
        by_its_constructor,
        from_config_of_an_auto_class,
        without_initialisation,
        in_two_steps_on_plain_meta,
    ],
)
@pytest.mark.parametrize("name", CLASSES)
def test_ties_outputs_and_gradients_are_those_of_from_pretrained(folders, name, build):
    kind, config = CLASSES[name]
    expected = kind.from_pretrained(folders[name]).train()
    fake_score = build(kind, config, folders[name])
    assert type(fake_score) is kind
    assert differences(fake_score, expected) == []
    assert fake_score.lm_head.weight is embedding_of(fake_score)
    assert fakescore.last_report().missing == fakescore.last_report().unexpected == ()
    buffers = dict(fake_score.named_buffers())
    assert name != "llama" or not buffers.keys() <= fake_score.state_dict().keys()
    assert_trains_as(fake_score, expected)


def test_what_is_skipped_by_no_init_weights_is_no_garbage(folders, rank):
    """A tensor that nothing initialised, and that no teacher has, is zeros on every rank."""

    def build():
        with initialisation.no_init_weights():
            return LlamaForCausalLM(LLAMA)

    state_dict = LlamaForCausalLM.from_pretrained(folders["llama"]).state_dict()
    without_mlp = {name: value for name, value in state_dict.items() if ".mlp." not in name}
    fake_score = create(build, without_mlp if rank == 0 else None)
    assert not fake_score.model.layers[1].mlp.up_proj.weight.any()
    # Transformers itself does not tie there: its loader does it afterwards.
    assert fake_score.lm_head.weight is not embedding_of(fake_score)
    assert same_bits(fake_score.lm_head.weight, embedding_of(fake_score))


def test_live_teachers_keep_their_ties(folders, rank, last):
    teacher = LlamaForCausalLM.from_pretrained(folders["llama"]) if rank == last else None
    fake_score = create(lambda: LlamaForCausalLM(LLAMA), teacher, source=last, strict=True)
    assert fake_score.lm_head.weight is embedding_of(fake_score)
    assert differences(fake_score, LlamaForCausalLM.from_pretrained(folders["llama"])) == []


@pytest.mark.parametrize("kind", [AutoModel, LlamaModel, GPT2Model], ids=lambda kind: kind.__name__)
def test_base_models_are_read_from_checkpoints_with_a_head(folders, kind):
    folder = folders["gpt2" if kind is GPT2Model else "llama"]
    expected = kind.from_pretrained(folder).train()
    fake_score = create(lambda: kind.from_pretrained(folder))
    assert differences(fake_score, expected) == []
    assert fakescore.last_report().missing == ()


@pytest.mark.parametrize("name", CLASSES)
def test_models_with_a_head_are_read_from_base_models(tmp_path_factory, folders, name):
    kind = CLASSES[name][0]
    base = kind.from_pretrained(folders[name]).base_model
    folder = saved(tmp_path_factory.mktemp("base"), base)
    fake_score = create(lambda: kind.from_pretrained(folder))
    assert differences(fake_score, kind.from_pretrained(folder)) == []
    assert fake_score.lm_head.weight is embedding_of(fake_score)


def test_a_head_that_no_file_has_is_drawn_once(tmp_path_factory, folders):
    base = LlamaModel.from_pretrained(folders["llama"])
    base.config.tie_word_embeddings = False
    folder = saved(tmp_path_factory.mktemp("untied"), base)
    fake_score = create(lambda: LlamaForCausalLM.from_pretrained(folder))
    assert differences(fake_score, LlamaForCausalLM.from_pretrained(folder)) == ["lm_head.weight"]
    assert fakescore.last_report().missing == ("lm_head.weight",)
    assert fake_score.lm_head.weight.std() > 0
    assert same_on_all_ranks(fake_score)


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": torch.bfloat16},
        {"torch_dtype": torch.float16},
        {"dtype": "bfloat16"},
        {"dtype": "auto"},
        {"attn_implementation": "eager"},
        {"use_cache": False, "attention_dropout": 0.25},
        {"config": LlamaConfig(**{**LLAMA.to_dict(), "dtype": "float32", "rms_norm_eps": 1e-3})},
        {"device_map": "cpu", "low_cpu_mem_usage": True},
    ],
    ids=lambda options: "_".join(options) + "_" + str(next(iter(options.values())))[:14].strip(),
)
@pytest.mark.parametrize("kind", [LlamaForCausalLM, AutoModelForCausalLM])
def test_arguments_of_from_pretrained_are_followed(folders, kind, options):
    expected = kind.from_pretrained(folders["llama"], **options).train()
    fake_score = create(lambda: kind.from_pretrained(folders["llama"], **options))
    assert differences(fake_score, expected) == []
    assert fake_score.config.to_dict() == expected.config.to_dict()
    assert fake_score.config._attn_implementation == expected.config._attn_implementation
    assert fake_score.config.name_or_path == expected.config.name_or_path


def test_a_dtype_that_was_saved_is_kept(tmp_path_factory, folders):
    halved = GPT2LMHeadModel.from_pretrained(folders["gpt2"], dtype=torch.bfloat16)
    folder = saved(tmp_path_factory.mktemp("halved"), halved)
    fake_score = create(lambda: AutoModelForCausalLM.from_pretrained(folder))
    assert fake_score.dtype == torch.bfloat16
    assert differences(fake_score, GPT2LMHeadModel.from_pretrained(folder)) == []


@pytest.mark.parametrize("named", ["quantization_config", "output_loading_info", "key_mapping"])
def test_arguments_that_cannot_be_followed_are_refused_everywhere(folders, rank, last, named):
    given = {named: {"a": "b"}}

    def build():
        return LlamaForCausalLM.from_pretrained(folders["llama"], **given)

    with pytest.raises(fakescore.ConfigError, match=named + "=") as raised:
        create(build)
    assert len(set(texts_of_all_ranks(str(raised.value)))) == 1

    def build_on_the_last_rank_alone():
        return build() if rank == last else LlamaForCausalLM(LLAMA)

    with pytest.raises(fakescore.ConfigError, match=named + "=") as raised:
        create(build_on_the_last_rank_alone)
    assert raised.value.rank == last


def test_parts_that_transformers_would_convert_are_refused(tmp_path_factory):
    """Its files have experts one by one, its modules all of them in one tensor."""
    shape = ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads")
    config = MixtralConfig(
        **{name: getattr(LLAMA, name) for name in shape},
        num_hidden_layers=1,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    folder = saved(tmp_path_factory.mktemp("experts"), MixtralForCausalLM(config))
    with pytest.raises(fakescore.ConfigError, match=r"experts\.0\.w1.*gate_up_proj.*map_keys"):
        create(lambda: MixtralForCausalLM.from_pretrained(folder))


class Pipeline(torch.nn.Module):
    """Two models, each of a folder of its own."""

    def __init__(self, folders):
        super().__init__()
        self.text_encoder = AutoModel.from_pretrained(folders["llama"])
        self.prompt_model = AutoModelForCausalLM.from_pretrained(folders["gpt2"])


def test_parts_of_several_folders_are_read_at_once(folders):
    fake_score = create(lambda: Pipeline(folders))
    assert differences(fake_score, Pipeline(folders)) == []
    assert fakescore.last_report().missing == ()
    assert fake_score.prompt_model.lm_head.weight is embedding_of(fake_score.prompt_model)
