"""Where a member without data begins: the table of cases, and the list of members that have data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.governor.origin import Do, Facts, Stored, asks_store, decide
from runtime.holders import Holders
from runtime.steward.holders import FORGET, updated

SYSTEM = "7460000000000000001"
NOBODY, ONE = Holders(SYSTEM, ()), Holders(SYSTEM, ("pg1",))
EMPTY, USABLE = Stored("empty", "s3://b/p is empty"), Stored("usable", "s3://b/p: reachable from base_1")
UNUSABLE, SILENT = Stored("unusable", "s3://b/p: there is no backup to restore"), Stored("silent", "s3://b/p: timeout")
NEW = Facts("pg2", False, archived=True, consent=True)
LOST = Facts("pg2", False, SYSTEM, holders=NOBODY, archived=True)


CASES = [
    ("data", replace(NEW, data=True), Do.START, "there is data already"),
    ("follows, new", replace(NEW, follow=True, stored=EMPTY), Do.START, "a new cluster"),
    ("follows, new, no archive", replace(NEW, follow=True, archived=False), Do.START, "a new cluster"),
    ("follows, silent archive", replace(NEW, follow=True, stored=SILENT), Do.WAIT, "waiting for the archive to say"),
    ("follows, lost after its promotion", replace(NEW, follow=True, stored=USABLE), Do.REFUSE, "does not begin to follow"),
    ("follows", replace(LOST, follow=True), Do.START, "followed has the data"),
    ("in the making", replace(NEW, initialize=""), Do.START, "another member makes the cluster"),
    ("no archive, nothing known", replace(NEW, archived=False), Do.START, "a new cluster"),
    ("no archive, clone", replace(NEW, archived=False, clone=True), Do.CLONE, "beginning as a copy"),
    ("no archive, a primary", Facts("pg2", False, SYSTEM, "pg1", True), Do.START, "the primary has the data"),
    ("no archive, a primary that is silent", Facts("pg2", False, SYSTEM, "pg1"), Do.START, "without an archive"),
    ("no archive, no primary", Facts("pg2", False, SYSTEM, holders=NOBODY), Do.START, "without an archive"),
    ("empty archive", replace(NEW, stored=EMPTY), Do.START, "a new cluster"),
    ("empty archive, clone", replace(NEW, stored=EMPTY, clone=True), Do.CLONE, "beginning as a copy"),
    ("archive not asked", NEW, Do.WAIT, "waiting for the archive to say"),
    ("silent archive", replace(NEW, stored=SILENT), Do.WAIT, "waiting for the archive to say"),
    ("silent archive, clone", replace(NEW, stored=SILENT, clone=True), Do.WAIT, "waiting for the archive to say"),
    ("archive, clone", replace(NEW, stored=USABLE, clone=True), Do.REFUSE, "a copy cannot begin"),
    ("only WAL, clone", replace(NEW, stored=UNUSABLE, clone=True), Do.REFUSE, "a copy cannot begin"),
    ("only WAL", replace(NEW, stored=UNUSABLE), Do.REFUSE, "is not empty, and cannot be recovered"),
    ("archive, nobody asked", replace(NEW, stored=USABLE, consent=False), Do.WAIT, "must come first"),
    ("archive, alone", replace(NEW, stored=USABLE, consent=False, alone=True), Do.RECOVER, "the archive is what there is"),
    ("archive", replace(NEW, stored=USABLE), Do.RECOVER, "etcd knows of no cluster"),
    ("archive, a primary", replace(NEW, leader="pg1"), Do.START, "the primary has the data"),
    ("a primary", replace(LOST, leader="pg1", alive=True), Do.START, "the primary has the data"),
    ("a lock without a primary", replace(LOST, leader="pg1"), Do.WAIT, "for its lock to end"),
    ("nothing known of holders", replace(LOST, holders=None), Do.WAIT, "it is not known who has the data"),
    ("holders of another cluster", replace(LOST, holders=Holders("1", ())), Do.WAIT, "about another cluster"),
    ("somebody has data", replace(LOST, holders=ONE), Do.WAIT, "waiting for a member that has data"),
    ("somebody has data, usable archive", replace(LOST, holders=ONE, stored=USABLE), Do.WAIT, "waiting for a member that has data"),
    ("nobody has data, silent archive", replace(LOST, stored=SILENT), Do.WAIT, "waiting for the archive to answer"),
    ("nobody has data", replace(LOST, stored=USABLE), Do.RECOVER, "no member has data any more, so the archive"),
    ("nobody has data, clone", replace(LOST, stored=USABLE, clone=True), Do.RECOVER, "no member has data any more, so the archive"),
    ("nobody has data, empty archive", replace(LOST, stored=EMPTY), Do.REFUSE, "cannot bring it back"),
    ("nobody has data, only WAL", replace(LOST, stored=UNUSABLE), Do.REFUSE, "cannot bring it back"),
]


@pytest.mark.parametrize(("facts", "do", "sentence"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_decide(facts: Facts, do: Do, sentence: str) -> None:
    """What is done, and the sentence that says why."""
    verdict = decide(facts)
    assert verdict.do is do and sentence in verdict.sentence, verdict


def test_whose_data() -> None:
    """A wait names the members whose data is waited for, and what a person can do whose disks are gone for good."""
    verdict = decide(replace(LOST, holders=Holders(SYSTEM, ("pg3", "pg1"))))
    assert verdict.seen == "data on pg1, pg3" and "spilo recover" in verdict.hint


@pytest.mark.parametrize(("facts", "asked"), [
    (NEW, True), (LOST, True), (replace(NEW, data=True), False), (replace(NEW, archived=False), False), (replace(LOST, follow=True), False),
    (replace(LOST, holders=ONE), False), (replace(LOST, holders=None), False), (replace(LOST, leader="pg1"), False),
    (replace(NEW, initialize=""), False),
])
def test_the_archive_is_asked_only_when_it_decides(facts: Facts, asked: bool) -> None:
    """The store is left alone where its answer changes nothing."""
    assert asks_store(facts) is asked


@pytest.mark.parametrize("text", [None, "", "null", "[]", "{}", '{"system": "1"}', '{"members": ["a"]}', "no JSON", '{"system": 1, "members": 2}'])
def test_unknown_holders(text: str | None) -> None:
    """What cannot be read is not an empty list: nothing is proven by it."""
    assert Holders.parse(text) is None


def test_holders() -> None:
    """The list survives being written and read; a member that has lost its data is taken out."""
    both = Holders(SYSTEM, ("a", "b"))
    assert Holders.parse(both.text()) == both
    assert both.without(["a", "c"]) == Holders(SYSTEM, ("b",))


@pytest.mark.parametrize(("known", "listed", "away", "healthy", "members"), [
    ("", {}, {}, True, "a"),
    ("a", {"a": "running", "b": "streaming", "c": "creating replica", "d": "stopped"}, {}, True, "ab"),
    ("abc", {"a": "running", "b": "stopped"}, {"c": 1}, True, "abc"),
    ("abc", {"a": "running", "b": "stopped"}, {"c": FORGET}, True, "ab"),
    ("abc", {"a": "running"}, {"b": FORGET, "c": FORGET}, False, "abc"),
    ("ab", {}, {"a": FORGET, "b": FORGET}, True, "a"),
])
def test_who_has_data(known: str, listed: dict[str, str], away: dict[str, float], healthy: bool, members: str) -> None:
    """The primary, who runs, and who was there and is not away for long; while the archive fails, nobody is forgotten."""
    assert updated(known, "a", listed, away, healthy) == set(members)
