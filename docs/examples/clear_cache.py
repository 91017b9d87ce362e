# SPDX-License-Identifier: Apache-2.0
"""Clears a cache in front of the server when a repository was published."""

import asyncio
import os
import urllib.request
from urllib.parse import quote

import pulpit

CACHE = os.environ["CACHE"]  # for example http://127.0.0.1:6081


def purge(repo_id: str) -> None:
    """Tell the cache; Varnish and nginx with their purge modules understand this method."""
    request = urllib.request.Request(f"{CACHE}/pulp/isos/{quote(repo_id)}/", method="PURGE")
    urllib.request.urlopen(request, timeout=10).close()


async def main() -> None:
    """Ask for the finishes of publishes, over a queue that collects while this program is down."""
    async with pulpit.subscribe(
        os.environ["PULPIT_AMQP_URL"],
        exchange="pulp",
        subject="pulp.server.repo.publish.finish",
        queue="cache-cleaner",
    ) as events:
        async for event in events:
            if event.repo_id and event.payload.get("result") == "success":
                await asyncio.to_thread(purge, event.repo_id)
                print("cleared", event.repo_id, flush=True)


asyncio.run(main())
