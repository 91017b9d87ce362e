"""`pulpit listen`: prints the messages of a topic exchange (the successor of Pulp 2's `playpen/listen.py`)."""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from pulpit.client.streams import guarded
from pulpit.subscriber.listen import ALLOW_PLAIN, URL_VARIABLE
from pulpit.subscriber.listen import listen as run
from pulpit.subscriber.source import QUEUE_TYPES


@click.command("listen", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-e", "--exchange", default="amq.topic", show_default=True, help="Name of the topic exchange.")
@click.option(
    "-s", "--subject", default="", help="Subject to bind to, with * for one word and # for any.  [default: everything]"
)
@click.option("-a", "--address", metavar="HOST", help="Host of the broker.  [default: localhost]")
@click.option("-p", "--port", type=click.IntRange(1, 65535), help="Port of the broker.  [default: 5672]")
@click.option("-q", "--quiet", is_flag=True, help="Show the subjects only.")
@click.option(
    "--url",
    metavar="URL",
    help=f"Broker as amqp[s]://user:password@host:port/vhost, or amqp[s]+10:// for AMQP 1.0; several, with commas"
    f" between, are tried in turn. Others on this machine can see it: to hide a password use --url-file or the"
    f" environment variable {URL_VARIABLE}.",
)
@click.option("--url-file", type=click.Path(path_type=Path), help="File (mode 0600) whose first line is such a URL.")
@click.option("--ca-path", type=click.Path(path_type=Path), help="Certificate authorities to trust for amqps.")
@click.option(
    "--client-cert",
    type=click.Path(path_type=Path),
    help="File (mode 0600) with a certificate and its key to show; it is the login where the URL names no user.",
)
@click.option(ALLOW_PLAIN, "allow_plain", is_flag=True, help="Let the password travel unencrypted to another machine.")
@click.option("--json", "as_json_lines", is_flag=True, help="Show each message as one JSON object on one line.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N messages.")
@click.option("--queue", metavar="NAME", help="Use a durable queue, which collects messages while nobody listens.")
@click.option(
    "--queue-type",
    type=click.Choice(QUEUE_TYPES),
    help="Kind of that queue.  [default: quorum with several brokers, else the broker's own]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.001),
    metavar="SECONDS",
    help="End after so long; with 1 if --count is not met or no broker could be listened to.",
)
def listen(**given: Any) -> None:
    """Print the messages of a topic exchange, until interrupted."""
    sys.exit(run(**given))


def main() -> None:
    """Run the command as a separate program."""

    def program(_closed: Collection[int]) -> int:
        try:
            listen(prog_name=Path(sys.argv[0]).name)
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 1
        return 0

    sys.exit(guarded(program))
