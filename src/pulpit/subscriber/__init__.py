"""Subscribing to events from a program: `pulpit.subscribe`, and what it hands out.

subscribing    the door: checks what was asked
subscription   events, acknowledged, without duplicates (`duplicates`), with a report of gaps (`gaps`)
following      the same subscription over every loss of a connection
source         the port of a protocol: `amqp091`, and `amqp10` with the manners of its brokers (`manners10`)
event, message what arrives; `wish`, `address` what is asked, and of whom
"""
