"""spilo-boot: reads the environment, makes the plan, writes the files, and becomes PID 1 of the appliance."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from bootstrap import apply, derive, facts, launch, layout, overrides, settings
from bootstrap.kinds import Secret
from bootstrap.layout import Layout
from bootstrap.plan import File, Plan, make
from bootstrap.render import patroni
from bootstrap.settings import Setting, Settings
from runtime.log import Log
from runtime.trouble import Exit, Trouble, run

LOG = Log("boot")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="spilo-boot",
        description="Configures a member of a highly available PostgreSQL cluster from environment variables, runs it.",
        epilog="The settings are in docs/settings.md, the exit codes in docs/exit-codes.md.",
    )
    parser.add_argument("--check", action="store_true",
                        help="only check the settings: report every problem, touch nothing")
    parser.add_argument("--print", action="store_true", dest="show",
                        help="show what would be written and started, secrets masked, and touch nothing")
    parser.add_argument("--root", default="/", metavar="DIR",
                        help="put everything under DIR instead of /: the same appliance without a container")
    return parser.parse_args(argv)


def read(environ: Mapping[str, str]) -> Settings:
    """Settings, or Trouble with every problem of the environment."""
    found, problems = settings.read(environ, check=overrides.check)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise Trouble(Exit.SETTINGS, f"the configuration has {count}, nothing was touched:\n"
                      + "\n".join(f"  {i}. {problem}" for i, problem in enumerate(problems, 1)))
    return found


def secret(found: Settings, paths: Layout, make_one: bool) -> Secret:
    """CLUSTER_SECRET, or the one that a member alone keeps on its volume (made if `make_one`)."""
    given = found["CLUSTER_SECRET"]
    if given is not None:
        return Secret(given.reveal())
    kept = apply.kept_secret(paths)
    if kept is None:
        return apply.keep_secret(paths) if make_one else derive.new_secret()
    return kept


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted path of every value in a tree."""
    for key, value in tree.items():
        yield from leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else (f"{prefix}{key}",)


def effective(found: Settings) -> dict[str, str]:
    """Every setting that is not at its default, masked, with the variable it came from."""

    def text(row: Setting, value: Any) -> str:
        if row.secret:
            return "<secret>"
        if row.from_file:
            return f"<{len(value)} characters>"
        if isinstance(value, dict):  # only what it sets: the values can hold a secret
            return ",".join(leaves(value))
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    shown = {}
    for row in settings.TABLE:
        source = found.sources[row.name]
        if source != "default":
            shown[row.name] = text(row, found[row.name]) + (f" ({source})" if source != row.name else "")
    return shown


def shown(file: File, secrets: tuple[str, ...]) -> str:
    """The content of a file, secrets masked: in the parsed tree, because a dumped file can spell a secret otherwise."""
    text = file.content.decode()
    if file.path.suffix == ".json":
        return json.dumps(apply.masked(json.loads(text), secrets), indent=1, ensure_ascii=False)
    if file.path.suffix == ".yml":
        return patroni.dump(apply.masked(yaml.safe_load(text), secrets)).decode().rstrip()
    return str(apply.masked(text, secrets)).rstrip()


def describe(plan: Plan) -> str:
    """The plan as text, secrets masked."""
    parts = []
    for file in plan.files:
        parts.append(f"--- {file.path} ({file.mode:04o})\n{shown(file, plan.secrets)}")
    for request in plan.certificates:
        parts.append(f"--- {request.path} (a certificate issued at boot for {', '.join(request.names)})")
    for program in plan.programs:
        parts.append(f"--- program {program.name}: {' '.join(program.command)}")
    return "\n".join(parts) + "\n"


def boot(options: argparse.Namespace) -> int:
    found = read(os.environ)
    if options.check:
        print("the settings are all right")
        return Exit.OK
    paths = layout.make(found, os.path.abspath(options.root))
    if not options.show:
        # The kernel drops a signal for which PID 1 has no handler; blocked it stays, through exec, until launch has
        # one.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        user = facts.user()
        apply.check_volume(paths)
        apply.claim(paths)
        apply.check_data(paths, found["PGVERSION"], LOG)
        apply.check_run(paths)
        first = found["CLUSTER_SECRET"] is None and apply.kept_secret(paths) is None
    else:
        user, first = "postgres", False
    plan = make(found, facts.probe(paths.pgroot, user), paths, secret(found, paths, make_one=not options.show))
    if options.show:
        sys.stdout.write(describe(plan))
        return Exit.OK
    LOG.info("settings that differ from the defaults", **(effective(found) or {"none": ""}))
    if found.alone:
        LOG.info("standing alone with an etcd of its own; "
                 "for a cluster give ETCD_HOST, SCOPE and CLUSTER_SECRET (docs/operate.md)")
    if first:
        LOG.info("passwords made; read one inside the container with: spilo password admin", kept=paths.credentials)
    apply.apply(plan, paths)
    environ = launch.environment(dict(os.environ), found["PGHOME"] if options.root == "/" else str(paths.root))
    command = launch.command(paths.run, paths.pgdata)
    sys.stdout.flush()
    os.execve(command[0], command, environ)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    return run(lambda: boot(options), LOG)


if __name__ == "__main__":
    sys.exit(main())
