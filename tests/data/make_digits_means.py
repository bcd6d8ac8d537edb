#!/usr/bin/env python3
"""Write digits_means.safetensors: what the sampler's test compares with."""
import argparse
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent
MODEL = HERE.parents[1] / "examples" / "digits"
STEPS = 30


def class_means():
    digits = load_digits()
    images = torch.tensor(digits.images / 8.0 - 1.0, dtype=torch.float32).flatten(1)
    labels = torch.tensor(digits.target)
    return torch.stack([images[labels == digit].mean(0) for digit in range(10)])


@torch.no_grad()
def draw(noise, labels):
    model = diffusers.DiTTransformer2DModel.from_pretrained(MODEL).eval()
    trained_with = diffusers.DDPMScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    scheduler = diffusers.DDIMScheduler.from_config(trained_with.config)
    scheduler.set_timesteps(STEPS)
    sample = noise
    for timestep in scheduler.timesteps:
        predicted = model(sample, timestep=timestep.expand(len(labels)), class_labels=labels,
                          return_dict=False)[0]
        sample = scheduler.step(predicted, timestep, sample).prev_sample
    return sample, scheduler.alphas_cumprod


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=str(HERE / "digits_means.safetensors"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    noise = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(10)
    sample, alphas_cumprod = draw(noise, labels)
    save_file({
        "mean": class_means(),
        "ddim.noise": noise,
        "ddim.labels": labels,
        "ddim.sample": sample,
        "ddim.steps": torch.tensor(STEPS),
        "ddim.alphas_cumprod": alphas_cumprod,
    }, arguments.out)


if __name__ == "__main__":
    main()
