#!/usr/bin/env python3
"""Seconds, messages and resources of control calls over the number of ranks."""
import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys

import machine

RANKS = (4, 16, 64, 256, 512, 1024)
MPI_RANKS = (2, 4, 8, 16)
DESCRIPTORS_A_RANK = 4


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--ranks", type=int, nargs="+", default=list(RANKS))
    parser.add_argument("--mpi-ranks", type=int, nargs="*", default=None,
                        help="none where --ranks is given, unless this is")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bound", type=float)
    options = parser.parse_args()
    if options.mpi_ranks is None:
        options.mpi_ranks = MPI_RANKS if options.ranks == list(RANKS) else ()
    return options


def run(command):
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_threads(options, ranks):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = DESCRIPTORS_A_RANK * ranks
    if hard != resource.RLIM_INFINITY and hard < needed:
        sys.exit(f"{ranks} ranks need {needed} file descriptors, this shell allows {hard}: "
                 "raise ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    return run([options.program, "--ranks", str(ranks), "--repeats", str(options.repeats)])


def measure_mpi(options, ranks):
    environment = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    return run(["mpirun", *environment, "--oversubscribe", "-n", str(ranks), options.program,
                "--mpi", "--repeats", str(options.repeats)])


def milliseconds(entry):
    seconds = entry["seconds"]
    return f"{1000 * min(seconds):.1f} / {1000 * statistics.median(seconds):.1f}"


def row(cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def print_head(*heads):
    row(heads)
    row("---:" for _ in heads)


def a_rank(result, name):
    grown = result["after"][name] - result["before"][name]
    return f"{grown / result['ranks']:.1f}"


def print_threads(options):
    print("\nRanks as threads over a TCPStore (milliseconds, minimum / median):\n")
    print_head("ranks", "an agreement", "a gather", "a job", "writes and reads of a job, all ranks",
               "of the rank with most", "questions of a job, all ranks", "descriptors a rank",
               "threads a rank", "KiB a rank")
    jobs = []
    for ranks in options.ranks:
        result = measure_threads(options, ranks)
        job = result["steps"]["job"]
        jobs.append(min(job["seconds"]))
        row([ranks, *(milliseconds(result["steps"][name]) for name in ("agree", "gather", "job")),
             round(job["all"]["writes"] + job["all"]["reads"]),
             round(job["most"]["writes"] + job["most"]["reads"]), round(job["all"]["questions"]),
             *(a_rank(result, name) for name in ("descriptors", "threads", "resident_kib"))])
    return jobs


def print_mpi(options):
    print("\nRanks as processes of mpirun (milliseconds, minimum / median):\n")
    print_head("ranks", "an agreement", "a gather", "a job")
    for ranks in options.mpi_ranks:
        steps = measure_mpi(options, ranks)["steps"]
        row([ranks, *(milliseconds(steps[name]) for name in ("agree", "gather", "job"))])


def main():
    options = arguments()
    print(", ".join(machine.description().values()) + f", {datetime.date.today()}, CPU tier")
    jobs = print_threads(options)
    if options.mpi_ranks:
        print_mpi(options)
    ratio = jobs[-1] / jobs[0]
    print(f"\nratio {ratio:.2f}")
    return 1 if options.bound and ratio > options.bound else 0


if __name__ == "__main__":
    sys.exit(main())
