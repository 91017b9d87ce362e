"""Several clients call methods in any order: nothing is lost or repeated unmarked, and order and counts are right."""

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pamqp import commands, header

from support.broker_box import Box, BoxClient

QUEUES = ("red", "green")
CLIENTS = st.integers(0, 2)
NAMES = st.sampled_from(QUEUES)


class Clients(RuleBasedStateMachine):
    """Keeps its own books of what was published, delivered and settled."""

    def __init__(self) -> None:
        super().__init__()
        self.box = Box()
        self.clients = [self.box.client() for _ in range(3)]
        self.number = 0
        self.published: dict[str, list[int]] = {name: [] for name in QUEUES}
        self.settled: dict[str, set[int]] = {name: set() for name in QUEUES}
        self.seen: Counter[tuple[str, int]] = Counter()
        self.first_seen: dict[str, list[int]] = {name: [] for name in QUEUES}
        self.last_of: list[dict[str, int]] = [{} for _ in self.clients]
        self.held: list[dict[int, tuple[str, int]]] = [{} for _ in self.clients]
        self.tags: list[list[str]] = [[] for _ in self.clients]
        for name in QUEUES:
            self.clients[0].send(commands.Queue.Declare(0, name))
        self.clients[0].read()

    # what clients do

    @rule(client=CLIENTS, name=NAMES, count=st.integers(1, 4))
    def publish(self, client: int, name: str, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.published[name].append(self.number)
            self.clients[client].publish(b"%d" % self.number, name)
        self.look()

    @rule(client=CLIENTS, name=NAMES, prefetch=st.integers(0, 3))
    def consume(self, client: int, name: str, prefetch: int) -> None:
        tag = f"tag-{self.number}-{len(self.tags[client])}-{client}"
        self.number += 1
        self.clients[client].send(commands.Basic.Qos(0, prefetch))
        self.tags[client].append(tag)
        self.clients[client].send(commands.Basic.Consume(0, name, tag))
        self.look()

    @rule(client=CLIENTS)
    def cancel(self, client: int) -> None:
        if self.tags[client]:
            self.clients[client].send(commands.Basic.Cancel(self.tags[client].pop()))
            self.look()

    @rule(client=CLIENTS, name=NAMES)
    def get(self, client: int, name: str) -> None:
        self.clients[client].send(commands.Basic.Get(0, name, False))
        self.look()

    @rule(client=CLIENTS, multiple=st.booleans(), choice=st.integers(0, 9))
    def acknowledge(self, client: int, multiple: bool, choice: int) -> None:
        for name, number in self.take(client, choice, multiple, commands.Basic.Ack):
            self.settled[name].add(number)
        self.look()

    @rule(client=CLIENTS, multiple=st.booleans(), choice=st.integers(0, 9))
    def give_back(self, client: int, multiple: bool, choice: int) -> None:
        self.take(client, choice, multiple, lambda tag, several: commands.Basic.Nack(tag, several, True))
        self.look()

    @rule(client=CLIENTS, choice=st.integers(0, 9))
    def reject(self, client: int, choice: int) -> None:
        for name, number in self.take(client, choice, False, lambda tag, _: commands.Basic.Reject(tag, False)):
            self.settled[name].add(number)
        self.look()

    @rule(client=CLIENTS)
    def recover(self, client: int) -> None:
        self.held[client].clear()
        self.clients[client].send(commands.Basic.Recover(True))
        self.look()

    @precondition(lambda self: self.number > 5)
    @rule(client=CLIENTS)
    def break_connection(self, client: int) -> None:
        self.clients[client].read()
        self.clients[client].connection.lost()
        self.held[client].clear()
        self.tags[client].clear()
        self.clients[client] = self.box.client()
        self.look()

    @rule(name=NAMES)
    def purge(self, name: str) -> None:
        self.look()
        waiting = {number for number in self.published[name] if number not in self.settled[name]}
        held = {number for mine in self.held for queue, number in mine.values() if queue == name}
        self.clients[0].send(commands.Queue.Purge(0, name))
        self.settled[name] |= waiting - held
        self.look()

    def take(self, client: int, choice: int, multiple: bool, method: Any) -> list[tuple[str, int]]:
        """Settle one delivery, or all up to it."""
        self.look()
        mine = self.held[client]
        if not mine:
            return []
        tag = sorted(mine)[choice % len(mine)]
        tags = [held_tag for held_tag in mine if held_tag <= tag] if multiple else [tag]
        taken = [mine.pop(held_tag) for held_tag in tags]
        self.clients[client].send(method(tag, multiple))
        return taken

    # what they see

    def look(self) -> None:
        """Read everything that came to anybody; what came to different clients meanwhile has no order."""
        before = {name: len(numbers) for name, numbers in self.first_seen.items()}
        for index, client in enumerate(self.clients):
            method: Any = None
            for _, value in client.read():
                if isinstance(value, commands.Basic.Deliver | commands.Basic.GetOk):
                    method = value
                elif method is not None and not isinstance(value, header.ContentHeader):
                    self.note(index, method, int(value.value))
                    method = None

        for name, count in before.items():
            self.first_seen[name][count:] = sorted(self.first_seen[name][count:])

    def note(self, client: int, method: Any, number: int) -> None:
        """Write a delivery into the books."""
        name = method.routing_key
        assert number not in self.settled[name], "a settled message came again"
        assert method.redelivered == (self.seen[name, number] > 0), "the redelivered flag is wrong"
        if not self.seen[name, number]:
            assert number > self.last_of[client].get(name, 0), "a client got new messages out of order"
            self.last_of[client][name] = number
            self.first_seen[name].append(number)
        self.seen[name, number] += 1
        self.held[client][method.delivery_tag] = (name, number)

    @invariant()
    def first_deliveries_are_in_order(self) -> None:
        for numbers in self.first_seen.values():
            assert numbers == sorted(numbers)

    @invariant()
    def nobody_holds_what_another_holds(self) -> None:
        held = [held_tag for mine in self.held for held_tag in mine.values()]
        assert len(held) == len(set(held))

    @invariant()
    def counts_agree(self) -> None:
        for name in QUEUES:
            queue = self.box.state.hosts["/"].queues[name]
            held = sum(held_tag[0] == name for mine in self.held for held_tag in mine.values())
            assert queue.unacknowledged == held
            assert len(queue) + held + len(self.settled[name]) == len(self.published[name])

    def teardown(self) -> None:
        """In the end everything that was not settled can still be had, in order."""
        for client in self.clients:
            client.connection.lost()
        last = BoxClient(self.box)
        for name in QUEUES:
            last.send(commands.Basic.Consume(0, name, name, no_ack=True))
            bodies = [int(value.value) for _, value in last.read() if hasattr(value, "value")]
            assert bodies == [number for number in self.published[name] if number not in self.settled[name]]
        assert self.box.state.store.memory.used == 0


TestClients = Clients.TestCase
TestClients.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
