"""Units that an upstream withdraws while a repository holds them: recorded per unit, and reported once.

The units stay: the operator of the mirror decides about them. Record and event are one transaction, so that a sync that
dies before reporting does so next time, and nothing is reported twice, whatever other repositories hold.
"""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection

from pulpit.content.port import Catalogue, WantedUnit, Withdrawal
from pulpit.events import MOST_CHANGES, UNIT_WITHDRAWN
from pulpit.repositories.context import TaskContext
from pulpit.repositories.publish import stored
from pulpit.store import holdings, units
from pulpit.store.units import Identity, Unit


class Withdrawals:
    """The withdrawals of one sync."""

    def __init__(self, context: TaskContext, repo_id: str) -> None:
        self._context: Final = context
        self._repo_id: Final = repo_id
        self._listed: Final[dict[Identity, Withdrawal]] = {}
        self._held_before: Final[set[str]] = set()

    def take(self, connection: Connection, batch: Sequence[WantedUnit]) -> None:
        """Collect withdrawn units of a batch, and which of it is held before the batch is saved."""
        listed = {
            (unit.type_id, units.key_digest(unit.key)): unit.withdrawal for unit in batch if unit.withdrawal is not None
        }
        if listed:
            known = [unit.id for unit in units.find(connection, listed.keys()).values()]
            self._held_before.update(units.held_of(connection, self._repo_id, known))
            self._listed.update(listed)

    def tell(self, catalogue: Catalogue, offered: Collection[str]) -> None:
        """Fire an event for each name and reason; `offered` are the ids of all units in the catalogue."""
        with self._context.database.write() as tx:
            found = self._found(tx.connection, catalogue)
            how = {unit.id: withdrawal.how for unit, withdrawal in found}
            new = holdings.note_withdrawn(tx, self._repo_id, how, offered) & self._held_before
            recorder = self._context.recorder
            told: dict[tuple[str, Withdrawal], list[dict[str, object]]] = {}
            for unit, withdrawal in found:
                if unit.id in new:
                    named = recorder.unit(unit.id, unit.type_id, unit.key, unit.metadata)
                    told.setdefault((str(named["name"]), withdrawal), []).append(named)
            for (name, withdrawal), named_units in told.items():
                payload = {
                    "repo_id": self._repo_id,
                    "name": name,
                    "how": withdrawal.how,
                    "reason": withdrawal.reason or None,
                    "count": len(named_units),
                    "truncated": len(named_units) > MOST_CHANGES,
                    "units": named_units[:MOST_CHANGES],
                }
                self._context.tell(tx, UNIT_WITHDRAWN, payload)

    def _found(self, connection: Connection, catalogue: Catalogue) -> list[tuple[Unit, Withdrawal]]:
        found: list[tuple[Unit, Withdrawal]] = []
        for portion in units.portions(self._listed):
            known = units.find(connection, portion)
            found += [(unit, self._listed[identity]) for identity, unit in known.items()]
        if catalogue.withdrawn is not None:
            for held in units.held(connection, self._repo_id):
                if (withdrawal := catalogue.withdrawn(stored(held))) is not None:
                    found.append((held.unit, withdrawal))
                    self._held_before.add(held.unit.id)
        return found
