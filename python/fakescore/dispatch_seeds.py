"""The seeds of random operations, and the default generator while they run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

_TURN = threading.RLock()
_MASK = 2**64 - 1


class SeedSource:
    """Hands out a seed for each random operation, as the C++ library's SeedSource does."""

    def __init__(self, seed: int | None) -> None:
        if seed is None:
            with _TURN:
                seed = torch.default_generator.initial_seed()
        self._base = seed
        self._count = 0

    def next(self, generator: torch.Generator | None) -> int:
        """`generator` is what the operation was called with: its seed is then the base."""
        base = self._base if generator is None else generator.initial_seed()
        seed = _mix(base, self._count)
        self._count += 1
        return seed


def _mix(base: int, count: int) -> int:
    """The finaliser of SplitMix64: neighbouring counts give seeds that have nothing in common."""
    z = (base + 0x9E3779B97F4A7C15 * (count + 1)) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


@contextlib.contextmanager
def default_generator_kept() -> Iterator[torch.Generator]:
    """This thread's turn at the process's default generator, whose state is put back afterwards."""
    with _TURN:
        generator = torch.default_generator
        state = generator.get_state()
        try:
            yield generator
        finally:
            generator.set_state(state)


def moved_on(generator: torch.Generator) -> torch.Tensor:
    """Moves a generator by one draw, and returns its state.

    Recorded draws do not move it: without this, seeding it again alike would go unnoticed.
    """
    with _TURN:
        torch.empty(1, dtype=torch.int64, device="cpu").random_(generator=generator)
        return generator.get_state()
