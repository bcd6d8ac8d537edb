#!/usr/bin/env python3
"""Write tiny, randomly initialised diffusers models with a recorded forward pass.

Architecture and file layout are diffusers' own (save_pretrained); only the widths and
depths are small. Everything is seeded, float32, CPU, eval mode.

    pip install "torch>=2.6" "diffusers==0.42.*" accelerate
    python make_tiny_models.py --out DIR

Every folder NAME holds
  config.json                              as save_pretrained writes it
  diffusion_pytorch_model.safetensors      or shards and
                                           diffusion_pytorch_model.safetensors.index.json
  io.safetensors                           (float32 models)
      in.<argument>      forward's tensor arguments
      out.sample         forward(..., return_dict=False)[0]
      out.<module>       output of each top-level block, image stream first (.0, .1 for tuples)
      grad_l2            L2 norm of d mean(out.sample**2) / d parameter, one number for each
                         parameter in sorted-name order
      buffer.<name>      non-persistent buffers, which the checkpoint leaves out
      plain.<name>       tensors that are neither parameter nor buffer (complex: real, imag last;
                         the first 64 rows)
      metadata "info"    JSON: class, args (forward's other arguments), unused (parameters that
                         get no gradient), versions
"""
import argparse
import json
import os
import shutil

import torch
import diffusers
from safetensors.torch import save_file

TINY = {
    "dit": ("DiTTransformer2DModel", dict(
        num_attention_heads=4, attention_head_dim=16, in_channels=4, out_channels=8, num_layers=3,
        sample_size=8, patch_size=2, num_embeds_ada_norm=10, norm_type="ada_norm_zero",
        activation_fn="gelu-approximate", attention_bias=True, norm_elementwise_affine=False)),
    "wan": ("WanTransformer3DModel", dict(
        patch_size=[1, 2, 2], num_attention_heads=3, attention_head_dim=32, in_channels=4,
        out_channels=4, text_dim=64, freq_dim=64, ffn_dim=224, num_layers=3, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", rope_max_seq_len=32)),
    "qwen_image": ("QwenImageTransformer2DModel", dict(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=32,
        num_attention_heads=2, joint_attention_dim=64, guidance_embeds=False,
        axes_dims_rope=[8, 12, 12])),
    "flux": ("FluxTransformer2DModel", dict(
        patch_size=1, in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=32,
        num_attention_heads=2, joint_attention_dim=64, pooled_projection_dim=48,
        guidance_embeds=True, axes_dims_rope=[8, 12, 12])),
    "unet2d": ("UNet2DModel", dict(
        sample_size=16, in_channels=3, out_channels=3, layers_per_block=1,
        block_out_channels=[32, 48], norm_num_groups=8, attention_head_dim=8,
        down_block_types=["DownBlock2D", "AttnDownBlock2D"],
        up_block_types=["AttnUpBlock2D", "UpBlock2D"], num_class_embeds=10)),
}
BLOCKS = ("transformer_blocks", "single_transformer_blocks", "blocks", "down_blocks", "up_blocks",
          "mid_block")


def inputs(name, r):
    """Tensor arguments and plain arguments of one forward pass."""
    if name == "dit":
        return dict(hidden_states=r(2, 4, 8, 8), timestep=torch.tensor([17, 803]),
                    class_labels=torch.tensor([3, 10])), {}
    if name == "wan":
        return dict(hidden_states=r(2, 4, 3, 8, 6), timestep=torch.tensor([17, 803]),
                    encoder_hidden_states=r(2, 7, 64)), {}
    if name == "qwen_image":
        return dict(hidden_states=r(2, 24, 16), timestep=torch.tensor([0.017, 0.803]),
                    encoder_hidden_states=r(2, 7, 64),
                    encoder_hidden_states_mask=torch.ones(2, 7, dtype=torch.bool)), dict(
                        img_shapes=[[(1, 4, 6)], [(1, 4, 6)]])
    if name == "flux":
        ids = torch.zeros(24, 3)
        ids[:, 1] = torch.arange(24) // 6
        ids[:, 2] = torch.arange(24) % 6
        return dict(hidden_states=r(2, 24, 16), timestep=torch.tensor([0.017, 0.803]),
                    encoder_hidden_states=r(2, 7, 64), pooled_projections=r(2, 48),
                    img_ids=ids, txt_ids=torch.zeros(7, 3), guidance=torch.tensor([3.5, 1.0])), {}
    if name == "unet2d":
        return dict(sample=r(2, 3, 16, 16), timestep=torch.tensor([17, 803]),
                    class_labels=torch.tensor([3, 9])), {}
    raise KeyError(name)


def build(name, seed):
    cls_name, config = TINY[name]
    torch.manual_seed(seed)
    model = getattr(diffusers, cls_name).from_config(config).float().eval()
    with torch.no_grad():  # norms start at one and zero: move them, so that a missing one shows
        for n, p in sorted(model.named_parameters()):
            if p.ndim <= 1:
                p.add_(0.1 * torch.randn_like(p))
    return model


def leftover(model):
    """Tensors that state_dict() does not hold."""
    out = {}
    for prefix, mod in model.named_modules():
        at = prefix + "." if prefix else ""
        for k in mod._non_persistent_buffers_set:
            out[f"buffer.{at}{k}"] = mod._buffers[k]
        for k, v in vars(mod).items():
            if isinstance(v, torch.Tensor):
                # Qwen-Image: 4096 rows of rotary angles are a formula, keep the first 64
                out[f"plain.{at}{k}"] = torch.view_as_real(v[:64]) if v.is_complex() else v
    return out


def record(name, model, seed):
    g = torch.Generator().manual_seed(seed)
    tensors, plain = inputs(name, lambda *s: torch.randn(*s, generator=g))
    io, hooks = {f"in.{k}": v for k, v in tensors.items()}, []

    def keep(at):
        def hook(_m, _i, o):
            for i, t in enumerate(o if isinstance(o, tuple) else (o,)):
                if isinstance(t, torch.Tensor):
                    io[f"out.{at}.{i}" if isinstance(o, tuple) else f"out.{at}"] = t.detach()
        return hook

    for n, m in model.named_modules():
        head, _, rest = n.partition(".")
        if head in BLOCKS and (rest.isdigit() or n == "mid_block"):
            hooks.append(m.register_forward_hook(keep(n)))
    sample = model(**tensors, **plain, return_dict=False)[0]
    for h in hooks:
        h.remove()
    io["out.sample"] = sample.detach()
    model.zero_grad()
    sample.square().mean().backward()
    params = sorted(model.named_parameters())
    io["grad_l2"] = torch.tensor(
        [float(p.grad.double().norm()) if p.grad is not None else -1.0 for _, p in params],
        dtype=torch.float64)
    unused = [n for n, p in params if p.grad is None]
    model.zero_grad()
    io |= leftover(model)
    # one metadata entry: safetensors writes several in an order that changes from run to run
    meta = {"info": json.dumps({
        "class": TINY[name][0], "args": plain, "unused": unused,
        "diffusers": diffusers.__version__, "torch": torch.__version__.split("+")[0]})}
    # clone: a slice or a view would be refused, or saved whole
    return {k: v.detach().contiguous().clone() for k, v in io.items()}, meta


def strip_path(folder):
    """from_pretrained notes the folder it read from in config.json: not for a file that travels."""
    at = os.path.join(folder, "config.json")
    with open(at) as f:
        config = json.load(f)
    if config.pop("_name_or_path", None) is not None:
        with open(at, "w") as f:
            f.write(json.dumps(config, indent=2, sort_keys=True) + "\n")


def readable(folder):
    for f in os.listdir(folder):  # safetensors writes mode 0600
        os.chmod(os.path.join(folder, f), 0o644)


def check(folder, io, name, atol=1e-5):
    """The saved folder, loaded again as float32, gives the recorded output."""
    cls = getattr(diffusers, TINY[name][0])
    model = cls.from_pretrained(folder, torch_dtype=torch.float32).eval()
    tensors = {k[3:]: v for k, v in io.items() if k.startswith("in.")}
    _, plain = inputs(name, lambda *s: torch.zeros(*s))
    with torch.no_grad():
        again = model(**tensors, **plain, return_dict=False)[0]
    off = (again - io["out.sample"]).abs().max().item()
    print(f"  {os.path.basename(folder):12s} loaded again: largest difference {off:.2g}")
    assert off <= atol, folder


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", required=True, help="folder that gets one folder for each model")
    a = ap.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for seed, name in enumerate(TINY):
        folder = os.path.join(a.out, name)
        shutil.rmtree(folder, ignore_errors=True)
        model = build(name, seed)
        model.save_pretrained(folder)
        io, meta = record(name, model, 100 + seed)
        save_file(io, os.path.join(folder, "io.safetensors"), metadata=meta)
        readable(folder)
        check(folder, io, name)
        if name == "wan":
            sharded = os.path.join(a.out, "wan_sharded")  # the same weights, in shards
            shutil.rmtree(sharded, ignore_errors=True)
            model.save_pretrained(sharded, max_shard_size="700KB")
            readable(sharded)
            check(sharded, io, name)
            # what loading as bfloat16 gives: bfloat16 but for the modules that Wan keeps in float32
            mixed = os.path.join(a.out, "wan_bf16")
            shutil.rmtree(mixed, ignore_errors=True)
            half = type(model).from_pretrained(folder, torch_dtype=torch.bfloat16)
            half.save_pretrained(mixed)
            strip_path(mixed)
            readable(mixed)
            check(mixed, io, name, atol=0.05)
        n = sum(p.numel() for p in model.parameters())
        print(f"{name:12s} {TINY[name][0]:28s} tensors={len(list(model.parameters())):4d} "
              f"numel={n:8d} out={list(io['out.sample'].shape)} "
              f"rms={io['out.sample'].square().mean().sqrt():.4f} {meta['info']}")


if __name__ == "__main__":
    main()
