"""The table of mutants, and the sources that hold all of them at once."""

import dataclasses
import pathlib
import tomllib

TABLE = pathlib.Path(__file__).parent / "table"
SWITCH = "MUTANT"


class TableError(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    text: str  # what is taken out, as it stands there once
    becomes: str  # what stands there instead; with MUTANT, an expression, in it: in either case
    tests: tuple  # "ctest name" or "ctest name:GoogleTest filter", likeliest killer first
    survives: str  # why no test has to kill it

    def position(self, source):
        count = source.count(self.text)
        if count != 1:
            raise TableError(
                f"{self.name}: its text stands {count} times in {self.file}, not once: mend the "
                f"table\n{self.text}")
        return source.index(self.text)

    def switched(self):
        """The text and what it becomes, with a switch between them."""
        switch = f'FAKESCORE_MUTANT("{self.name}")'
        if SWITCH in self.becomes:
            return self.becomes.replace(SWITCH, switch)
        if self.text.rstrip().endswith((";", "}")):
            return f"if ({switch}) {{ {self.becomes} }} else {{ {self.text} }}"
        return f"({switch} ? ({self.becomes}) : ({self.text}))"


def load():
    mutants = []
    for path in sorted(TABLE.glob("*.toml")):
        table = tomllib.loads(path.read_text())
        for entry in table["mutant"]:
            unknown = set(entry) - {"name", "text", "becomes", "tests", "survives"} - {"file"}
            if unknown:
                raise TableError(f"{path.name}: {sorted(unknown)} mean nothing")
            tests = tuple(entry.get("tests", table.get("tests", {}).get(entry["file"], ())))
            if not tests:
                raise TableError(f"{entry['name']} has no tests")
            mutants.append(Mutant(entry["name"], entry["file"], entry["text"].strip("\n"),
                                  entry.get("becomes", "").strip("\n"), tests,
                                  entry.get("survives", "")))
    names = [mutant.name for mutant in mutants]
    for name in names:
        if names.count(name) > 1:
            raise TableError(f"{name} stands in the table twice")
    return mutants


def switched_sources(root, mutants):
    """{file: its text with every mutant of it behind its switch}."""
    sources = {}
    for file in sorted({mutant.file for mutant in mutants}):
        source = (root / file).read_text()
        edits = sorted(((mutant.position(source), mutant) for mutant in mutants
                        if mutant.file == file), key=lambda edit: edit[0], reverse=True)
        last = len(source)
        for begin, mutant in edits:
            end = begin + len(mutant.text)
            if end > last:
                raise TableError(f"{mutant.name} overlaps another mutant of {file}")
            source = source[:begin] + mutant.switched() + source[end:]
            last = begin
        sources[file] = source
    return sources
