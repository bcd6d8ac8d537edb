"""ModelOpt's alternation: a step of the student, then some of those that judge it."""

# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from modelopt.torch.fastgen import DMDPipeline
from ranks import Rank, Ranks
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.utils import clip_grad_norm_

BATCH = 32  # of each rank

Losses = dict[str, float]


class Turn:
    """A network's part in a step: one update along the mean of all ranks' gradients."""

    def __init__(
        self,
        network: nn.Module,
        compute_losses: Callable[..., dict[str, torch.Tensor]],
        rate: float,
    ) -> None:
        self._parameters = list(network.parameters())
        self._compute_losses = compute_losses
        self._optimizer = torch.optim.AdamW(self._parameters, lr=rate, betas=(0.0, 0.999))

    def take(self, ranks: Ranks, batches: list[dict[str, Any]]) -> list[Losses]:
        """Updates the network. Returns the losses of the ranks that are here."""
        history = []
        gradients = []
        for rank, batch in zip(ranks.here, batches, strict=True):
            with rank.drawing():
                losses = self._compute_losses(**batch)
            gradient = torch.autograd.grad(losses.pop("total"), self._parameters)
            gradients.append(torch.cat([part.flatten() for part in gradient]))
            history.append({name: loss.item() for name, loss in losses.items()})
        mean = ranks.mean(gradients)
        parts = mean.split([parameter.numel() for parameter in self._parameters])
        for parameter, part in zip(self._parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        self._descend()
        return history

    def _descend(self) -> None:
        clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()


class ShardedTurn(Turn):
    """The same of a network that FSDP2 has sharded, whose backward pass averages gradients."""

    def __init__(self, network: Any, *arguments: Any) -> None:
        # A forward pass leaves the root gathered, with parameters that never get a gradient.
        network.reshard()
        super().__init__(network, *arguments)

    def take(self, ranks: Ranks, batches: list[dict[str, Any]]) -> list[Losses]:
        (rank,), (batch,) = ranks.here, batches
        with rank.drawing():
            losses = self._compute_losses(**batch)
        losses.pop("total").backward()
        self._descend()
        self._optimizer.zero_grad()
        return [{name: loss.item() for name, loss in losses.items()}]


def draw_batch(rank: Rank, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    """A rank's real images and noise, as the arguments of the pipeline's losses."""
    with rank.drawing():
        picked = torch.randint(len(images), (BATCH,))
        real = images[picked]
        return {"latents": real, "noise": torch.randn_like(real), "class_labels": labels[picked]}


def train(
    pipeline: DMDPipeline,
    ranks: Ranks,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    steps: int,
    rate: float,
) -> list[list[Losses]]:
    """Trains all networks. Returns the losses of every step, for each rank of this process."""
    kind = ShardedTurn if isinstance(pipeline.student, FSDPModule) else Turn
    student_turns = [kind(pipeline.student, pipeline.compute_student_loss, rate)]
    critics = [pipeline.fake_score]
    critic_turns = [kind(pipeline.fake_score, pipeline.compute_fake_score_loss, rate)]
    if pipeline.discriminator is not None:
        critics.append(pipeline.discriminator)
        critic_turns.append(kind(pipeline.discriminator, pipeline.compute_discriminator_loss, rate))
    history: list[list[Losses]] = [[] for _ in ranks.here]
    for step in range(steps):
        trains_student = step % pipeline.config.student_update_freq == 0
        # The student stays in eval(): in train() the DiT ignores one label in ten.
        for critic in critics:
            critic.train(not trains_student).requires_grad_(not trains_student)
        batches = [draw_batch(rank, images, labels) for rank in ranks.here]
        for losses in history:
            losses.append({})
        for turn in student_turns if trains_student else critic_turns:
            for losses, of_turn in zip(history, turn.take(ranks, batches), strict=True):
                losses[-1].update(of_turn)
        if trains_student:
            pipeline.update_ema()
        if ranks.first_is_here and step % 100 == 0:
            print(f"step {step}", history[0][-1], flush=True)
    return history
