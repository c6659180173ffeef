"""Everything that runs after the boot: what PostgreSQL, Patroni, supervisord, Docker or a person calls."""
