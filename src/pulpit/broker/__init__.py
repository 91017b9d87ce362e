"""The embedded broker: AMQP 0-9-1 as RabbitMQ 3.10 speaks it.

The protocol is inside and knows no socket: `connection.Connection` takes bytes and hands out bytes, `channel.Channel`
takes methods and answers with methods, `virtualhost.VirtualHost` holds what is declared. `server.Broker` adds sockets
and the disk.
"""
