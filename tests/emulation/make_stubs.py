#!/usr/bin/env python3
"""Writes a C++ source with a stub for every function of a library that nobody emulates.

Each stub aborts naming its symbol. Without them such a call would reach the real library, which
fails in ways that say nothing, or works on addresses that it does not own.
"""
import argparse
import re
import subprocess


def symbols(nm, arguments, path):
    lines = subprocess.run([nm, *arguments, path], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].split("@")[0] for line in lines.splitlines() if line.split()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nm", default="nm")
    parser.add_argument("--provides", action="append", default=[], metavar="LIBRARY:REGEX",
                        help="stub what LIBRARY defines and REGEX matches")
    parser.add_argument("--needs", action="append", default=[], metavar="LIBRARY:REGEX",
                        help="stub what LIBRARY leaves undefined and REGEX matches")
    parser.add_argument("--keep", action="append", default=[], metavar="SYMBOL",
                        help="leave SYMBOL to the real library")
    parser.add_argument("--objects", nargs="+", required=True, help="where the emulation is defined")
    parser.add_argument("--output", required=True)
    options = parser.parse_args()

    wanted = set()
    for flag, entries in (("--defined-only", options.provides), ("--undefined-only", options.needs)):
        for entry in entries:
            library, pattern = entry.rsplit(":", 1)
            found = symbols(options.nm, ["-D", flag], library)
            wanted |= {name for name in found if re.fullmatch(pattern, name)}
    for path in options.objects:
        wanted -= symbols(options.nm, ["--defined-only"], path)
    wanted -= set(options.keep)

    with open(options.output, "w") as output:
        output.write('extern "C" {\n[[noreturn]] void fakescore_emulation_stub(const char* symbol);\n')
        for name in sorted(wanted):
            output.write(f'void {name}() {{ fakescore_emulation_stub("{name}"); }}\n')
        output.write("}\n")


if __name__ == "__main__":
    main()
