"""Reads the configuration.

Each source overrides the one before: the default, the file (`/etc/pulp/server.conf`, Pulp 2's INI format), the
environment, the command line. Unknown keys in the file are ignored and reported, because a Pulp 2 file has many.
"""

import configparser
import difflib
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, Final

from pulpit.amqp.address import TRANSPORTS, parse_all
from pulpit.errors import ConfigurationError
from pulpit.net.config_files import ini_flaw
from pulpit.settings import MESSAGING_URL, SECTIONS, Pulp3Settings, Settings

DEFAULT_FILE: Final = Path("/etc/pulp/server.conf")
FILE_VARIABLE: Final = "PULP_SERVER_CONF"
LONGEST_QUOTED: Final = 60
"""Characters of an invalid value that an error message quotes."""
PULP3: Final = "pulp3"
_NAMED_PULP3: Final = re.compile(r"pulp3:([a-z0-9][a-z0-9_-]{0,31})")
_FILE_NAMES: Final = {"sender": "from"}  # `from` is no name in Python
_SERVICE_LINK: Final = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
_ALIKE, _ALIKE_LONG = 0.75, 0.85
"""From which likeness on (of difflib) a name counts as misspelt; variables share much of their names."""
_CHOICES: Final = {
    "tls": ("none", "starttls", "tls"),
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("text", "json"),
    "transport": ("", *TRANSPORTS),
    "profile": ("", "qpid", "rabbitmq3", "rabbitmq4", "plain"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key as it appears in the file and the documentation."""

    section: str
    name: str
    variable: str
    field: Field[Any]


def keys() -> list[Key]:
    """List every key that exists."""
    return [key for section in SECTIONS for key in _keys_of(section)]


def _keys_of(section: str) -> list[Key]:
    """The keys of a section; those of `pulp3:NAME` are those of `pulp3`."""
    prefix = "" if section == "server" else re.sub("[:-]", "_", section) + "_"
    return [
        Key(
            section=section,
            name=_FILE_NAMES.get(key.name, key.name),
            variable=f"PULPIT_{prefix}{key.name}".upper(),
            field=key,
        )
        for key in fields(SECTIONS[section.partition(":")[0]])
    ]


def load(
    config_file: Path | None, environment: Mapping[str, str], options: Mapping[tuple[str, str], str]
) -> tuple[Settings, list[str]]:
    """Read the configuration; return the settings and warnings about what was ignored.

    Args:
        config_file: the file of `--config`; by default the one that the environment names, else Pulp 2's path, which
            need not exist.
        environment: usually `os.environ`.
        options: values of the command line by (section, key).

    Raises:
        ConfigurationError: the named file is missing or not INI, or a value is invalid.
    """
    given, strangers = _read(config_file, environment)
    named = sorted({section for section, _ in given if section not in SECTIONS})
    known = [*keys(), *(key for section in named for key in _keys_of(section))]
    of_environment, warnings = _of_environment(known, environment)
    given |= of_environment | dict(options)
    sections: dict[str, dict[str, Any]] = {name: {} for name in (*SECTIONS, *named)}
    for key in known:
        text = given.get((key.section, key.name))
        if text is not None:
            text = " ".join(text.split("\n")).strip()
            quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""  # as in Pulp 2's own file
            sections[key.section][key.field.name] = _value(key, text[1:-1] if quoted else text)
    further = {name.partition(":")[2]: Pulp3Settings(**sections.pop(name)) for name in named}
    settings = Settings(**{name: SECTIONS[name](**values) for name, values in sections.items()}, further_pulp3=further)
    _check_together(settings)
    return settings, strangers + warnings


def _read(config_file: Path | None, environment: Mapping[str, str]) -> tuple[dict[tuple[str, str], str], list[str]]:
    named = config_file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    path = named or DEFAULT_FILE
    parser = configparser.ConfigParser(interpolation=None, strict=True, default_section="\0")
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), str(path))
    except FileNotFoundError:
        if named:
            raise ConfigurationError("--config", f"there is no file {path}.") from None
        return {}, []
    except UnicodeDecodeError as error:
        raise ConfigurationError("--config", f"{path} is no text in UTF-8 (byte {error.start + 1}).") from None
    except OSError as error:
        raise ConfigurationError("--config", f"{path} cannot be read ({error.strerror}).") from None
    except configparser.Error as error:
        raise ConfigurationError("--config", f"{path} cannot be read: {ini_flaw(error)}.") from None
    pulps = [section for section in parser.sections() if _NAMED_PULP3.fullmatch(section)]
    known = {(key.section, key.name) for section in (*SECTIONS, *pulps) for key in _keys_of(section)}
    given = {(section, name): text for section in parser.sections() for name, text in parser.items(section)}
    strangers = [f"{path}: {_stranger(section, name, known)}" for section, name in given.keys() - known]
    used = {key: text for key, text in given.items() if key in known}
    return used, [*sorted(strangers), *_exposed(path, used)]


def _stranger(section: str, name: str, known: Collection[tuple[str, str]]) -> str:
    # A line that is not a valid key may be a line without a delimiter, and so a password: do not quote it.
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        return f"[{section}] what stands before a : or = and is no name of a key is unknown and was ignored"
    [meant] = difflib.get_close_matches(section, sorted({of for of, _ in known}), 1, _ALIKE) or [section]
    close = difflib.get_close_matches(name, sorted(key for of, key in known if of == meant), 1, _ALIKE)
    hint = f"; did you mean [{meant}] {close[0]}?" if close else ""
    return f"[{section}] {name} is unknown and was ignored{hint}"


def _of_environment(
    known: Sequence[Key], environment: Mapping[str, str]
) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Take the variables of keys; warn about variables that look like one, and about those of Kubernetes.

    Where a service is called `pulpit`, Kubernetes sets PULPIT_PORT=tcp://10.0.0.1:24880 in every container beside it.
    """
    variables = {key.variable: key for key in known}
    given, warnings = {}, []
    for variable, text in sorted(environment.items()):
        if key := variables.get(variable):
            if key.field.type is int and _SERVICE_LINK.fullmatch(text):
                warnings.append(f"{variable} has the address of a service of Kubernetes and was ignored")
            else:
                given[key.section, key.name] = text
        elif variable.startswith("PULPIT_") and (
            close := difflib.get_close_matches(variable, variables, 1, _ALIKE_LONG)
        ):
            warnings.append(f"{variable} is unknown and was ignored; did you mean {close[0]}?")
    return given, warnings


def _exposed(path: Path, given: Mapping[tuple[str, str], str]) -> list[str]:
    """Warn about passwords in files that every user of this machine can read."""
    if not path.stat().st_mode & stat.S_IROTH:
        return []
    secret = []
    for (section, name), text in given.items():
        login = text.partition("://")[2].rpartition("@")[0] if name in {"url", "database_url", "webhook_proxy"} else ""
        if ":" in login or (name == "password" and text):
            secret.append(f"[{section}] {name}")
    return [f"{path}: {key} holds a password that others can read; run: chmod o-r {path}" for key in sorted(secret)]


def _value(key: Key, text: str) -> Any:
    name = f"[{key.section}] {key.name}"
    if key.field.type is bool:
        try:
            return configparser.ConfigParser.BOOLEAN_STATES[text.lower()]
        except KeyError:
            raise ConfigurationError(name, f"it must be true or false, not {_short(text)}.") from None
    if key.field.type is int:
        return _integer(name, text, key.field.metadata["least"], key.field.metadata["most"])
    if any(not character.isprintable() for character in text):
        raise ConfigurationError(name, "it holds a line break, a control character or bytes that are no UTF-8.")
    choices = _CHOICES.get(key.name)
    if choices and text not in choices:
        raise ConfigurationError(name, f"it must be one of {', '.join(filter(None, choices))}, not {_short(text)}.")
    if key.name == "host" and text.startswith("[") and text.endswith("]"):
        return text[1:-1]  # an IPv6 address as in a URL
    return text


def _short(text: str) -> str:
    return repr(text) if len(text) <= LONGEST_QUOTED else f"{text[:LONGEST_QUOTED]!r}…"


def _integer(name: str, text: str, least: int, most: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ConfigurationError(name, f"it must be a whole number, not {_short(text)}.") from None
    if not least <= number <= most:
        raise ConfigurationError(name, f"it must be from {least} to {most}, not {number}.")
    return number


def _check_together(settings: Settings) -> None:
    if settings.messaging.url and settings.messaging.url_file:
        raise ConfigurationError("[messaging] url_file", "there is a url too; keep one of them.")
    messaging = settings.messaging
    if messaging.url:
        password = "" if messaging.password_file else None  # read from the file when it is needed
        urls = [url for url in messaging.url.split(",") if url.strip()]
        parse_all(urls, MESSAGING_URL, transport=messaging.transport, user=messaging.username, password=password)
    if settings.publish.export_dir and not settings.publish.export_dir.startswith("/"):
        raise ConfigurationError("[publish] export_dir", "it must be an absolute path, such as /srv/exports.")
    signing = settings.signing
    if signing.command and signing.key_file:
        raise ConfigurationError("[signing] key_file", "there is a command too; keep one of them.")
    if signing.command and not signing.public_key:
        raise ConfigurationError("[signing] public_key", "the command needs it: the keys that its signatures are of.")
    for name, pulp in settings.pulps.items():
        if not pulp.database_url.startswith(("postgresql://", "postgres://")):
            key = f"[{PULP3}:{name}] database_url" if name else f"[{PULP3}] database_url"
            raise ConfigurationError(key, "it is not a URL such as postgresql://user@host/name.")
    for name, section in (("server", settings.server), ("broker", settings.broker)):
        if bool(section.ssl_certificate) != bool(section.ssl_key):
            missing = "ssl_key" if section.ssl_certificate else "ssl_certificate"
            raise ConfigurationError(f"[{name}] {missing}", "a certificate and its key are needed together.")


def default_of(key: Field[Any]) -> Any:
    """Return the default of a key, for the documentation."""
    return None if key.default is MISSING else key.default
