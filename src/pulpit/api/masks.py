"""Secrets in configurations: shown as five stars, and five stars sent back mean "as it was"."""

from collections.abc import Collection
from typing import Any, Final

from pulpit.errors import InvalidValue

MASK: Final = "*****"


def masked(config: dict[str, Any], secret_keys: Collection[str]) -> dict[str, Any]:
    """The configuration as it may be shown; an absent or empty secret is shown as it is."""
    return {key: MASK if key in secret_keys and value else value for key, value in config.items()}


def merged(
    old: dict[str, Any], delta: dict[str, Any], secret_keys: Collection[str], *, property_name: str
) -> dict[str, Any]:
    """The configuration after a change: null removes a key, a masked secret leaves it, all else overwrites.

    Raises:
        InvalidValue: `property_name`, when five stars come for a secret that was never given.
    """
    changes = {key: value for key, value in delta.items() if not (key in secret_keys and value == MASK and key in old)}
    if any(key in secret_keys and value == MASK for key, value in changes.items()):
        raise InvalidValue(property_name, f"{MASK} stands for a secret that is kept, and none is kept here.")
    both = {**old, **changes}
    return {key: value for key, value in both.items() if value is not None}
