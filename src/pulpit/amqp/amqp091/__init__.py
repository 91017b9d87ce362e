# SPDX-License-Identifier: Apache-2.0
"""pika's connections and channels as awaitables, for whoever publishes or subscribes over AMQP 0-9-1."""
