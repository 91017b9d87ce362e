"""The options by which units are chosen, as Pulp 2 had them, and the filters that come of them."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from pulpit.admin.commands.repository_options import with_options
from pulpit.client.failures import WrongData

Clause = dict[str, Any]

_COMPARISONS: Final = ("gt", "gte", "lt", "lte")
_WORDS: Final = {"gt": "more than", "gte": "at least", "lt": "less than", "lte": "at most"}

CHOICE: Final = with_options(
    click.option("--filters", help="Pulp 2's filters of units as JSON, instead of the following."),
    click.option("--str-eq", multiple=True, metavar="KEY=TEXT", help="Only with this text, such as name=bear."),
    click.option("--int-eq", multiple=True, metavar="KEY=NUMBER", help="Only with this number."),
    click.option("--in", "any_of", multiple=True, metavar="KEY=A,B", help="Only with one of these texts."),
    click.option("--match", multiple=True, metavar="KEY=REGEX", help="Only where the regular expression is found."),
    click.option("--not", "unlike", multiple=True, metavar="KEY=REGEX", help="Only where it is not found."),
    *(
        click.option(f"--{name}", multiple=True, metavar="KEY=VALUE", help=f"Only with {_WORDS[name]} this.")
        for name in _COMPARISONS
    ),
    click.option("--after", metavar="TIME", help="Only what came into the repository since (ISO 8601)."),
    click.option("--before", metavar="TIME", help="Only what came into the repository until then."),
)


def chosen(options: Mapping[str, Any], *further: Clause) -> dict[str, Any]:
    """The filters of a search for units, out of the options of `CHOICE` and further conditions on the unit.

    Raises:
        WrongData: an option has not the form `key=value`, or no number where one must be, or is no JSON.
    """
    if options["filters"] is not None:
        return {"unit": _json(options["filters"])}
    clauses = [*further, *(clause for name, make in _CLAUSES.items() for clause in _each(name, options[name], make))]
    found: dict[str, Any] = {"unit": _all_of(clauses)}
    bounds = {"$gte": options["after"], "$lte": options["before"]}
    association = [{"created": {sign: moment}} for sign, moment in bounds.items() if moment is not None]
    return {**found, "association": _all_of(association)} if association else found


def is_choice(options: Mapping[str, Any]) -> bool:
    """Whether any of the options of `CHOICE` was used."""
    return any(value not in (None, ()) for value in options.values())


def _all_of(clauses: list[Clause]) -> Clause:
    if len(clauses) > 1:
        return {"$and": clauses}
    return clauses[0] if clauses else {}


def _each(name: str, pairs: tuple[str, ...], make: Callable[[str], Any]) -> list[Clause]:
    clauses = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise WrongData(f"--{_SPELT.get(name, name.replace('_', '-'))} must look like key=value, not {pair!r}.")
        clauses.append({key: make(value)})
    return clauses


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise WrongData(f"--int-eq needs a whole number, not {text!r}.") from None


def _number_or_text(text: str) -> int | str:
    return int(text) if text.removeprefix("-").isdecimal() else text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise WrongData(f"--filters is no JSON: {error}.") from None


def _comparison(name: str) -> Callable[[str], Clause]:
    return lambda text: {f"${name}": _number_or_text(text)}


_SPELT: Final = {"any_of": "in", "unlike": "not"}
_CLAUSES: Final[dict[str, Callable[[str], Any]]] = {
    "str_eq": str,
    "int_eq": _number,
    "any_of": lambda text: {"$in": text.split(",")},
    "match": lambda text: {"$regex": text},
    "unlike": lambda text: {"$not": text},
    **{name: _comparison(name) for name in _COMPARISONS},
}
