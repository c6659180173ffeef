"""A Status as a page of text: what is wrong stands out, the table fits 80 columns for usual names."""

from __future__ import annotations

import time

from runtime.cli import stored
from runtime.cli.people import paint, size, table
from runtime.cli.view import EtcdView, Failsafe, Member, Status, Volume

HEAD = ("  MEMBER", "ROLE", "STATE", "TL", "LAG", "REPLAY", "ADDRESS")
HEALTHY = ("running", "streaming")
SOON = 14  # days; certificates of ours are renewed long before, so fewer means that the renewal does not work
FULL = 0.9  # of the volume


def _etcd(etcd: EtcdView) -> tuple[str, str | None]:
    if not etcd.reachable:
        return f"OUT OF REACH: {'; '.join(etcd.problems)}", "red"
    count = "" if etcd.members is None else f", {len(etcd.members)} member{'s' if len(etcd.members) != 1 else ''}"
    version = f", version {etcd.version}" if etcd.version else ""
    if etcd.problems:
        return f"answers{count}{version}; problems: {'; '.join(etcd.problems)}", "red"
    return f"healthy{count}{version}", None


def _volume(volume: Volume) -> tuple[str, str | None]:
    text = f"{size(volume.used_bytes)} of {size(volume.total_bytes)} used, {size(volume.free_bytes)} free"
    return text, "red" if volume.used_bytes > FULL * (volume.used_bytes + volume.free_bytes) else None


def _failsafe(failsafe: Failsafe) -> tuple[str, str | None]:
    if failsafe.active:
        return "ACTIVE: the primary lost etcd and serves on as long as it reaches all members", "yellow"
    return ("on: without etcd the primary serves on while all members answer it" if failsafe.enabled
            else "off: without etcd the primary stops serving"), None


def facts(status: Status, now: float | None = None) -> list[tuple[str, str, str | None]]:
    """(what, how it is, colour or None) for the lines above the table; `now` in seconds since the epoch."""
    paused = ("PAUSED: nothing fails over or restarts by itself; `spilo resume` ends it", "yellow")
    lines = [
        ("durability", status.durability.words, None if status.durability.holds else "yellow"),
        ("automation", *(paused if status.paused else ("on", None))),
        ("failsafe", *_failsafe(status.failsafe)),
        ("etcd", *_etcd(status.etcd)),
    ]
    planned = status.scheduled_switchover
    if planned:
        lines.append(("switchover", f"at {planned.get('at')}, to {planned.get('to', 'the best replica')}", "yellow"))
    if status.volume:
        lines.append(("volume", *_volume(status.volume)))
    if status.stored:
        lines += stored.lines(status.stored, time.time() if now is None else now)
    if status.certificates:
        first = min(status.certificates, key=lambda one: one.days_left)
        lines.append(("certificate", f"{first.days_left:.0f} days left", "red" if first.days_left < SOON else None))
    return lines


def row(member: Member, here: str) -> tuple[str, ...]:
    """The cells of one member."""
    address = f"{member.host or ''}{f':{member.port}' if member.port else ''}"
    state = member.state if member.answers else f"{member.state} (silent)"
    mark = "*" if member.name == here else " "
    return (f"{mark} {member.name}", member.role, state, str(member.timeline or ""), size(member.lag_bytes),
            size(member.replay_lag_bytes), address)


def notes(member: Member) -> list[str]:
    """What a person should know about a member beyond its row."""
    lines = []
    if member.pending_restart:
        settings = ", ".join(f"{one.setting} ({one.old} -> {one.new})" for one in member.pending_restart)
        lines.append(f"{member.name} needs a restart for {settings}")
    if member.tags:
        tags = ", ".join(f"{key}={value}" for key, value in sorted(member.tags.items()))
        lines.append(f"{member.name} has tags: {tags}")
    if not member.answers:
        lines.append(f"{member.name} is silent: its Patroni does not answer here, its row is what it last reported")
    return lines


def render(status: Status, colour: bool = False, now: float | None = None) -> str:
    """The whole page."""
    identifier = f", system {status.system_identifier}" if status.system_identifier else ""
    lines = [paint(f"cluster {status.scope}{identifier}", "bold", colour)]
    lines += [paint(f"  WARNING: {text}", "red", colour) for text in status.warnings]
    for what, text, tone in facts(status, now):
        lines.append(f"  {what:<12} {paint(text, tone, colour) if tone else text}")
    top, *rows = table(HEAD, [row(one, status.member) for one in status.members], right=("TL", "LAG", "REPLAY"))
    lines += ["", paint(top, "bold", colour)]
    for one, line in zip(status.members, rows, strict=True):
        lines.append(paint(line, "red", colour and not (one.answers and one.state in HEALTHY)))
    if status.primary is None:
        lines += ["", paint("no primary answers here; `spilo logs` on each member says why", "red", colour)]
    remarks = [note for one in status.members for note in notes(one)]
    return "\n".join(lines + ([""] if remarks else []) + remarks) + "\n"
