"""The embedded broker: AMQP 0-9-1, compatible with RabbitMQ 3.10.

The protocol is free of I/O: `connection.Connection` takes bytes and returns bytes, `channel.Channel` takes and
returns methods, `virtualhost.VirtualHost` holds what is declared. `server.Broker` adds sockets and the disk.
"""
