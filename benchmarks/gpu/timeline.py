#!/usr/bin/env python3
"""Draws the trace of load_benchmark, and says which steps of successive buckets overlap.

A bucket is one broadcast. Bytes leave in one order, so the n-th byte that was read, copied or
broadcast belongs to the same bucket in all three.
"""
import argparse
import bisect
import itertools
import json
import pathlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

STEPS = {"read": "read", "copy h2d": "copy", "ncclBroadcast": "broadcast",
         "nccl group": "broadcast"}
ROOT = 0


@dataclass(frozen=True)
class Span:
    step: str
    rank: int
    row: str
    begin: float
    end: float
    bucket: int


def overlap(spans: list[Span]) -> bool:
    return max(span.begin for span in spans) < min(span.end for span in spans)


def of_step(events: list[dict], step: str, rank: int) -> list[dict]:
    """In the order of their bytes: of the file for reads, of time on a stream."""
    mine = [e for e in events
            if e["ph"] == "X" and STEPS.get(e["name"]) == step and e["pid"] == rank]
    return sorted(mine, key=lambda e: e["args"]["offset"] if step == "read" else e["ts"])


def read_spans(path: pathlib.Path) -> list[Span]:
    events = json.loads(path.read_text())["traceEvents"]
    rows = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    ranks = sorted({e["pid"] for e in events})
    broadcasts = of_step(events, "broadcast", ROOT)
    ends = list(itertools.accumulate(e["args"]["bytes"] for e in broadcasts))
    spans = []
    for rank, step in itertools.product(ranks, ("read", "copy", "broadcast")):
        begin = 0
        for event in of_step(events, step, rank):
            milliseconds = event["ts"] / 1000, (event["ts"] + event["dur"]) / 1000
            spans.append(Span(step, rank, rows[event["pid"], event["tid"]], *milliseconds,
                              bisect.bisect_right(ends, begin)))
            begin += event["args"]["bytes"]
    return spans


def joined(spans: list[Span], key: Callable[[Span], Hashable]) -> dict[Hashable, Span]:
    """From the first to the last of the spans that have a key in common."""
    whole: dict[Hashable, Span] = {}
    for span in spans:
        seen = whole.setdefault(key(span), span)
        whole[key(span)] = replace(span, begin=min(seen.begin, span.begin),
                                   end=max(seen.end, span.end))
    return whole


def describe(spans: list[Span]) -> dict[str, int]:
    """Counts of buckets. A step lasts from a bucket's first byte to its last, on the root."""
    mine = [span for span in spans if span.rank == ROOT]
    steps = joined(mine, lambda span: (span.step, span.bucket))
    reads, copies, broadcasts = (
        {bucket: span for (name, bucket), span in steps.items() if name == step}
        for step in ("read", "copy", "broadcast"))

    def overlapped(by: dict[int, Span], steps: dict[int, Span]) -> int:
        return sum(any(later.bucket > span.bucket and overlap([later, span])
                       for later in by.values()) for span in steps.values())

    def is_triple(broadcast: Span) -> bool:
        return any(overlap([read, copy, broadcast]) for read in reads.values()
                   for copy in copies.values() if read.bucket >= copy.bucket > broadcast.bucket)

    return {"buckets": len(broadcasts),
            "copied_after_read_and_broadcast_after_copy":
                sum(reads[k].end <= copies[k].end <= broadcasts[k].begin for k in broadcasts),
            "copied_while_a_later_one_is_read": overlapped(reads, copies),
            "broadcast_while_a_later_one_is_read": overlapped(reads, broadcasts),
            "broadcast_while_a_later_one_is_copied": overlapped(copies, broadcasts),
            "broadcast_while_later_ones_are_read_and_copied":
                sum(is_triple(span) for span in broadcasts.values())}


def row_number(rows: list[tuple[int, str]], span: Span) -> int:
    return len(rows) - rows.index((span.rank, span.row))


def draw(spans: list[Span], path: pathlib.Path) -> None:
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    order = sorted({(s.rank, s.step == "broadcast", s.step == "copy", s.row) for s in spans})
    rows = [(rank, row) for rank, _, _, row in order]
    start = min(span.begin for span in spans)
    colours = pyplot.get_cmap("Dark2").colors
    figure, axes = pyplot.subplots(figsize=(11, 1.5 + 0.5 * len(rows)))
    windows = joined(spans, lambda span: (span.rank, span.row, span.bucket)).values()
    for shown, alpha in ((windows, 0.3), (spans, 1.0)):
        for span in shown:
            axes.barh(row_number(rows, span), span.end - span.begin, left=span.begin - start,
                      height=0.66, color=colours[span.bucket % len(colours)], alpha=alpha,
                      linewidth=0)
    room = 0.004 * (max(span.end for span in spans) - start)
    for span in (window for window in windows if window.end - window.begin > room):
        axes.text((span.begin + span.end) / 2 - start, row_number(rows, span) + 0.36,
                  str(span.bucket), ha="center", va="bottom", fontsize=7)
    axes.set_yticks(range(len(rows), 0, -1), [f"rank {rank}, {row}" for rank, row in rows])
    axes.set_xlabel("milliseconds on emulated devices: they show order and overlap, not speed")
    axes.set_title("Rank 0 reads later buckets of the file and copies them to its device while "
                   "earlier ones are broadcast\n(emulated tier; a colour is one bucket, pale from "
                   "its first to its last piece)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=pathlib.Path)
    parser.add_argument("--png", type=pathlib.Path, help="needs matplotlib")
    parser.add_argument("--first", type=int, default=0, help="first bucket drawn")
    parser.add_argument("--buckets", type=int, default=10**6, help="how many are drawn")
    args = parser.parse_args()
    spans = read_spans(args.trace)
    print(json.dumps(describe(spans), indent=2))
    if args.png:
        last = args.first + args.buckets
        draw([span for span in spans if args.first <= span.bucket < last], args.png)


if __name__ == "__main__":
    main()
