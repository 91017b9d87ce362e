# SPDX-License-Identifier: Apache-2.0
"""Subscribing to events from a program: `pulpit.subscribe`, and what it hands out.

subscribe      what was asked for, checked and put together
subscription   events, acknowledged, without duplicates, with a report of `gaps`
source         the port of a protocol, and a stream of messages over every loss of a connection
amqp091, amqp10   the two protocols
event          a message, and the event that is read from it
listen         the same for a person: what `pulpit listen` does
"""
