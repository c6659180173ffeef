"""The ledger itself: it has to find what it is there to find."""

from __future__ import annotations

from collections import Counter

from tests.kit.ledger import Ledger, Outcome, Write

KEPT = Outcome.ACKNOWLEDGED


def account(*writes: Write) -> Ledger:
    made = Ledger({})
    made.writes = list(writes)
    return made


def judged(ledger: Ledger, *ids: int) -> str:
    return "; ".join(ledger.judge({one.id for one in ledger.acknowledged()}, Counter(ids)))


def test_all_is_well() -> None:
    """Acknowledged rows are there, unknown ones may be, refused ones are not."""
    ledger = account(Write(1, "n1", 0, 1, KEPT, 1), Write(2, "n1", 1, 2), Write(3, "n1", 2, 3, Outcome.REFUSED))
    assert judged(ledger, 1) == ""
    assert judged(ledger, 1, 2) == ""


def test_what_is_wrong_with_rows() -> None:
    """A lost row, a row twice, a row from nowhere, and a row that was refused."""
    ledger = account(Write(1, "n1", 0, 1, KEPT, 1), Write(2, "n1", 1, 2, Outcome.REFUSED))
    assert "1 acknowledged commits are lost: [1]" in judged(ledger)
    assert judged(ledger, 1, 1) == "1 rows are there more than once: [1]"
    assert judged(ledger, 1, 9) == "1 rows were never written: [9]"
    assert judged(ledger, 1, 2) == "1 refused rows are there: [2]"


def test_handover_is_no_rivalry() -> None:
    """A new timeline on another member, while the last write of the old one is still on its way."""
    ledger = account(Write(1, "n1", 0, 2.5, KEPT, 1), Write(2, "n2", 2, 2.1, KEPT, 2), Write(3, "n1", 5, 6, KEPT, 3))
    assert ledger.rivals() == []


def test_two_primaries() -> None:
    """A write that was sent to the old primary after the new one had acknowledged, and a timeline with two owners."""
    ledger = account(Write(1, "n2", 1.0, 1.1, KEPT, 2), Write(2, "n1", 1.2, 1.3, KEPT, 1))
    assert ledger.rivals() == ["n1 acknowledged 2 on timeline 1, sent 0.100 s after n2 had on timeline 2"]
    ledger = account(Write(1, "n1", 1.0, 1.1, KEPT, 2), Write(2, "n2", 1.0, 1.1, KEPT, 2))
    assert ledger.rivals() == ["timeline 2 was written by n1 and by n2"]


def test_pause_is_the_longest_gap() -> None:
    """The pause counts from the mark, between acknowledgements, and to now."""
    now = Ledger({}).mark()
    kept = [Write(1, "n1", 0, now - 10, KEPT, 1), Write(2, "n1", 0, now - 4, KEPT, 1)]
    ledger = account(*kept, Write(3, "n1", 0, now - 3))
    assert 3.9 < ledger.pause(now - 6) < 5
    assert 5.9 < ledger.pause(now - 10.5) < 7
