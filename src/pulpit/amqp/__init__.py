"""The ways to brokers outside: AMQP 0-9-1 and 1.0, for deliveries and subscribers."""
