"""AMQP 1.0 for all who speak it: the codec, the log-in, the engine without I/O, and a client on asyncio.

    codec ◀ message        bytes ⇄ values
    codec ◀ sasl           the log-in before the protocol (both sides), with `scram`
    words                  what crosses the engine's border: termini, outcomes, conditions, events
    engine                 bytes in, events out; Apache Qpid Proton's state machine inside
    client                 its connection, over the socket of the `rim`, and the links `attached` to it

Proton is the extra `amqp10`; only `engine` needs it, and `proton.missing()` says whether it is there.
"""
