"""Builds the library with all mutants in it, beside a build folder and without changing it."""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess


class BuildError(Exception):
    pass


def write_if_changed(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def is_newer(target, sources):
    return target.exists() and all(
        target.stat().st_mtime_ns >= source.stat().st_mtime_ns for source in sources)


class Build:
    """`folder` is an up-to-date Ninja build folder; `scratch` is this class's own."""

    def __init__(self, root, folder, scratch):
        self.root, self.folder, self.scratch = root, folder, scratch
        self.sources = scratch / "sources"
        libraries = [path for path in (folder / "lib").glob("libfakescore.so*")
                     if not path.is_symlink()]
        if len(libraries) != 1:
            raise BuildError(f"{folder} holds no built libfakescore.so: build it first")
        self.library = libraries[0].relative_to(folder)
        self.objects = {}  # an object of the build and the one that takes its place
        self.programs = {}

    def build(self, sources):
        """Compiles what depends on `sources`, {file: text}, and links the library; returns its
        folder."""
        for file, text in sources.items():
            write_if_changed(self.sources / file, text)
        commands = self.compile_commands()
        link = self.link_command(self.library)
        units = {}
        for output in dict.fromkeys(word for word in shlex.split(link) if word in commands):
            dependencies = self.dependencies(output)
            held = [file for file in sources if self.root / file in dependencies]
            if held:
                units[output] = held
        if not units:
            raise BuildError("nothing in the library depends on the table's files")
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            compiled = pool.map(lambda unit: self.compile(commands[unit[0]], unit[1]), units.items())
            self.objects = dict(zip(units, compiled))
        library = self.link(self.library)
        soname = re.search(r"-soname,(\S+)", link).group(1)
        alias = library.with_name(soname)
        if alias != library:
            alias.unlink(missing_ok=True)
            alias.symlink_to(library.name)
        return library.parent

    def compile_commands(self):
        """{object: its entry}: CMake names the object in the command alone."""
        entries = json.loads((self.folder / "compile_commands.json").read_text())
        for entry in entries:
            entry["words"] = shlex.split(entry["command"])
            entry["output"] = entry["words"][entry["words"].index("-o") + 1]
        return {entry["output"]: entry for entry in entries}

    def program(self, path):
        """The program of the build folder, or where it has the library's objects in it, as tests of
        what the library hides do, one with the mutants."""
        if path not in self.programs:
            output = path.relative_to(self.folder)
            linked = self.is_linked(output) and any(
                word in self.objects for word in shlex.split(self.link_command(output)))
            self.programs[path] = self.link(output) if linked else path
        return self.programs[path]

    def is_linked(self, output):
        return subprocess.run(["ninja", "-C", self.folder, "-t", "query", str(output)],
                              capture_output=True).returncode == 0

    def link_command(self, output):
        return self.ninja("commands", "-s", str(output)).strip().splitlines()[-1]

    def ninja(self, tool, *arguments):
        return subprocess.run(["ninja", "-C", self.folder, "-t", tool, *arguments], check=True,
                              capture_output=True, text=True).stdout

    def dependencies(self, output):
        lines = self.ninja("deps", output).splitlines()
        if not any(line.startswith("    ") for line in lines):
            raise BuildError(f"Ninja knows no dependencies of {output}: build it first")
        return {(self.folder / line.strip()).resolve() for line in lines
                if line.startswith("    ")}

    def compile(self, command, held):
        source = pathlib.Path(command["file"])
        unit = source.read_text()
        if source.is_relative_to(self.root / "src"):
            unit = f'#include "{source}"\n'
        for file in held:
            unit = unit.replace(f'"{self.root / file}"', f'"{self.sources / file}"')
        copy = self.scratch / "units" / (command["output"].replace("/", "_") + ".cpp")
        write_if_changed(copy, unit)
        output = copy.with_suffix(".o")
        switch = pathlib.Path(__file__).with_name("switch.hpp")
        # The build's own object is newer where anything else that the unit depends on has changed.
        if is_newer(output, [copy, switch, self.folder / command["output"],
                             *(self.sources / file for file in held)]):
            return output
        words = list(command["words"])
        words[words.index("-o") + 1] = str(output)
        words[words.index("-c") + 1] = str(copy)
        first_option = next(i for i, word in enumerate(words) if word.startswith(("-D", "-I")))
        words[first_option:first_option] = [f"-I{self.sources}/src", f"-I{self.sources}/include"]
        # Warnings of what a switch leaves unused are of no interest.
        words += ["-w", "-include", str(switch)]
        print(f"compiling {command['output']} with {len(held)} changed files", flush=True)
        done = subprocess.run(words, cwd=command["directory"], capture_output=True, text=True)
        if done.returncode != 0:
            raise BuildError(done.stderr)
        return output

    def link(self, output):
        copy = self.scratch / output
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not is_newer(copy, [self.folder / output, *self.objects.values()]):
            command = self.link_command(output)
            for original, changed in self.objects.items():
                command = re.sub(rf"(?<![\w/.-]){re.escape(original)}(?![\w/.-])", str(changed),
                                 command)
            command = command.replace(f"-o {output} ", f"-o {copy} ")
            # Steps after the link itself make links to the library: these are made by the caller.
            command = re.sub(r"^: && (.*?) && .*$", r"\1", command)
            subprocess.run(command, shell=True, check=True, cwd=self.folder)
        return copy
