# SPDX-License-Identifier: Apache-2.0
"""pika's connections and channels as awaitables, for publishing and subscribing over AMQP 0-9-1."""
