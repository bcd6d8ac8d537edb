"""Builds the library with all mutants in it, beside a build folder and without changing it."""

import json
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

    def build(self, sources):
        """Compiles what depends on `sources`, {file: text}, and links; returns the library's
        folder."""
        for file, text in sources.items():
            write_if_changed(self.sources / file, text)
        link = self.ninja("commands", "-s", str(self.library)).strip().splitlines()[-1]
        commands = {entry["output"]: entry for entry in
                    json.loads((self.folder / "compile_commands.json").read_text())
                    if "output" in entry}
        objects = {}
        for output in dict.fromkeys(word for word in shlex.split(link) if word in commands):
            dependencies = self.dependencies(output)
            held = [file for file in sources if self.root / file in dependencies]
            if held:
                objects[output] = self.compile(commands[output], held)
        if not objects:
            raise BuildError("nothing in the library depends on the table's files")
        return self.link(link, objects)

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
        words = shlex.split(command["command"])
        words[words.index("-o") + 1] = str(output)
        words[words.index("-c") + 1] = str(copy)
        first_option = next(i for i, word in enumerate(words) if word.startswith("-"))
        # Warnings of what a switch leaves unused are of no interest.
        first_option = max(first_option, next(i for i, word in enumerate(words)
                                              if re.search(r"(\+\+|clang|gcc)[^/]*$", word)) + 1)
        words[first_option:first_option] = [f"-I{self.sources}/src", f"-I{self.sources}/include"]
        words += ["-w", "-include", str(switch)]
        print(f"compiling {command['output']} with {len(held)} changed files", flush=True)
        done = subprocess.run(words, cwd=command["directory"], capture_output=True, text=True)
        if done.returncode != 0:
            raise BuildError(done.stderr)
        return output

    def link(self, command, objects):
        library = self.scratch / "lib" / self.library.name
        library.parent.mkdir(parents=True, exist_ok=True)
        if not is_newer(library, [self.folder / self.library, *objects.values()]):
            for output, copy in objects.items():
                command = re.sub(rf"(?<![\w/.-]){re.escape(output)}(?![\w/.-])", str(copy), command)
            command = command.replace(f"-o {self.library}", f"-o {library}")
            subprocess.run(command, shell=True, check=True, cwd=self.folder)
        soname = re.search(r"-soname,(\S+)", command).group(1)
        alias = library.with_name(soname)
        if alias != library:
            alias.unlink(missing_ok=True)
            alias.symlink_to(library.name)
        return library.parent
