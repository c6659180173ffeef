"""Starts Patroni, the governor, once it is safe to: with our data, with none where a primary has it, or with what was brought
back from the archive.

origin   what to do, decided from what is known; a table of cases
cluster  what etcd and the other members say
begin    doing it
"""

from __future__ import annotations

from runtime.tool import tool


def command(config: str, last_words: str, spec: str) -> tuple[str, ...]:
    """Command line; `config` is Patroni's file, `last_words` where to leave the reason of a refusal, `spec` steward.json."""
    return tool("runtime.governor", config, last_words, spec)
