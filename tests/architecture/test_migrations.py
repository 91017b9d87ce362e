"""The migrations are a single chain, without branches."""

import re
from pathlib import Path

from pulpit.store import migrations

VERSIONS = Path(migrations.__file__).parent / "versions"


def test_each_step_follows_the_one_before() -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(VERSIONS.glob("[0-9]*.py"))]
    steps = [re.findall(r'^(?:down_)?revision = (?:"(\d+)"|None)$', text, re.MULTILINE) for text in texts]
    expected = [[f"{number:04}", f"{number - 1:04}" if number > 1 else ""] for number in range(1, len(texts) + 1)]
    assert steps == expected
    assert steps[-1][0] == migrations.HEAD
