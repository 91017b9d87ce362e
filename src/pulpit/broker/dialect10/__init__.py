"""AMQP 1.0 in front of the same virtual hosts: what that dialect calls sessions, links, termini and outcomes.

    connection   bytes in, bytes out; limits, ends
    entrance     SASL, and who comes without it
    links        what is attached, and what the engine tells of it
    receiving    links on which clients send: credit, messages, outcomes
    sending      links on which clients receive: consumers of queues
    nodes        what an address names, found or created
    office       links to the node /management, which declares by way of the handlers of 0-9-1: management
    addresses    the forms that addresses have
    arrival      a message of AMQP 1.0 as the broker keeps it
    departure    a message of the broker as AMQP 1.0
    refusals     conditions instead of reply codes

The protocol itself (frames, sessions, flow) is Apache Qpid Proton's, in `pulpit.amqp.amqp10.engine`.
"""
