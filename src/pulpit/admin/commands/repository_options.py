"""The options of repositories that all their types have, and where each goes in a request."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import click

from pulpit.admin.grammar import BOOLEAN, CLEAR, COUNT, PEM, PORT, TEXT, Clearable, given, secret

Option = Callable[[Callable[..., None]], Callable[..., None]]
Settings = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
"""Of the importer, of the distributor, and of the repository itself."""

REPOSITORY_OPTIONS: Final = (
    click.option("--display-name", type=TEXT, help="Name for people."),
    click.option("--description", type=TEXT, help="What it is for."),
    click.option("--note", "notes", multiple=True, metavar="KEY=VALUE", help="A note of your own; may be repeated."),
    click.option("--reader-user", type=TEXT, help="User who alone is served what is published; '' serves everybody."),
    click.option(
        "--reader-pass-file", type=click.Path(path_type=Path), help="File (mode 0600, or - ) with the password."
    ),
)
IMPORTER_OPTIONS: Final = (
    click.option("--validate", type=BOOLEAN, help="Check size and checksum of every file (true or false)."),
    click.option("--feed-ca-cert", "ssl_ca_cert", type=PEM, help="File: authority to trust for the feed."),
    click.option("--feed-cert", "ssl_client_cert", type=PEM, help="File: certificate to show to the feed."),
    click.option("--feed-key", "ssl_client_key", type=PEM, help="File: its private key."),
    click.option("--verify-feed-ssl", "ssl_validation", type=BOOLEAN, help="Check the feed's certificate."),
    click.option("--proxy-host", type=TEXT, help="Proxy on the way to the feed."),
    click.option("--proxy-port", type=PORT, help="Its port."),
    click.option("--proxy-user", "proxy_username", type=TEXT, help="User at the proxy."),
    click.option(
        "--proxy-pass", "proxy_password", type=TEXT, help="Password there, visible to others; better --proxy-pass-file."
    ),
    click.option("--proxy-pass-file", type=click.Path(path_type=Path), help="File (mode 0600, or - ) with it."),
    click.option("--basicauth-user", "basic_auth_username", type=TEXT, help="User at the feed."),
    click.option(
        "--basicauth-pass",
        "basic_auth_password",
        type=TEXT,
        help="Password there, visible to others; better --basicauth-pass-file.",
    ),
    click.option("--basicauth-pass-file", type=click.Path(path_type=Path), help="File (mode 0600, or - ) with it."),
    click.option("--max-downloads", type=COUNT, help="At most so many downloads at once."),
    click.option("--max-speed", type=COUNT, help="At most so many bytes a second in each download."),
    click.option("--remove-missing", type=BOOLEAN, help="Remove files that the feed no longer has (true or false)."),
)
RETAINING_OPTIONS: Final = (
    click.option("--retain-old-count", type=Clearable(click.IntRange(min=0)), help="Keep so many old versions."),
    click.option("--only-newest", is_flag=True, help="Keep the newest versions alone: the same as 0 old ones."),
)
IMPORTER_KEYS: Final = frozenset(
    {
        "feed",
        "validate",
        "ssl_ca_cert",
        "ssl_client_cert",
        "ssl_client_key",
        "ssl_validation",
        "proxy_host",
        "proxy_port",
        "proxy_username",
        "proxy_password",
        "basic_auth_username",
        "basic_auth_password",
        "max_downloads",
        "max_speed",
        "remove_missing",
    }
)


def retained(options: dict[str, Any]) -> int | None:
    """Take `--only-newest` out of the options; answers how many old versions to keep, if that was said."""
    only_newest = options.pop("only_newest")
    count: int | None = options["retain_old_count"]
    return 0 if only_newest and count is None else count


def with_options(*options: Option) -> Option:
    """All of the options, in this order."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def divided(options: dict[str, Any], importer_keys: Collection[str], distributor_keys: Collection[str]) -> Settings:
    """The options that were used as those of the importer, of the distributor, and of the repository itself."""
    options["proxy_password"] = secret(options["proxy_password"], options.pop("proxy_pass_file"))
    options["basic_auth_password"] = secret(options["basic_auth_password"], options.pop("basicauth_pass_file"))
    readers = _readers(options.pop("reader_user"), options.pop("reader_pass_file"))
    used = given(**options)
    importer = {key: value for key, value in used.items() if key in importer_keys}
    distributor = {key: value for key, value in used.items() if key in distributor_keys}
    rest = {key: used[key] for key in used.keys() - importer.keys() - distributor.keys()}
    return importer, {**distributor, **readers}, rest


def _readers(user: Any, file: Path | None) -> dict[str, Any]:
    """Who is served, as the distributor's configuration says it; without a user everybody is."""
    password = CLEAR if user is CLEAR else secret(None, file)
    return given(basic_auth_username=user, basic_auth_password=password)
