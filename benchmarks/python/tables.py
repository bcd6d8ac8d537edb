"""Tables of measurements."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from findings import PARTS
from teachers import GIGABYTE
from ways import ALL_OURS, WAYS, Way

#: A job: its way, whether it was sampled, and what each rank found; or an error in place of that.
Line = dict[str, Any]


def is_right(line: Line) -> bool:
    return "error" not in line and not any(
        name for rank in line["by_rank"] for name in rank["wrong"].values()
    )


def load_seconds(line: Line) -> float:
    """Of the slowest rank."""
    return _most(line, "seconds")


def written_seconds(line: Line) -> float:
    """With the first write to every page."""
    return load_seconds(line) + _most(line, "first_write_seconds")


def progress_of(line: Line) -> str:
    if "error" in line:
        return str(line["error"])
    if line["sampled"]:
        return f"{_most(line, 'not_of_files') / GIGABYTE:.2f} GB"
    return f"{load_seconds(line):.3f} s, {written_seconds(line):.3f} s with the first write"


def _most(line: Line, key: str) -> float:
    return max(float(rank[key]) for rank in line["by_rank"])


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


class Measurements:
    """What all jobs of a run found."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        ways = [line["way"] for line in lines]
        self._ours = next((way for way in ALL_OURS if way in ways), "")

    def costs(self) -> str:
        columns = [
            "way",
            "seconds",
            "times ours",
            "of it, moving",
            "with the first write",
            "times ours",
            "peak GB, resident",
            "without pages of files",
            "GB read, rank 0 / another",
        ]
        return table(columns, map(self._cost_row, self._ways()))

    def rights(self) -> str:
        ways = [way for way in self._ways() if isinstance(WAYS[way], Way)]
        return table(["way", *PARTS], map(self._right_row, ways))

    def _ways(self) -> list[str]:
        return [way for way in WAYS if any(line["way"] == way for line in self._lines)]

    def _of(self, way: str) -> list[Line]:
        return [line for line in self._lines if line["way"] == way and "error" not in line]

    def _timed(self, way: str) -> list[Line]:
        return [line for line in self._of(way) if not line["sampled"]]

    def _sampled(self, way: str) -> list[Line]:
        return [line for line in self._of(way) if line["sampled"]]

    def _cost_row(self, way: str) -> list[str]:
        timed, sampled = self._timed(way), self._sampled(way)
        if not timed or not sampled:
            return [WAYS[way].title, "failed", *["-"] * 7]
        return [
            WAYS[way].title,
            *self._times(way, load_seconds),
            self._moving(timed),
            *self._times(way, written_seconds),
            f"{max(_most(line, 'resident_peak') for line in timed) / GIGABYTE:.2f}",
            f"{max(_most(line, 'not_of_files') for line in sampled) / GIGABYTE:.2f}",
            " / ".join(_read(timed, sampled, rank) for rank in range(len(timed[0]["by_rank"]))[:2]),
        ]

    def _moving(self, timed: Sequence[Line]) -> str:
        if not all("move_seconds" in line["by_rank"][0] for line in timed):
            return "-"
        seconds = [_most(line, "move_seconds") for line in timed]
        return f"{min(seconds):.2f} / {statistics.median(seconds):.2f}"

    def _times(self, way: str, seconds_of: Callable[[Line], float]) -> list[str]:
        """Minimum and median, in seconds and in units of ours."""
        seconds = [seconds_of(line) for line in self._timed(way)]
        ours = [seconds_of(line) for line in self._timed(self._ours)]
        least, middle = min(seconds), statistics.median(seconds)
        ratio = "-"
        if ours:
            ratio = f"{least / min(ours):.2f} / {middle / statistics.median(ours):.2f}"
        return [f"{least:.2f} / {middle:.2f}", ratio]

    def _right_row(self, way: str) -> list[str]:
        lines = [line for line in self._lines if line["way"] == way]
        return [WAYS[way].title, *(_verdict(lines, part) for part in PARTS)]


def _read(timed: Sequence[Line], sampled: Sequence[Line], rank: int) -> str:
    by_calls = max(line["by_rank"][rank]["read"] for line in timed)
    mapped = max(line["by_rank"][rank]["mapped"] for line in sampled)
    return f"{(by_calls + mapped) / GIGABYTE:.2f}"


def _verdict(lines: Sequence[Line], part: str) -> str:
    if any("error" in line for line in lines):
        return "failed"
    wrong = (rank["wrong"][part] for line in lines for rank in line["by_rank"])
    first = next(filter(None, wrong), "")
    return f"**no**: {first}" if first else "yes"
