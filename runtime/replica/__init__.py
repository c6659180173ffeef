"""How a new replica comes into being: Patroni's `create_replica_methods`."""
