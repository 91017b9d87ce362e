"""A third-party notifier, isolated: whatever it does affects only its own listeners.

Its code runs in a thread of its own, on an event loop of its own, and every call has a time limit. A plug-in that
blocks, hangs, raises or returns nonsense stops neither the server's loop nor another kind, and its listeners fail with
the reason. Values that its kind declares as secret are masked in all its texts.
"""

import asyncio
import concurrent.futures
import json
import logging
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from pulpit.delivery.notifiers.port import DELIVERED, Delivered, Notifier, NotifierType, Outcome, Pace, Refused, Retry
from pulpit.errors import InvalidValue
from pulpit.events import Event
from pulpit.listener_options import ListenerKind
from pulpit.text import MASK, one_line, shown

T = TypeVar("T")

DELIVER_PATIENCE_S: Final = 60.0
PREPARE_PATIENCE_S: Final = 30.0
CHECK_PATIENCE_S: Final = 5.0
"""Seconds that a user's request waits for a check by the plug-in."""
CLOSE_PATIENCE_S: Final = 3.0
LONGEST_REASON: Final = 1_000
LONGEST_ANSWER: Final = 4_096
LONGEST_DESCRIPTION: Final = 256 * 1024
MOST_REFUSED: Final = 100
SHORTEST_SECRET: Final = 3
"""Characters; masking shorter ones would garble every text."""

_log = logging.getLogger(__name__)


class PlugIn:
    """Opens the notifiers of a plug-in behind a guard."""

    def __init__(self, notifier_type: NotifierType, *, name: str, patience: float = DELIVER_PATIENCE_S) -> None:
        """Wrap the plug-in's notifier type for the kind `name`.

        Raises:
            ValueError: its declaration is invalid; the text ends a sentence.
        """
        self.kind: Final = _checked_kind(notifier_type, name)
        self.pace: Final = _checked_pace(notifier_type)
        self.patience: Final = patience
        self._type: Final = notifier_type
        self._thread: Final = LoopThread(f"notifier-{self.kind.id}")

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Reject what the declaration does not allow, then what the plug-in does not.

        Raises:
            InvalidValue: `notifier_config`.
        """
        self.kind.check(config)
        hide = hiding(self.kind, config)
        try:
            self._thread.wait_for(lambda: self._type.check_config(dict(config)), CHECK_PATIENCE_S)
        except InvalidValue as error:
            reason = error.reason or "the plug-in does not take it."
            raise InvalidValue("notifier_config", hide(one_line(reason, LONGEST_REASON))) from None
        except TimeoutError:
            sentence = f"the plug-in of {self.kind.id} did not check it within {CHECK_PATIENCE_S:g} seconds."
            raise InvalidValue("notifier_config", sentence) from None
        except Exception as error:  # noqa: BLE001 - third-party code
            self.log(error, hide)
            sentence = f"the plug-in of {self.kind.id} failed over it ({type(error).__name__})."
            raise InvalidValue("notifier_config", sentence) from None

    def open(self, config: Mapping[str, Any]) -> Notifier:
        """Return a notifier that the plug-in opens at first use."""
        return _Guarded(self, dict(config), self._thread)

    def opened(self, config: Mapping[str, Any]) -> Notifier:
        """Have the plug-in open a notifier; runs in its thread."""
        return self._type.open(config)

    def log(self, error: BaseException, hide: Callable[[str], str]) -> None:
        """Log where a plug-in failed, without its secrets."""
        text = hide("".join(traceback.format_exception(error)))
        extra = {"action": "notifier_bug", "kind": self.kind.id}
        _log.error("the plug-in of %s listeners failed:\n%s", self.kind.id, text, extra=extra)

    async def close(self) -> None:
        if self._thread.is_used:
            try:
                await self._thread.run(self._type.close, CLOSE_PATIENCE_S)
            except Exception as error:  # noqa: BLE001 - third-party code
                self.log(error, str)
        self._thread.end()


class LoopThread:
    """A daemon thread with an event loop, started at first use."""

    def __init__(self, name: str) -> None:
        self._name: Final = name
        self._lock: Final = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_used(self) -> bool:
        return self._loop is not None

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]], patience: float) -> T:
        """Run work on the loop and wait for it; cancelling this cancels the work.

        Raises:
            TimeoutError: the work took longer; it is cancelled, which it may ignore.
        """
        async with asyncio.timeout(patience):
            return await asyncio.wrap_future(self._submit(work))

    def wait_for(self, work: Callable[[], T], patience: float) -> T:
        """Run work on the loop and block until it is done.

        Raises:
            TimeoutError: the work took longer.
        """

        async def done() -> T:
            return work()

        future = self._submit(done)
        finished, _ = concurrent.futures.wait([future], patience)
        if not finished:
            future.cancel()
            raise TimeoutError
        return future.result()

    def end(self) -> None:
        """End the loop once its current work lets it."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None

    def _submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> "concurrent.futures.Future[T]":
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._loop,), name=self._name, daemon=True).start()
            return asyncio.run_coroutine_threadsafe(_awaited(work), self._loop)


class _Guarded:
    """The guarded notifier of one listener of a plug-in."""

    def __init__(self, plug_in: PlugIn, config: Mapping[str, Any], thread: LoopThread) -> None:
        self._plug_in: Final = plug_in
        self._config: Final = config
        self._thread: Final = thread
        self._hide: Final = hiding(plug_in.kind, config)
        self._notifier: Notifier | None = None
        """Created and used in the plug-in's thread only."""

    async def prepare(self) -> None:
        """Let the plug-in prepare; a failure will show when an event is delivered."""

        async def work() -> None:
            await self._opened().prepare()

        try:
            await self._thread.run(work, PREPARE_PATIENCE_S)
        except Exception as error:  # noqa: BLE001 - third-party code
            self._plug_in.log(error, self._hide)

    async def deliver(self, events: Sequence[Event]) -> Sequence[Outcome]:
        """Deliver through the plug-in, and accept no more of its outcomes than the port allows."""

        async def work() -> Sequence[Outcome]:
            return await self._opened().deliver(events)

        kind = self._plug_in.kind.id
        try:
            outcomes: Any = await self._thread.run(work, self._plug_in.patience)
        except TimeoutError:
            return [Retry(reason=f"The plug-in of {kind} did not return within {self._plug_in.patience:g} seconds.")]
        except Exception as error:  # noqa: BLE001 - third-party code
            self._plug_in.log(error, self._hide)
            return [
                Retry(reason=f"The plug-in of {kind} failed ({type(error).__name__}); the server's log says where.")
            ]
        if not isinstance(outcomes, Sequence) or not all(isinstance(outcome, Outcome) for outcome in outcomes):
            return [
                Retry(reason=f"The plug-in of {kind} returned {shown(repr(type(outcomes)), 60)}, which says nothing.")
            ]
        return list(self._accepted(outcomes[: len(events)]))

    def describe(self, event: Event) -> dict[str, Any]:
        """Return the plug-in's description of what it would send, without secrets."""
        try:
            described = self._thread.wait_for(lambda: self._opened().describe(event), CHECK_PATIENCE_S)
            text = json.dumps(described, default=repr)
            if len(text) > LONGEST_DESCRIPTION:
                return {"problem": f"The plug-in's description is longer than {LONGEST_DESCRIPTION} characters."}
            return dict(_hidden(json.loads(text), self._hide))
        except Exception as error:  # noqa: BLE001 - third-party code
            self._plug_in.log(error, self._hide)
            return {"problem": f"The plug-in of {self._plug_in.kind.id} describes nothing ({type(error).__name__})."}

    async def close(self) -> None:
        async def work() -> None:
            if self._notifier is not None:
                notifier, self._notifier = self._notifier, None
                await notifier.close()

        if self._thread.is_used:
            try:
                await self._thread.run(work, CLOSE_PATIENCE_S)
            except Exception as error:  # noqa: BLE001 - third-party code
                self._plug_in.log(error, self._hide)

    def _opened(self) -> Notifier:
        if self._notifier is None:
            self._notifier = self._plug_in.opened(self._config)
        return self._notifier

    def _accepted(self, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """Return the outcomes up to the first retry, with texts of bounded length."""
        for outcome in outcomes:
            if isinstance(outcome, Delivered):
                yield self._delivered(outcome)
                continue
            reason = self._hide(one_line(str(outcome.reason), LONGEST_REASON)) or "The plug-in gave no reason."
            yield replace(outcome, reason=reason)
            if not isinstance(outcome, Refused):
                return

    def _delivered(self, outcome: Delivered) -> Delivered:
        if not outcome.answer and not outcome.refused:
            return DELIVERED
        refused = list(outcome.refused.items())[:MOST_REFUSED]
        return Delivered(
            answer=self._hide(one_line(str(outcome.answer), LONGEST_ANSWER)),
            refused={str(who)[:255]: self._hide(one_line(str(why), LONGEST_REASON)) for who, why in refused},
        )


def _checked_kind(notifier_type: NotifierType, name: str) -> ListenerKind:
    kind: Any = notifier_type.kind
    if not isinstance(kind, ListenerKind):
        raise ValueError("its kind is no ListenerKind")  # noqa: TRY004 - one error type for every problem with it
    if kind.id != name:
        raise ValueError(f"its kind has the id {shown(str(kind.id), 40)!r}, and its entry point the name {name!r}")
    if flaw := kind.flaw():
        raise ValueError(flaw)
    checked: ListenerKind = kind
    return checked


def _checked_pace(notifier_type: NotifierType) -> Pace:
    pace: Any = notifier_type.pace
    if not isinstance(pace, Pace) or not 1 <= pace.batch <= 1_000 or not 1 <= pace.overlap <= 64:  # noqa: PLR2004
        raise ValueError("its pace is none, or beyond 1,000 events in a call and 64 calls at a time")
    if not pace.first_retry.total_seconds() > 0 or pace.longest_retry < pace.first_retry:
        raise ValueError("its pace tries again at once, or ever sooner")
    checked: Pace = pace
    return checked


def hiding(kind: ListenerKind, config: Mapping[str, Any]) -> Callable[[str], str]:
    """Return a function that masks the secrets of a configuration in a text."""
    texts: set[str] = set()
    for name in kind.secrets:
        value = config.get(name)
        texts.update(str(part) for part in (value.values() if isinstance(value, Mapping) else [value]) if part)
    secrets = sorted((text for text in texts if len(text) >= SHORTEST_SECRET), key=len, reverse=True)

    def hide(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, MASK)
        return text

    return hide


def _hidden(value: Any, hide: Callable[[str], str]) -> Any:
    match value:
        case str():
            return hide(value)
        case list():
            return [_hidden(part, hide) for part in value]
        case dict():
            return {hide(key): _hidden(part, hide) for key, part in value.items()}
    return value


async def _awaited(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return await work()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
