"""THE TABLE of settings, and `read`, which turns an environment into Settings or reports every problem at once.

A setting is declared here and nowhere else: docs/settings.md is generated from the table, errors quote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap import foreign, kinds, storage
from bootstrap.kinds import Secret
from bootstrap.table import CORE, GROUPS, Setting
from bootstrap.together import EXCLUSIVE, Problem, together

__all__ = ["EXCLUSIVE", "GROUPS", "TABLE", "Problem", "Setting", "Settings", "read", "secrets"]

TABLE: tuple[Setting, ...] = (*CORE, *storage.TABLE)


@dataclass(frozen=True)
class Settings(Mapping[str, Any]):
    """Parsed settings by name. `sources` says for each where it came from: the variable's name, or `default`;
    `files` for those read from a file (NAME_FILE) which file."""

    values_: Mapping[str, Any] = field(repr=False)
    sources: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    @property
    def alone(self) -> bool:
        """Whether no etcd is given, so that this member is a cluster of its own."""
        return all(self[name] is None for name in EXCLUSIVE)

    @property
    def pgroot(self) -> str:
        return str(self["PGROOT"] or self["PGHOME"] + "/pgdata/pgroot")

    @property
    def pgdata(self) -> str:
        return str(self["PGDATA"] or self.pgroot + "/data")


def _read_file(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")


def _fetch(setting: Setting, environ: Mapping[str, str], read_file: Callable[[str], str],
           problems: list[Problem]) -> tuple[str | None, str]:
    """The text of a setting and the name of the variable it came from; an empty variable counts as not given."""
    given = [name for base in setting.names for name in (base, f"{base}_FILE")
             if environ.get(name) and (setting.secret or setting.from_file or name == base)]
    if len({name.lower() for name in given}) == 1 and len({environ[name] for name in given}) == 1:
        given = given[:1]  # http_proxy and HTTP_PROXY, which say the same
    if len(given) > 1:
        problems.append(Problem(" and ".join(given), "", "only one of them", f"remove all but {given[0]}"))
        return None, ""
    if not given:
        return None, "default"
    name = given[0]
    if not name.endswith("_FILE") or name in setting.names:
        return environ[name], name
    try:
        return read_file(environ[name]), name
    except UnicodeDecodeError:
        problems.append(Problem(name, environ[name], "a file with text in UTF-8",
                                "write the value into the file as UTF-8 text"))
    except OSError as error:
        path = environ[name] if environ[name].startswith("/") else "no absolute path"  # but perhaps the secret itself
        problems.append(Problem(name, path, f"a file that can be read ({error.strerror})",
                                "mount the file, and make it readable for the user of the container"))
    return None, ""


def _parse(setting: Setting, text: str, source: str, problems: list[Problem]) -> Any:
    try:
        text.encode("utf-8")
        return setting.kind(text)
    except UnicodeEncodeError:
        problems.append(Problem(source, "<not UTF-8>", setting.kind.expects, "give the value in UTF-8"))
    except ValueError as error:
        hidden = len(text) > 80 or setting.kind is kinds.MAPPING or "@" in text  # it can hold a password
        given = "<secret>" if setting.secret else f"a text of {len(text)} characters" if hidden else repr(text)
        otherwise = setting.shown or setting.default
        problems.append(Problem(source, given, str(error), f"change {source}, or remove it"
                                + (f" (default: {otherwise})" if otherwise else "")))
    return None


def _unknown(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Variables that look as if they were meant for us, but are no setting."""
    known = {name for setting in TABLE for name in setting.names}
    known |= {f"{name}_FILE" for setting in TABLE if setting.secret or setting.from_file for name in setting.names}
    for name in sorted(set(environ) - known):
        found = foreign.judge(name, known)
        if found:
            yield Problem(name, "given", *found)


def read(environ: Mapping[str, str], read_file: Callable[[str], str] = _read_file,
         check: Callable[[Mapping[str, Any], bool], list[Problem]] = lambda config, plain: [],
         ) -> tuple[Settings, list[Problem]]:
    """Settings from an environment, and every problem there is (then the settings are not to be used).

    `check` judges SPILO_CONFIGURATION, given ALLOW_NOSSL; it is a parameter because the rules are those of the rendered
    file.
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    broken: set[str] = set()
    for setting in TABLE:
        before = len(problems)
        text, source = _fetch(setting, environ, read_file, problems)
        values[setting.name] = setting.default if text is None else _parse(setting, text, source, problems)
        sources[setting.name] = source
        if len(problems) > before:
            broken.add(setting.name)
    alone = not any(sources[name] != "default" or name in broken for name in EXCLUSIVE)
    crossing = [*together(values, alone), *storage.together(values, sources)]
    problems += [problem for problem in crossing if problem.name not in broken]
    problems += _unknown(environ)
    problems += check(values["SPILO_CONFIGURATION"] or {}, values["ALLOW_NOSSL"] or False)
    files = {name: environ[source] for name,
             source in sources.items() if source.endswith("_FILE") and source in environ}
    return Settings(values, sources, files), problems


def secrets(settings: Settings) -> list[str]:
    """Every secret text among the settings, for masking."""
    return [value.reveal() for value in settings.values() if isinstance(value, Secret)]
