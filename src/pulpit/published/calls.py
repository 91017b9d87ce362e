"""Calls by POST to what is published: the few that ask a question with a body."""

import asyncio
from typing import Final

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive

_MOST: Final = 16 * 1024
_SECONDS: Final = 30.0


async def body_of_call(receive: Receive) -> bytes | Response:
    """Return the body of a request, or the refusal if it is too long or does not arrive in time."""
    body, is_complete = bytearray(), False
    try:
        async with asyncio.timeout(_SECONDS):
            while not is_complete and len(body) <= _MOST:
                message = await receive()
                body += message.get("body", b"")
                is_complete = not message.get("more_body")
    except TimeoutError:
        return PlainTextResponse("The body did not arrive in time.\n", 408)
    if len(body) > _MOST:
        return PlainTextResponse(f"A call may have {_MOST} bytes.\n", 413, {"Connection": "close"})
    return bytes(body)
