"""The `spilo` command: what people ask of a cluster, and do to it, from inside any member's container.

people   how we talk to a person: tables, colours, questions, errors without timestamps
ask      the questions to Patroni that several commands have in common
view     what the answers mean, as values; the stable JSON of `spilo status` (pure)
page     those values as text for a person (pure)
status switchover restart maintenance history logs access    the commands
"""
