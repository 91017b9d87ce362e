"""A plug-in notifier: its faults affect only its own listeners, in a bounded time, and secrets stay hidden."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from pulpit.delivery.notifiers.kinds import NotifierTypes, Registered, unusable
from pulpit.delivery.notifiers.plug_in import PlugIn
from pulpit.delivery.notifiers.port import DELIVERED, Delivered, Gone, Notifier, Outcome, Pace, Refused, Retry
from pulpit.errors import InvalidValue
from pulpit.events import Event
from pulpit.listener_options import BUILT_IN, ListenerKind, Option, OptionType
from support.made_events import event

HUSH = "hush-hush"
KIND = ListenerKind(
    id="odd",
    summary="Listeners that do odd things.",
    options=(
        Option(name="place", required=True, help="Where to."),
        Option(name="token", secret=True, help="Who we are."),
        Option(name="tries", type=OptionType.NUMBER, help="How often."),
        Option(name="loud", type=OptionType.FLAG, help="How."),
        Option(name="rooms", type=OptionType.LIST, help="Which."),
        Option(name="marks", type=OptionType.PAIRS, secret=True, help="What else."),
        Option(name="tone", choices=("low", "high"), help="Which one."),
    ),
)
PACE = Pace(batch=10, overlap=2, first_retry=timedelta(seconds=1), longest_retry=timedelta(seconds=2))
CONFIG = {"place": "here", "token": HUSH, "marks": {"a": f"{HUSH}-too"}}

Do = Callable[[], Any]


def nothing() -> None:
    return None


class Odd:
    """A plug-in that does what a test says, in each of its calls."""

    def __init__(
        self, *, deliver: Do = nothing, check: Do = nothing, describe: Do = nothing, opening: Do = nothing
    ) -> None:
        self.kind = KIND
        self.pace = PACE
        self.do = {"deliver": deliver, "check": check, "describe": describe, "open": opening}
        self.threads: set[str] = set()

    def check_config(self, config: Mapping[str, Any]) -> None:
        del config
        self.do["check"]()

    def open(self, config: Mapping[str, Any]) -> Notifier:
        del config
        self.do["open"]()
        return OddNotifier(self)

    async def close(self) -> None:
        self.threads.add(threading.current_thread().name)


class OddNotifier:
    def __init__(self, kind: Odd) -> None:
        self.kind = kind

    async def prepare(self) -> None:
        self.kind.threads.add(threading.current_thread().name)

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        done = self.kind.do["deliver"]()
        if asyncio.iscoroutine(done):
            done = await done
        outcomes: Sequence[Outcome] = [DELIVERED] * len(events) if done is None else done
        return outcomes

    def describe(self, event: Event) -> dict[str, Any]:
        described: dict[str, Any] = self.kind.do["describe"]() or {"number": event.number}
        return described

    async def close(self) -> None:
        self.kind.threads.add(threading.current_thread().name)


def fail() -> None:
    raise RuntimeError(f"with {HUSH} in it")


def deliver(odd: Odd, *, patience: float = 0.3) -> Sequence[Outcome]:
    async def story() -> Sequence[Outcome]:
        plug_in = PlugIn(odd, name="odd", patience=patience)
        notifier = plug_in.open(CONFIG)
        await notifier.prepare()
        try:
            return await notifier.deliver([event(1), event(2)])
        finally:
            await notifier.close()
            await plug_in.close()

    return asyncio.run(asyncio.wait_for(story(), 60))


def test_it_works_in_a_thread_of_its_own() -> None:
    odd = Odd()
    assert deliver(odd) == [DELIVERED] * 2
    assert odd.threads == {"notifier-odd"}


def test_one_that_blocks_or_hangs_is_a_retry_and_the_loop_goes_on() -> None:
    go_on = threading.Event()
    turns = 0

    async def story(odd: Odd) -> None:
        nonlocal turns
        plug_in = PlugIn(odd, name="odd", patience=0.5)
        notifier = plug_in.open(CONFIG)
        delivering = asyncio.create_task(_delivered(notifier))
        while not delivering.done():
            turns += 1
            await asyncio.sleep(0.001)
        (outcome,) = await delivering
        assert isinstance(outcome, Retry)
        assert outcome.reason == "The plug-in of odd did not return within 0.5 seconds."
        go_on.set()
        await plug_in.close()

    asyncio.run(story(Odd(deliver=lambda: go_on.wait(30))))
    asyncio.run(story(Odd(deliver=lambda: asyncio.sleep(30))))
    assert turns > 10


async def _delivered(notifier: Notifier) -> Sequence[Outcome]:
    return await notifier.deliver([event(1)])


def test_one_that_raises_is_a_retry_and_its_secrets_stay_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    (outcome,) = deliver(Odd(deliver=fail))
    assert isinstance(outcome, Retry)
    assert outcome.reason == "The plug-in of odd failed (RuntimeError); the server's log says where."
    (unopened,) = deliver(Odd(opening=fail))
    assert isinstance(unopened, Retry)
    assert "RuntimeError" in caplog.text
    assert HUSH not in caplog.text


@pytest.mark.parametrize("nonsense", [7, "ok", [7], [None], {"a": 1}])
def test_nonsense_is_a_retry(nonsense: Any) -> None:
    (outcome,) = deliver(Odd(deliver=lambda: nonsense))
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("The plug-in of odd returned")


def test_what_it_says_is_one_bounded_line_without_secrets_and_nothing_follows_a_retry() -> None:
    said = f"a\n{HUSH}\x1b[0m " + "x" * 10_000
    answered = Delivered(answer=said, refused={"joe": said})
    first, second = deliver(Odd(deliver=lambda: [answered, Refused(reason=said), DELIVERED]))
    assert isinstance(first, Delivered)
    assert isinstance(second, Refused)
    for text in (first.answer, first.refused["joe"], second.reason):
        assert text.startswith("a *****")
        assert len(text) < 5_000
    assert deliver(Odd(deliver=lambda: [Gone(reason=HUSH), DELIVERED])) == [Gone(reason="*****")]


def test_a_configuration_is_judged_by_the_declaration_then_by_the_plug_in(caplog: pytest.LogCaptureFixture) -> None:
    plug_in = PlugIn(Odd(check=nothing), name="odd")
    plug_in.check_config({**CONFIG, "tries": 3, "loud": True, "rooms": ["a", "b"], "tone": "low"})
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"colour": "red"}, "an odd listener has no colour; it has place,"),
        ({"place": ""}, "place is missing."),
        ({"place": 7}, "place must be at most 4096 printable characters."),
        ({"place": "a\nb"}, "place must be"),
        ({"tries": "3"}, "tries must be a whole number"),
        ({"tries": True}, "tries must be"),
        ({"loud": "yes"}, "loud must be true or false."),
        ({"rooms": "a"}, "rooms must be a list"),
        ({"rooms": ["a"] * 101}, "rooms must be a list"),
        ({"marks": {"a": 7}}, "marks must be an object"),
        ({"tone": "shrill"}, "tone must be one of low, high."),
    ]
    for wrong, said in wrongs:
        with pytest.raises(InvalidValue) as caught:
            plug_in.check_config({**CONFIG, **wrong})
        assert caught.value.property_names == ["notifier_config"]
        assert said in caught.value.reason
    for odd, said in [
        (Odd(check=fail), "the plug-in of odd failed over it (RuntimeError)."),
        (Odd(check=lambda: _refuse(f"not with {HUSH}")), "not with *****"),
    ]:
        with pytest.raises(InvalidValue) as caught:
            PlugIn(odd, name="odd").check_config(CONFIG)
        assert caught.value.reason == said
    assert HUSH not in caplog.text


def _refuse(reason: str) -> None:
    raise InvalidValue("notifier_config", reason)


def test_one_that_never_ends_to_check_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulpit.delivery.notifiers.plug_in.CHECK_PATIENCE_S", 0.2)
    go_on = threading.Event()
    with pytest.raises(InvalidValue, match="did not check it within"):
        PlugIn(Odd(check=lambda: go_on.wait(30)), name="odd").check_config(CONFIG)
    go_on.set()


def test_a_description_is_json_without_secrets_whatever_it_is() -> None:
    def described(what: Any) -> dict[str, Any]:
        notifier = PlugIn(Odd(describe=what if callable(what) else lambda: what), name="odd").open(CONFIG)
        return notifier.describe(event(7))

    assert described(None) == {"number": 7}
    told = described({"headers": [{"Authorization": f"Bearer {HUSH}"}], "when": timedelta(1), HUSH: 1})
    assert HUSH not in json.dumps(told)
    assert told["headers"] == [{"Authorization": "Bearer *****"}]
    assert "problem" in described(fail)
    assert "problem" in described([1])
    assert "problem" in described({"much": "x" * 10**6})


@pytest.mark.parametrize(
    ("name", "kind", "pace"),
    [
        ("other", KIND, PACE),
        ("odd", None, PACE),
        ("odd", KIND, None),
        ("odd", KIND, Pace(batch=0, overlap=1, first_retry=timedelta(1), longest_retry=timedelta(1))),
        ("odd", KIND, Pace(batch=1, overlap=1, first_retry=timedelta(0), longest_retry=timedelta(1))),
        ("Odd", ListenerKind(id="Odd", summary="", options=()), PACE),
        ("odd", ListenerKind(id="odd", summary="", options=(Option(name="A b", help=""),)), PACE),
        ("odd", ListenerKind(id="odd", summary="", options=(Option(name="repo_id", help=""),)), PACE),
        (
            "odd",
            ListenerKind(id="odd", summary="", options=(Option(name="a", help=""), Option(name="a", help=""))),
            PACE,
        ),
        (
            "odd",
            ListenerKind(id="odd", summary="", options=(Option(name="a", help="", secret=True),), shown=("a",)),
            PACE,
        ),
    ],
)
def test_a_declaration_that_cannot_be_used_is_refused_when_it_is_loaded(name: str, kind: Any, pace: Any) -> None:
    odd = Odd()
    odd.kind, odd.pace = kind, pace
    with pytest.raises(ValueError, match=r"[a-z]"):
        PlugIn(odd, name=name)


def test_own_declarations_are_sound() -> None:
    assert [kind.flaw() for kind in BUILT_IN.values()] == [None] * len(BUILT_IN)


def test_of_a_kind_that_is_not_there_everything_is_a_secret_and_its_listeners_say_why() -> None:
    async def story() -> None:
        kinds = NotifierTypes({}, [unusable(KIND, "pulpit-odd 1 cannot be loaded.", "pulpit-odd 1")])
        for type_id, said in (("odd", "pulpit-odd 1 cannot be loaded."), ("gone", "no notifier of kind gone")):
            assert kinds.secret_keys(type_id, {"token": HUSH, "new": HUSH}) >= {"token", "new"}
            (outcome,) = await kinds[type_id].open({}).deliver([event(1)])
            assert isinstance(outcome, Retry)
            assert said in outcome.reason
            with pytest.raises(InvalidValue, match=said):
                kinds.check_config(type_id, {})
        assert [registered.problem for registered in kinds.registered] == ["pulpit-odd 1 cannot be loaded."]
        assert ("odd" in kinds, "gone" in kinds) == (True, False)

    asyncio.run(story())


def test_a_number_of_calls_that_is_none_keeps_order() -> None:
    kinds = NotifierTypes({"odd": Odd()})
    odd: list[Any] = ["x", -1, None, [], 1.5, True, "²"]
    for value in odd:
        assert kinds.pace("odd", {"concurrency": value}) == PACE
    assert kinds.pace("odd", {"concurrency": 10**9}).overlap == 64


def test_many_calls_at_once_make_one(caplog: pytest.LogCaptureFixture) -> None:
    made: list[Odd] = []

    def make() -> Odd:
        time.sleep(0.01)
        made.append(Odd())
        return made[-1]

    kinds = NotifierTypes({}, [Registered(kind=KIND, make=make)])
    threads = [threading.Thread(target=lambda: kinds["odd"]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
