"""How good drawn digits are, and a picture of them."""

# mypy: allow-untyped-calls

from __future__ import annotations

import itertools
import pathlib
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from PIL import Image, ImageDraw
from sklearn.linear_model import LogisticRegression
from torch import nn

TEACHER_STEPS = 50


@torch.no_grad()
def draw_with_teacher(
    teacher: nn.Module, schedule: Any, noise: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """What the teacher makes of noise in its many steps."""
    scheduler = DDIMScheduler.from_config(schedule.config)
    scheduler.set_timesteps(TEACHER_STEPS, device=noise.device)
    images = noise
    for step in scheduler.timesteps:
        predicted = teacher(images, timestep=step.expand(len(noise)), class_labels=labels)
        images = scheduler.step(predicted.sample, step, images).prev_sample
    return images


class Judge:
    """Compares drawn digits with the real ones."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self._real = images.flatten(1).double().numpy()
        self._classifier = LogisticRegression(max_iter=2000).fit(self._real, labels.numpy())

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> str:
        """The share in which a classifier reads the digit that was asked for, and the Fréchet
        distance of the pixels, which is large where every digit is drawn in one way alone.
        """
        drawn = images.clamp(-1, 1).flatten(1).double().numpy()
        accuracy = self._classifier.score(drawn, labels.numpy())
        shift = drawn.mean(0) - self._real.mean(0)
        drawn_cov, real_cov = np.cov(drawn.T), np.cov(self._real.T)
        roots = np.sqrt(np.linalg.eigvals(drawn_cov @ real_cov).real.clip(0))
        distance = shift @ shift + np.trace(drawn_cov + real_cov) - 2 * roots.sum()
        return f"accuracy {accuracy:.3f}, distance {distance:.2f}"


def write_picture(path: pathlib.Path, drawings: dict[str, torch.Tensor]) -> None:
    """A sheet for each drawing, below its caption: a column for each digit."""
    rows, size, gap, caption, margin = 8, 32, 3, 16, 24
    cell = size + gap
    width = 10 * cell
    sheet = Image.new(
        "L", (len(drawings) * (width + margin) - margin, caption + rows * cell), color=255
    )
    for index, (text, images) in enumerate(drawings.items()):
        left = index * (width + margin)
        ImageDraw.Draw(sheet).text((left, 0), text, fill=0)
        pixels = ((1 - images.clamp(-1, 1)) * 127.5).byte().squeeze(1).numpy()
        pixels = pixels.reshape(10, -1, *pixels.shape[1:])
        for digit, row in itertools.product(range(10), range(rows)):
            image = Image.fromarray(pixels[digit, row]).resize((size, size), Image.Resampling.BOX)
            sheet.paste(image, (left + digit * cell, caption + row * cell))
    sheet.save(path, optimize=True)
