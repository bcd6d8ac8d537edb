"""What a job would read and send, on which rank and host, and how long it would take."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ConfigError


@dataclass(frozen=True)
class RankTraffic:
    """Of neighbouring ranks that read and send the same: bytes of each of them."""

    first: int
    last: int
    filled: int  #: what it holds in the end
    read: int
    sent: int  #: once for each rank that it sends to
    received: int
    from_other_hosts: int  #: of what it received


@dataclass(frozen=True)
class HostTraffic:
    """Of neighbouring hosts that read and send the same: bytes of each of them."""

    first: int
    last: int
    read: int  #: by its ranks
    from_disk: int  #: of that, each byte once: where its page cache had none of the files
    sent: int  #: to other hosts
    received: int  #: from other hosts


@dataclass(frozen=True)
class Prediction:
    """How long the fill takes, without building the module and without `verify`."""

    seconds: float
    bottleneck: str
    stages: Mapping[str, float]  #: seconds of what all bytes go through, side by side
    after_the_others: str  #: the stage that begins when the others have ended, or ""
    way_seconds: float  #: until the first byte has reached the last rank
    control_seconds: float


@dataclass(frozen=True)
class Forecast:
    """One case of a job."""

    all_see_files: bool  #: what this one takes for granted
    read: str
    reason: str
    ranks: tuple[RankTraffic, ...] = field(repr=False)
    hosts: tuple[HostTraffic, ...] = field(repr=False)
    from_page_cache: Prediction | None  #: with figures
    from_disk: Prediction | None  #: with figures that have a disk's


def forecast_options(
    world_size: int, hosts: int, ranks_per_copy: int, figures: str | pathlib.Path | None
) -> dict[str, Any]:
    """What the library is to forecast. Raises ConfigError for what is no job."""
    if hosts < 1 or world_size % hosts != 0:
        raise ConfigError.of(
            "hosts",
            f"{hosts} do not have {world_size} ranks in equal numbers",
            "give a number that divides the ranks",
        )
    text = None
    if figures is not None:
        try:
            text = pathlib.Path(figures).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError.of(
                str(figures), f"cannot be read: {error}", "give a file that fakescore measure wrote"
            ) from error
    return {
        "hosts": hosts,
        "ranks_per_host": world_size // hosts,
        "ranks_per_copy": ranks_per_copy,
        "figures": text,
        "figures_source": str(figures),
    }


def forecast_of(reply: dict[str, Any]) -> Forecast:
    """From the library's reply."""
    return Forecast(
        all_see_files=reply["all_see_files"],
        read=reply["read"],
        reason=reply["reason"],
        ranks=tuple(RankTraffic(**kind) for kind in reply["ranks"]),
        hosts=tuple(HostTraffic(**kind) for kind in reply["hosts"]),
        from_page_cache=_prediction_of(reply["from_page_cache"]),
        from_disk=_prediction_of(reply["from_disk"]),
    )


def _prediction_of(reply: dict[str, Any] | None) -> Prediction | None:
    return None if reply is None else Prediction(**reply)
