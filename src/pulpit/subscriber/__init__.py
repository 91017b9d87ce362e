# SPDX-License-Identifier: Apache-2.0
"""Subscribing to events from a program: `pulpit.subscribe`, and the classes that it returns.

subscribe      checks the arguments and creates a subscription
subscription   events, acknowledgement, deduplication, reports of `gaps`
source         the port of a protocol, and a stream of messages that survives reconnects
amqp091, amqp10   the two protocols
event          a message, and the event parsed from it
listen         the same for people: what `pulpit listen` does
"""
