"""The installed content types as the API needs them: by the ids of their importers and distributors."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from pulpit.content import access
from pulpit.content.port import ContentType
from pulpit.errors import InvalidValue

SECRET_KEYS: Final = frozenset({"basic_auth_password", "proxy_password", "ssl_client_key"})
"""Keys of any importer's or distributor's configuration that are never shown again."""


class Plugins:
    """Finds the content type that an importer or a distributor belongs to and has it check the configuration."""

    def __init__(self, by_type: Mapping[str, ContentType]) -> None:
        self._by_type: Final = by_type

    @property
    def unit_types(self) -> list[str]:
        """The ids of all unit types."""
        return sorted({unit_type for one in self._by_type.values() for unit_type in one.unit_type_ids})

    def check_importer_config(self, importer_type_id: str, config: dict[str, Any]) -> None:
        """Refuse a configuration that cannot work.

        Raises:
            InvalidValue: `importer_type_id` when nobody knows the type, else with the name of what is wrong.
        """
        found = self._by_type.get(importer_type_id)
        if found is None or found.importer_type_id != importer_type_id:
            raise InvalidValue("importer_type_id", f"there is no importer {importer_type_id!r}.")
        found.check_importer_config(config)

    def check_distributor_config(self, distributor_type_id: str, config: dict[str, Any]) -> None:
        """Refuse a configuration that cannot work.

        Raises:
            InvalidValue: `distributor_type_id` when nobody knows the type, else with the name of what is wrong.
        """
        found = self._by_type.get(distributor_type_id)
        if found is None or distributor_type_id not in found.distributor_type_ids:
            raise InvalidValue("distributor_type_id", f"there is no distributor {distributor_type_id!r}.")
        access.check(config)
        found.check_distributor_config(access.of_type(config))

    def secret_keys(self, plugin_type_id: str) -> Collection[str]:
        """The keys that are masked; the same for all."""
        del plugin_type_id
        return SECRET_KEYS
