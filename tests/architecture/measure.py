"""Counts what tells whether the source stays easy to read; `make lint` prints it, and no number fails anything.

Many tiny files and helpers with one caller make a reader jump where he should read on; `Any` in the broker switches
mypy off where most is called.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "pulpit"
SHORT_FILE = 80
"""Lines below which a file is hardly a chapter."""
SHORT_HELPER = 6
"""Lines, from `def` to the end, up to which a helper with one caller might as well stand there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    lines: int
    files: int
    short_files: int
    short_helpers: int
    """Private functions and methods of a few lines that are named once in their file outside their own body."""
    broker_any: int
    """Annotations below `broker/` that say `Any`."""

    def report(self) -> str:
        per_thousand = 1000 * self.short_helpers / self.lines
        return (
            f"{self.lines} lines in {self.files} files, {self.short_files} of them under {SHORT_FILE} lines; "
            f"{self.short_helpers} helpers of at most {SHORT_HELPER} lines with one caller "
            f"({per_thousand:.1f} in 1,000 lines); Any in broker/: {self.broker_any}"
        )


def measure(source: Path = SOURCE) -> Measures:
    """Count below a folder of Python files."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(source.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    lengths = [text.count("\n") for text in texts.values()]
    broker = [tree for path, tree in trees.items() if path.is_relative_to(source / "broker")]
    return Measures(
        lines=sum(lengths),
        files=len(lengths),
        short_files=sum(length < SHORT_FILE for length in lengths),
        short_helpers=sum(len(list(short_helpers(tree))) for tree in trees.values()),
        broker_any=sum(isinstance(node, ast.Name) and node.id == "Any" for tree in broker for node in ast.walk(tree)),
    )


def short_helpers(tree: ast.Module) -> Iterator[str]:
    """Names of the private functions of a module that are short and named once."""
    uses = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_private = node.name.startswith("_") and not node.name.startswith("__")
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if is_private and length <= SHORT_HELPER and uses[node.name] == 1:
                yield node.name


if __name__ == "__main__":
    print(measure().report())  # noqa: T201 - it is a report
