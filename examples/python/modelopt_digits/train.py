"""Distil the digits model into a student of one step, by ModelOpt's DMD2, on CPU ranks or on GPUs.

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
from alternation import train
from diffusers import DDPMScheduler, DiTTransformer2DModel
from modelopt.torch.fastgen.discriminators import Discriminator_ImageDiT
from modelopt.torch.fastgen.plugins.qwen_image import attach_feature_capture
from ranks import Rank, Ranks
from scores import Judge, draw_with_teacher, write_picture
from sklearn.datasets import load_digits
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

import fakescore

TEACHER = pathlib.Path(__file__).resolve().parents[2] / "digits"
SCHEDULE: Any = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
FEATURE_INDICES = [1, 3]
SIZE = 8
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
        kept = SCHEDULE.alphas_cumprod.to(timestep.device)
        step = torch.searchsorted(((1 - kept) / kept).sqrt(), timestep / (1 - timestep))
        scale = torch.hypot(timestep, 1 - timestep)[:, None, None, None]
        noise: torch.Tensor = model(
            hidden_states / scale, timestep=step, class_labels=class_labels, return_dict=False
        )[0]
        return noise

    @torch.no_grad()
    def draw(self, student: nn.Module, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What a student makes of noise in its one step."""
        start, time = self._build_student_input(noise, noise)
        images: torch.Tensor = self._predict_x0(student, start, time, class_labels=labels)
        return images


def load_teacher() -> nn.Module:
    loaded: nn.Module = DiTTransformer2DModel.from_pretrained(TEACHER)
    return loaded


def shard(module: nn.Module) -> None:
    """By FSDP2, over all ranks."""
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    # The DiT calls the first block's embedding from outside of the block.
    blocks: Any = module.transformer_blocks
    for block in blocks[1:]:
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def make_fake_score(by: str, teacher: nn.Module, device: torch.device) -> nn.Module:
    if isinstance(teacher, FSDPModule):
        # From the parts that each rank has of the teacher.
        return fakescore.create_fake_score_meta(load_teacher, teacher, shard=shard)
    if by == "modelopt":
        copied: nn.Module = mtf.create_fake_score(teacher)
        return copied
    return fakescore.create_fake_score_meta(load_teacher, device=device)


def make_discriminator(rank: Rank, blocks: int, width: int) -> nn.Module:
    with rank.drawing():
        made: nn.Module = Discriminator_ImageDiT(set(FEATURE_INDICES), blocks, width)
    return made


def make_config(gan: float, *, has_average: bool) -> mtf.DMDConfig:
    # A start later than 0.8 is closer to the teacher's, but a student that predicts the noise has
    # its errors multiplied by t / (1 - t) there.
    return mtf.DMDConfig(
        pred_type="eps",
        fake_score_pred_type="eps",
        sample_t_cfg=mtf.SampleTimestepConfig(time_dist_type="uniform", min_t=0.02, max_t=0.8),
        gan_loss_weight_gen=gan,
        # The mean of some fifty updates.
        ema=mtf.EMAConfig(decay=0.98) if has_average else None,
    )


def real_digits(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels."""
    digits = load_digits()
    images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
    return images.to(device), torch.tensor(digits.target).to(device)


def make_test(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The digits that are asked for, and the noise to draw them from."""
    asked = torch.arange(10).repeat_interleave(DRAWN_OF_A_DIGIT)
    drawing = torch.Generator().manual_seed(0)
    noise = torch.randn(len(asked), 1, SIZE, SIZE, generator=drawing)
    return asked.to(device), noise.to(device)


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach()


def digest(module: nn.Module) -> str:
    """Of all its bits."""
    hashed = hashlib.sha256()
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        hashed.update(gathered(tensor).cpu().numpy().tobytes())
    return hashed.hexdigest()


def distance(module: nn.Module, teacher: nn.Module) -> float:
    """How far training has taken its parameters from the teacher's."""
    squares = [
        (gathered(parameter) - gathered(start)).square().sum()
        for parameter, start in zip(module.parameters(), teacher.parameters(), strict=True)
    ]
    return torch.stack(squares).sum().sqrt().item()


def write_scored_picture(
    path: pathlib.Path, drawings: dict[str, torch.Tensor], judge: Judge, asked: torch.Tensor
) -> None:
    captioned = {}
    for name, drawn in drawings.items():
        caption = f"{name}: {judge(drawn.cpu(), asked.cpu())}"
        print(caption)
        captioned[caption] = drawn.cpu()
    write_picture(path, captioned)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1e-4, help="of learning, for all networks")
    parser.add_argument("--gan", type=float, default=0.0, help="weight of the discriminator's loss")
    parser.add_argument("--fake-score", choices=["fakescore", "modelopt"], default="fakescore")
    parser.add_argument(
        "--one-process",
        type=int,
        metavar="RANKS",
        help="do the work of so many ranks in this process, without torchrun",
    )
    parser.add_argument(
        "--fsdp2", action="store_true", help="shard teacher, student and fake score over the ranks"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--record", type=pathlib.Path, help="JSON of losses, digests, and how far training went"
    )
    parser.add_argument("--picture", type=pathlib.Path, help="PNG to write, and scores to print")
    arguments = parser.parse_args()
    alone = arguments.one_process or arguments.gan or arguments.fake_score == "modelopt"
    if arguments.fsdp2 and alone:
        parser.error("--fsdp2 goes with none of --one-process, --gan and --fake-score modelopt")
    return arguments


def main() -> Ranks:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    ranks = Ranks(arguments.seed, arguments.one_process, arguments.device)
    images, labels = real_digits(ranks.device)
    teacher: Any = load_teacher().to(ranks.device)
    student: Any = load_teacher().to(ranks.device)
    if arguments.fsdp2:
        shard(teacher)
        shard(student)
    fake_score = make_fake_score(arguments.fake_score, teacher, ranks.device)
    replicas = {"fake score as made": ranks.gather([digest(fake_score)])}

    discriminator = None
    if arguments.gan:
        # After the fake score was made: ModelOpt's deep copy would copy the hooks too.
        attach_feature_capture(teacher, FEATURE_INDICES, SIZE, SIZE)
        blocks, width = len(teacher.transformer_blocks), teacher.inner_dim
        drawn = [make_discriminator(rank, blocks, width) for rank in ranks.here]
        replicas["discriminator as made"] = ranks.gather([digest(each) for each in drawn])
        discriminator = drawn[0].to(ranks.device)
        fakescore.sync_module_states(discriminator)
        replicas["discriminator made equal"] = ranks.gather([digest(discriminator)])

    # ModelOpt's average of shards asks for CUDA.
    has_average = not arguments.fsdp2 or ranks.device.type == "cuda"
    config = make_config(arguments.gan, has_average=has_average)
    pipeline = DigitsPipeline(student, teacher, fake_score, config, discriminator=discriminator)

    asked, noise = make_test(ranks.device)
    before = pipeline.draw(student, noise, asked)
    losses = ranks.gather(
        train(pipeline, ranks, images, labels, steps=arguments.steps, rate=arguments.rate)
    )
    trained = {"student": student, "fake score": fake_score}
    drawings = {
        "student, 1 step, before": before,
        "student, 1 step, after": pipeline.draw(student, noise, asked),
    }
    if pipeline.ema is not None:
        average = load_teacher().to(ranks.device)
        pipeline.ema.copy_to(average)
        trained["student's average"] = average
        drawings["student's average, 1 step"] = pipeline.draw(average, noise, asked)
    distances = {name: distance(network, teacher) for name, network in trained.items()}
    if discriminator is not None:
        trained["discriminator"] = discriminator
    replicas |= {name: ranks.gather([digest(network)]) for name, network in trained.items()}
    if arguments.picture:
        drawings["teacher, 50 steps"] = draw_with_teacher(teacher, SCHEDULE, noise, asked)
    ranks.leave()
    if not ranks.first_is_here:
        return ranks
    for name, digests in replicas.items():
        if len(digests) > 1:
            print(f"{name}: {'equal' if len(set(digests)) == 1 else 'NOT equal'} on all ranks")
    if arguments.record:
        record = {"losses": losses, "replicas": replicas, "distances": distances}
        arguments.record.write_text(json.dumps(record))
    if arguments.picture:
        judge = Judge(images.cpu(), labels.cpu())
        write_scored_picture(arguments.picture, drawings, judge, asked)
    return ranks


if __name__ == "__main__":
    main().end()
