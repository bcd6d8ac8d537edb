"""Distil the digits model into a student of one step, by ModelOpt's DMD2, on CPU ranks.

torchrun --standalone --nproc-per-node 2 train.py --picture digits.png
"""

# mypy: allow-untyped-calls

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import pathlib
from typing import Any

import modelopt.torch.fastgen as mtf
import torch
import torch.distributed as dist
from diffusers import DDPMScheduler, DiTTransformer2DModel
from modelopt.torch.fastgen.discriminators import Discriminator_ImageDiT
from modelopt.torch.fastgen.plugins.qwen_image import attach_feature_capture
from scores import Judge, draw_with_teacher, write_picture
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters

import fakescore

TEACHER = pathlib.Path(__file__).resolve().parents[2] / "digits"
SCHEDULE: Any = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
FEATURE_INDICES = [1, 3]
SIZE = 8
BATCH = 32  # of each rank
DRAWN_OF_A_DIGIT = 50


class DigitsPipeline(mtf.DMDPipeline):  # type: ignore[misc]
    """DMD2 for a class-conditional DiT that was trained with the noise schedule of DDPM."""

    def _call_model(
        self,
        model: nn.Module,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: None = None,
        *,
        class_labels: torch.Tensor,
    ) -> torch.Tensor:
        # ModelOpt noises by (1 - t) x + t eps. One of the model's steps has the same ratio of noise
        # to signal, and there the sum of their squares is 1.
        kept = SCHEDULE.alphas_cumprod
        step = torch.searchsorted(((1 - kept) / kept).sqrt(), timestep / (1 - timestep))
        scale = torch.hypot(timestep, 1 - timestep)[:, None, None, None]
        noise: torch.Tensor = model(
            hidden_states / scale, timestep=step, class_labels=class_labels, return_dict=False
        )[0]
        return noise

    @torch.no_grad()
    def draw(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What the student makes of noise in its one step."""
        start, time = self._build_student_input(noise, noise)
        images: torch.Tensor = self._predict_x0(self.student, start, time, class_labels=labels)
        return images


def make_fake_score(by: str, teacher: nn.Module) -> nn.Module:
    if by == "modelopt":
        copied: nn.Module = mtf.create_fake_score(teacher)
        return copied
    return fakescore.create_fake_score_meta(lambda: DiTTransformer2DModel.from_pretrained(TEACHER))


def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step along the mean of all ranks' gradients."""
    optimizer.zero_grad()
    loss.backward()
    parameters = optimizer.param_groups[0]["params"]
    gradients = [parameter.grad for parameter in parameters]
    mean = parameters_to_vector(gradients)
    dist.all_reduce(mean)
    vector_to_parameters(mean / dist.get_world_size(), gradients)
    clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def train(
    pipeline: DigitsPipeline, images: torch.Tensor, labels: torch.Tensor, steps: int, rate: float
) -> list[dict[str, float]]:
    """ModelOpt's alternation. Returns this rank's losses of each step."""

    def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(module.parameters(), lr=rate, betas=(0.0, 0.999))

    discriminator = pipeline.discriminator
    critics = [pipeline.fake_score] + ([discriminator] if discriminator is not None else [])
    student_optimizer = optimizer_of(pipeline.student)
    critic_optimizers = [optimizer_of(critic) for critic in critics]
    history = []
    for step in range(steps):
        picked = torch.randint(len(images), (BATCH,))
        real, label = images[picked], labels[picked]
        noise = torch.randn_like(real)
        trains_student = step % pipeline.config.student_update_freq == 0
        # The student stays in eval(): in train() the DiT ignores one label in ten.
        for critic in critics:
            critic.train(not trains_student).requires_grad_(not trains_student)
        losses: dict[str, torch.Tensor] = {}
        if trains_student:
            losses |= pipeline.compute_student_loss(real, noise, class_labels=label)
            update(student_optimizer, losses.pop("total"))
        else:
            losses |= pipeline.compute_fake_score_loss(real, noise, class_labels=label)
            update(critic_optimizers[0], losses.pop("total"))
            if discriminator is not None:
                losses |= pipeline.compute_discriminator_loss(real, noise, class_labels=label)
                update(critic_optimizers[1], losses.pop("total"))
        history.append({name: loss.item() for name, loss in losses.items()})
        if dist.get_rank() == 0 and step % 100 == 0:
            print(f"step {step}", history[-1], flush=True)
    return history


def of_all_ranks(value: Any) -> list[Any]:
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def digests(module: nn.Module) -> list[str]:
    """Of all bits of every rank's replica."""
    digest = hashlib.sha256()
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        digest.update(tensor.detach().numpy().tobytes())
    return of_all_ranks(digest.hexdigest())


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1e-4, help="of learning, for all networks")
    parser.add_argument("--gan", type=float, default=0.0, help="weight of the discriminator's loss")
    parser.add_argument("--fake-score", choices=["fakescore", "modelopt"], default="fakescore")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=pathlib.Path, help="JSON of losses and digests to write")
    parser.add_argument("--picture", type=pathlib.Path, help="PNG to write, and scores to print")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    digits = load_digits()
    images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target)

    teacher = DiTTransformer2DModel.from_pretrained(TEACHER)
    student = DiTTransformer2DModel.from_pretrained(TEACHER)
    fake_score = make_fake_score(arguments.fake_score, teacher)
    replicas = {"fake score as made": digests(fake_score)}

    torch.manual_seed(arguments.seed + rank)
    discriminator = None
    if arguments.gan:
        # After the fake score was made: ModelOpt's deep copy would copy the hooks too.
        attach_feature_capture(teacher, FEATURE_INDICES, SIZE, SIZE)
        discriminator = Discriminator_ImageDiT(
            set(FEATURE_INDICES), len(teacher.transformer_blocks), teacher.inner_dim
        )
        replicas["discriminator as made"] = digests(discriminator)
        fakescore.sync_module_states(discriminator)
        replicas["discriminator made equal"] = digests(discriminator)

    # A start later than 0.8 is closer to the teacher's, but a student that predicts the noise has
    # its errors multiplied by t / (1 - t) there.
    config = mtf.DMDConfig(
        pred_type="eps",
        fake_score_pred_type="eps",
        sample_t_cfg=mtf.SampleTimestepConfig(time_dist_type="uniform", min_t=0.02, max_t=0.8),
        gan_loss_weight_gen=arguments.gan,
    )
    pipeline = DigitsPipeline(student, teacher, fake_score, config, discriminator=discriminator)

    asked = torch.arange(10).repeat_interleave(DRAWN_OF_A_DIGIT)
    noise = torch.randn(len(asked), 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    before = pipeline.draw(noise, asked)
    losses = of_all_ranks(train(pipeline, images, labels, arguments.steps, arguments.rate))
    replicas["student"] = digests(student)
    replicas["fake score"] = digests(fake_score)
    if discriminator is not None:
        replicas["discriminator"] = digests(discriminator)
    if rank == 0:
        for name, values in replicas.items():
            print(f"{name}: {'equal' if len(set(values)) == 1 else 'NOT equal'} on all ranks")
        if arguments.record:
            arguments.record.write_text(json.dumps({"losses": losses, "replicas": replicas}))
        if arguments.picture:
            drawings = {
                "student, 1 step, before": before,
                "student, 1 step, after": pipeline.draw(noise, asked),
                "teacher, 50 steps": draw_with_teacher(teacher, SCHEDULE, noise, asked),
            }
            judge = Judge(images, labels)
            captions = {name: judge(drawn, asked) for name, drawn in drawings.items()}
            for name, scores in captions.items():
                print(f"{name}: {scores}")
            write_picture(
                arguments.picture,
                {f"{name}: {captions[name]}": drawn for name, drawn in drawings.items()},
            )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
