"""Secrets in configurations: shown as five asterisks, and five asterisks sent back mean "unchanged".

The same for password and token of a URL, which feeds of Pulp 2 may have: `http://user:*****@host/?*****`.
"""

from collections.abc import Callable, Collection
from typing import Any, Final

from pulpit.content import feed
from pulpit.errors import InvalidValue
from pulpit.text import MASK, masked_url

SECRET_KEYS: Final = feed.SECRET_KEYS
_OLD_NAME: Final = "num_threads"
"""The old name of `max_downloads`, which Katello still sends."""


def masked(config: dict[str, Any], secret_keys: Collection[str]) -> dict[str, Any]:
    """Return the configuration as it may be shown; an absent or empty secret is unchanged."""
    shown = {key: masked_url(value) if isinstance(value, str) else value for key, value in config.items()}
    return shown | {key: MASK for key in secret_keys if config.get(key)}


def merged(
    old: dict[str, Any], delta: dict[str, Any], secret_keys: Collection[str], *, property_name: str
) -> dict[str, Any]:
    """Return the configuration after a change: null removes a key, a masked secret is kept, all else overwrites.

    Raises:
        InvalidValue: `property_name`, if a masked secret was never set.
    """
    shown = masked(old, secret_keys)
    sent_back = {key for key, value in delta.items() if key in old and _has_mask(value) and value == shown[key]}
    changes = {key: value for key, value in delta.items() if key not in sent_back}
    if any(_has_mask(value) for value in changes.values()):
        raise InvalidValue(property_name, f"{MASK} stands for a secret that is kept, and none is kept here.")
    both = {**old, **changes}
    return {key: value for key, value in both.items() if value is not None}


def checked_override(
    config: dict[str, Any], override: dict[str, Any] | None, check: Callable[[dict[str, Any]], None]
) -> dict[str, Any] | None:
    """Return what overrides parts of a configuration for one task, after checking the resulting configuration.

    Masked secrets are omitted.

    Raises:
        InvalidValue: a key is unknown or a value invalid; nothing is silently ignored.
    """
    if not override:
        return override
    if _OLD_NAME in override:
        override = {"max_downloads": override[_OLD_NAME], **override}
        del override[_OLD_NAME]
    whole = merged(config, override, SECRET_KEYS, property_name="override_config")
    check(whole)
    return {key: value for key, value in override.items() if value == whole.get(key)}


def _has_mask(value: Any) -> bool:
    return isinstance(value, str) and (value == MASK or ("://" in value and MASK in value))
