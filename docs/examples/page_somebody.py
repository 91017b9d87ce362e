# SPDX-License-Identifier: Apache-2.0
"""Pages somebody when a sync or a publish failed, and does not take the event for done before the page is out."""

import asyncio
import json
import os
import urllib.error
import urllib.request

import pulpit

PAGER = os.environ["PAGER_URL"]  # takes JSON, as most do
PAUSE = 1.0  # seconds, when the pager does not take it


def page(event: pulpit.Event) -> None:
    """Send the page; the pager can drop a second one by its key."""
    text = f"{event.repo_id}: {event.event_type} {event.payload['result']}: {event.payload.get('error_message')}"
    body = json.dumps({"key": event.id, "text": text}).encode()
    request = urllib.request.Request(PAGER, body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


async def main() -> None:
    """Try each failure until the pager has it; what comes meanwhile waits in the queue."""
    async with pulpit.subscribe(
        os.environ["PULPIT_AMQP_URL"],
        exchange="pulp",
        subject="pulp.server.repo.*.finish",
        queue="pager",
        acknowledge="explicit",
        prefetch=1,
    ) as events:
        async for event in events:
            if event.payload.get("result") in {"failed", "error"}:
                try:
                    await asyncio.to_thread(page, event)
                except urllib.error.URLError as error:
                    print("not paged:", error, flush=True)
                    await asyncio.sleep(PAUSE)
                    events.release(event)
                    continue
                print("paged for", event.repo_id, flush=True)
            events.acknowledge(event)


asyncio.run(main())
