"""Outcomes in the words that an operator reads."""

from pulpit.delivery.notifiers.port import Delivered, Gone, Outcome, Retry


def described(outcome: Outcome) -> tuple[str, str]:
    """The word for an outcome, and the far side's answer or the reason."""
    if isinstance(outcome, Delivered):
        return "delivered", outcome.answer
    if isinstance(outcome, Gone):
        return "gone", outcome.reason
    return ("retry" if isinstance(outcome, Retry) else "refused"), outcome.reason
