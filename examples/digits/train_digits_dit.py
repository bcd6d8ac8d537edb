#!/usr/bin/env python3
"""Train the digits model: a small diffusers DiT on scikit-learn's 8x8 digits, on one CPU core.

    pip install "torch==2.11.*" "diffusers==0.42.*" accelerate scikit-learn
    python train_digits_dit.py --out digits_dit

Training lasts a fixed amount of processor time, so how many steps it makes, and with them the
exact weights, depend on the machine.
"""

import argparse
import time

import diffusers
import numpy as np
import torch
from diffusers.training_utils import EMAModel
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

TRAINING_STEPS = 1000  # of the diffusion, not of the optimizer
SAMPLING_STEPS = 50
PEAK_RATE = 1e-3
BATCH = 128
CONFIG = dict(
    num_attention_heads=4,
    attention_head_dim=24,
    in_channels=1,
    out_channels=1,
    num_layers=4,
    sample_size=8,
    patch_size=2,
    num_embeds_ada_norm=10,
    norm_type="ada_norm_zero",
)


def load_data():
    digits = load_digits()
    images = torch.tensor(digits.images / 8.0 - 1.0, dtype=torch.float32)[:, None]
    return images, torch.tensor(digits.target)


def build_model():
    model = diffusers.DiTTransformer2DModel.from_config(CONFIG)
    with torch.no_grad():  # adaLN-Zero: each block starts as the identity, the output as zero
        for block in model.transformer_blocks:
            block.norm1.linear.weight.zero_()
            block.norm1.linear.bias.zero_()
        model.proj_out_2.weight.zero_()
        model.proj_out_2.bias.zero_()
    return model


def train(model, scheduler, images, labels, seconds):
    """Leaves the averaged weights in the model; returns the number of steps made."""
    average = EMAModel(model.parameters(), decay=0.999)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.0)
    start, losses = time.process_time(), []
    while (spent := time.process_time() - start) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * max(0.02, 1 - spent / seconds)
        picked = torch.randint(0, len(images), (BATCH,))
        timestep = torch.randint(0, TRAINING_STEPS, (BATCH,))
        noise = torch.randn(BATCH, 1, 8, 8)
        noisy = scheduler.add_noise(images[picked], noise, timestep)
        predicted = model(noisy, timestep=timestep, class_labels=labels[picked], return_dict=False)[
            0
        ]
        loss = (predicted - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.step(model.parameters())
        losses.append(loss.item())
        if len(losses) % 200 == 0:
            print(
                f"step {len(losses)}, {spent:.0f} s, loss {np.mean(losses[-200:]):.4f}", flush=True
            )
    average.copy_to(model.parameters())
    return len(losses)


@torch.no_grad()
def sample(model, scheduler, labels):
    ddim = diffusers.DDIMScheduler.from_config(scheduler.config)
    ddim.set_timesteps(SAMPLING_STEPS)
    images = torch.randn(len(labels), 1, 8, 8)
    for timestep in ddim.timesteps:
        noise = model(
            images, timestep=timestep.expand(len(labels)), class_labels=labels, return_dict=False
        )[0]
        images = ddim.step(noise, timestep, images).prev_sample
    return images.clamp(-1, 1)


def evaluate(model, scheduler, images, labels):
    """How often a classifier of real digits reads the digit that was asked for."""
    flat = images.flatten(1).numpy()
    classifier = LogisticRegression(max_iter=2000).fit(flat, labels.numpy())
    asked = torch.arange(10).repeat(50)
    drawn = sample(model, scheduler, asked).flatten(1).numpy()
    print(
        f"classifier: {classifier.score(flat, labels.numpy()):.3f} right on real digits, "
        f"{classifier.score(drawn, asked.numpy()):.3f} on drawn ones, "
        f"{classifier.score(np.random.randn(500, 64), asked.numpy()):.3f} on noise"
    )
    print(
        f"mean and deviation: real {images.mean():.3f} {images.std():.3f}, "
        f"drawn {drawn.mean():.3f} {drawn.std():.3f}"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="digits_dit", help="folder to write")
    parser.add_argument("--seconds", type=float, default=240, help="processor time for training")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    images, labels = load_data()
    model = build_model()
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    scheduler = diffusers.DDPMScheduler(
        num_train_timesteps=TRAINING_STEPS, beta_schedule="squaredcos_cap_v2"
    )
    steps = train(model, scheduler, images, labels, arguments.seconds)
    model.eval()
    model.save_pretrained(arguments.out)
    print(f"{steps} steps, saved in {arguments.out}")
    evaluate(model, scheduler, images, labels)


if __name__ == "__main__":
    main()
