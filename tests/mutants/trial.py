"""Runs registered tests against the library that holds the mutants."""

import ctypes
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36
SKIPPED = 77


class TrialError(Exception):
    pass


@dataclasses.dataclass
class Outcome:
    passed: bool
    seconds: float
    killers: list  # tests that failed; the entry itself where no test of it says so
    text: str


def end_descendants():
    """Launchers give their ranks process groups of their own. What lost its parent is ours, for
    this process is their reaper."""
    me = os.getpid()
    while True:
        parents = {}
        for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.parent.name)] = int(fields[1])
        children = {child for child, parent in parents.items() if parent == me}
        while True:
            more = {child for child, parent in parents.items() if parent in children} - children
            if not more:
                break
            children |= more
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            pass
        if not children:
            return
        time.sleep(0.01)


class Trials:
    def __init__(self, build, library):
        """`library` is the folder of the one that holds the mutants."""
        self.build, self.library = build, library
        folder = build.folder
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        listed = subprocess.run(["ctest", "--test-dir", folder, "--show-only=json-v1"], check=True,
                                capture_output=True, text=True).stdout
        self.tests = {test["name"]: test for test in json.loads(listed)["tests"]}

    def run(self, entry, mutant=None, limit=None, reached=None):
        """One entry of the table's `tests`: "name" or "name:filter"."""
        name, _, wanted = entry.partition(":")
        if name not in self.tests or "command" not in self.tests[name]:
            raise TrialError(f"{name} is no test of this build")
        test = self.tests[name]
        properties = {item["name"]: item["value"] for item in test["properties"]}
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("FAKESCORE_MUTANT")}
        environment.update(item.split("=", 1) for item in properties.get("ENVIRONMENT", []))
        others = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = f"{self.library}:{others}" if others else str(self.library)
        if mutant:
            environment["FAKESCORE_MUTANT"] = mutant
            environment["FAKESCORE_MUTANT_REACHED"] = str(reached)
        begin = time.monotonic()
        process = subprocess.Popen(self.command(test, wanted), env=environment, text=True,
                                   errors="replace", cwd=properties.get("WORKING_DIRECTORY"),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            text = process.communicate(timeout=limit or properties.get("TIMEOUT", 300))[0]
            hangs = False
        except subprocess.TimeoutExpired:
            hangs = True
            end_descendants()
            text = process.communicate()[0] or ""
        finally:
            end_descendants()
        seconds = time.monotonic() - begin
        if process.returncode == SKIPPED or "Running 0 tests" in text:
            raise TrialError(f"{entry} runs no test")
        passed = not hangs and process.returncode == 0
        return Outcome(passed, seconds, [] if passed else killers(name, text, hangs), text)


    def command(self, test, wanted):
        programs = self.build.folder / "bin"
        command = [str(self.build.program(pathlib.Path(word)))
                   if pathlib.Path(word).parent == programs else word for word in test["command"]]
        if wanted:
            command = [word for word in command if not word.startswith("--gtest_filter=")]
            command.append(f"--gtest_filter={wanted}")
        return command


def killers(name, text, hangs):
    # "[  FAILED  ] Suite.Name, where ...": of those that ran, not of the summary's head.
    failed = re.findall(r"\[  FAILED  \] ([\w/]+\.[\w/]+)", text)
    begun = re.findall(r"\[ RUN      \] ([\w/]+\.[\w/]+)", text)
    found = list(dict.fromkeys(failed)) or begun[-1:]
    ending = " (hangs)" if hangs else ""
    return [f"{name} {test}{ending}" for test in found[:3]] or [f"{name}{ending}"]
