"""Tables of measurements, in units of the host's limits."""
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import workloads

BEGIN = "<!-- written by benchmarks/cpu/run --update-docs -->"
END = "<!-- end of what benchmarks/cpu/run wrote -->"
PAGE_BYTES = 4096
MIB = 1 << 20


@dataclass(frozen=True)
class Side:
    title: str
    arguments: tuple[str, ...] = ()


LIMITS = "limits"
OURS = {"fakescore_root": Side("fakescore, one reader", ("--read", "root")),
        "fakescore_all": Side("fakescore, every rank reads", ("--read", "all"))}
PEERS = {"load_state_dict_copy": Side("`to_empty`, `load_state_dict` on every rank"),
         "load_state_dict_assign": Side("`load_state_dict(assign=True)` on every rank"),
         "set_state_dict": Side("`set_model_state_dict(broadcast_from_rank0=True)`"),
         "broadcast_each": Side("`dist.broadcast` of each tensor"),
         "broadcast_coalesced": Side("`_sync_module_states`, as in FSDP1 and DDP")}
# What each is measured by in short: the least work that a host needs for the same.
UNITS = [("fakescore_root", "broadcast_seconds"), ("fakescore_all", "copy_seconds"),
         ("fakescore_all", "populated_copy_seconds")]
SIDES = {**OURS, **PEERS, LIMITS: Side("limits")}

Lines = list[dict]


def worst(line: dict, key: str) -> float:
    return max(rank[key] for rank in line["by_rank"])


def total(line: dict, key: str) -> float:
    return sum(rank[key] for rank in line["by_rank"])


def seconds(line: dict) -> float:
    """Of the slowest rank, with the first write to every page, which training makes at once."""
    return worst(line, "seconds") + worst(line, "first_write_seconds")


def faults_per_page(line: dict) -> float:
    pages = line["model_bytes"] / PAGE_BYTES * len(line["by_rank"])
    return (total(line, "faults") + total(line, "first_write_faults")) / pages


def beside_model(line: dict, key: str) -> float:
    """Bytes of memory that a rank got and that are not the model: of the rank with most."""
    most = max(rank[key] - rank["anonymous_before"] for rank in line["by_rank"])
    return most - line["model_bytes"]


def peak_beside_model(line: dict) -> float:
    """The same at the peak, of a load whose memory was sampled, or at its end with all written."""
    return max(beside_model(line, key) for key in ("anonymous_peak", "anonymous_written"))


def is_right(line: dict) -> bool:
    if "error" in line or line["exit_code"] != 0:
        return False
    return line["side"] == LIMITS or all(
        rank["first_difference"] == "" and rank["buffers_right"] and rank["ties_right"]
        for rank in line["by_rank"])


def progress_of(line: dict) -> str:
    if line["side"] == LIMITS:
        text = (f"broadcast {worst(line, 'broadcast_seconds'):.3f} s, "
                f"copy {worst(line, 'copy_seconds'):.3f} s, "
                f"with pages made at once {worst(line, 'populated_copy_seconds'):.3f} s")
    else:
        text = f"{seconds(line):.3f} s"
    return text if is_right(line) else f"{text}, NOT RIGHT"


@dataclass(frozen=True)
class Group:
    """The measurements of one workload at one number of ranks."""
    lines: Lines

    def of(self, side: str, sampled: bool = False) -> Lines:
        return [line for line in self.lines if line["side"] == side
                and line["sampled"] == sampled and "error" not in line]

    def limit(self, key: str, of: Callable[[dict, str], float] = worst) -> list[float]:
        return [of(line, key) for line in self.of(LIMITS)]

    def seconds(self, side: str) -> list[float]:
        return [seconds(line) for line in self.of(side)]

    def right_peers(self) -> list[str]:
        """Those that ran and were right, the fastest first."""
        ran = [side for side in PEERS if self.of(side) and all(map(is_right, self.of(side)))]
        return sorted(ran, key=lambda side: min(self.seconds(side)))


def groups(lines: Lines) -> dict[tuple[str, int], Group]:
    keys = dict.fromkeys((line["workload"], line["ranks"]) for line in lines)
    return {key: Group([line for line in lines if (line["workload"], line["ranks"]) == key])
            for key in keys}


def ratio(values: Iterable[float], units: Iterable[float]) -> str:
    """Minimum by minimum / median by median."""
    values, units = list(values), list(units)
    if not values or not units:
        return "-"
    return (f"{min(values) / min(units):.2f} / "
            f"{statistics.median(values) / statistics.median(units):.2f}")


def row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(columns: list[str], rows: Iterable[list[str]]) -> str:
    return "\n".join([row(columns), "|" + "---|" * len(columns), *map(row, rows)])


def short_row(key: tuple[str, int], group: Group) -> list[str]:
    name, ranks = key
    cells = [workloads.WORKLOADS[name].title, str(ranks)]
    cells += [ratio(group.seconds(side), group.limit(unit)) for side, unit in UNITS]
    peers = group.right_peers()
    if not peers:
        return [*cells, "-", "-"]
    fastest = group.seconds(peers[0])
    mine = min(OURS, key=lambda side: min(group.seconds(side), default=float("inf")))
    return [*cells, f"{ratio(fastest, group.limit('broadcast_seconds'))}: {PEERS[peers[0]].title}",
            ratio(group.seconds(mine), fastest)]


def short_table(lines: Lines) -> str:
    columns = ["teacher", "ranks", "fakescore, one reader / L1",
               "fakescore, every rank reads / L2N", "/ L3"]
    columns += ["the fastest of Python's ways / L1", "fakescore / the fastest"]
    return table(columns, (short_row(*item) for item in groups(lines).items()))


def long_row(side: str, group: Group) -> list[str]:
    lines, sampled = group.of(side), group.of(side, sampled=True)
    unit = group.limit("broadcast_seconds")
    if not lines:
        errors = [line["error"] for line in group.lines if line["side"] == side and "error" in line]
        return [SIDES[side].title, errors[0] if errors else "-"] + ["-"] * 9

    def by_unit(value: Callable[[dict], float]) -> str:
        return ratio(map(value, lines), unit)

    def mebibytes(bytes_of: Iterable[float]) -> str:
        return f"{max(beside) / MIB:.1f}" if (beside := list(bytes_of)) else "-"

    first_byte = "-"
    if "first_byte_seconds" in lines[0]["by_rank"][0]:
        first_byte = by_unit(lambda line: worst(line, "first_byte_seconds"))
    return [SIDES[side].title, by_unit(seconds),
            ratio(group.seconds(side), group.limit("copy_seconds")),
            ratio(group.seconds(side), group.limit("populated_copy_seconds")),
            by_unit(lambda line: worst(line, "first_write_seconds")), first_byte,
            ratio((total(line, "cpu_seconds") for line in lines),
                  group.limit("broadcast_cpu_seconds", total)),
            f"{min(map(faults_per_page, lines)):.2f}",
            mebibytes(beside_model(line, "anonymous_written") for line in lines),
            mebibytes(map(peak_beside_model, sampled)),
            "yes" if all(map(is_right, lines + sampled)) else "NO"]


def long_tables(lines: Lines) -> str:
    columns = ["way", "time / L1", "time / L2N", "time / L3", "of it, first write / L1",
               "first byte / L1", "CPU / L1's", "faults a page", "MiB beside the model", "at the peak", "right"]
    parts = []
    for (name, ranks), group in groups(lines).items():
        sides = [side for side in SIDES if side != LIMITS
                 and any(line["side"] == side for line in group.lines)]
        copy, populated = (ratio(group.limit(key), group.limit("broadcast_seconds"))
                           for key in ("copy_seconds", "populated_copy_seconds"))
        parts += [f"**{workloads.WORKLOADS[name].title}, {ranks} ranks** "
                  f"(L2N is {copy} L1, L3 {populated})", "",
                  table(columns, (long_row(side, group) for side in sides)), ""]
    return "\n".join(parts).rstrip()
