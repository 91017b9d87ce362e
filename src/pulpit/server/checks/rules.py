"""All rules, and the way through them: look, and heal what can be healed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pulpit.server.checks.books import books
from pulpit.server.checks.files import files
from pulpit.server.checks.scene import Finding, Scene
from pulpit.server.checks.trees import trees

RULES: Final[tuple[Callable[[Scene], Iterator[Finding]], ...]] = (books, files, trees)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A finding, and whether it was healed."""

    finding: Finding
    repaired: bool

    @property
    def stands(self) -> bool:
        """Whether something is wrong that nobody has done anything about."""
        return not (self.finding.harmless or self.repaired)

    def line(self) -> str:
        """For people."""
        one = self.finding
        return f"{one.rule} {one.subject}: {one.problem} {'Repaired.' if self.repaired else one.remedy}"

    def document(self) -> dict[str, Any]:
        """For programs."""
        one = self.finding
        names = ("rule", "subject", "problem", "remedy", "harmless")
        return {**{name: getattr(one, name) for name in names}, "repaired": self.repaired}


def examine(scene: Scene, *, repair: bool) -> Iterator[Verdict]:
    """Look by every rule; with `repair`, heal what each has found before the next one looks.

    Args:
        scene: where to look.
        repair: whether to heal; no server may run.
    """
    for rule in RULES:
        found = list(rule(scene)) if repair else rule(scene)
        for finding in found:
            heals = repair and finding.mend is not None
            if heals and finding.mend:
                finding.mend()
            yield Verdict(finding=finding, repaired=heals)
