# SPDX-License-Identifier: Apache-2.0
"""AMQP 1.0 as a client: the codec, the login, the engine without I/O, and connections on asyncio.

    codec ◀ message        bytes ⇄ values
    codec ◀ sasl           the login before the protocol
    types                  conditions, outcomes, termini, and reasons of a loss
    engine ◀ links         bytes in, events out; Apache Qpid Proton's state machine inside, behind a `frame_guard`
    client ◀ client_links  a connection over its socket, and its links as awaitables
    publisher, profiles    publishing to any broker

Proton is the extra `amqp10`; only `engine` needs it, and `proton.available()` says whether it is installed.
"""
