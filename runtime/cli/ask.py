"""The questions to Patroni that several commands have in common, with answers checked and failures explained."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runtime import spec as specification
from runtime.api import Api, Unanswered
from runtime.spec import Spec
from runtime.trouble import Exit, Trouble

LIVE = 3.0  # seconds for another member's answer
LEADERS = ("leader", "standby_leader")  # roles in GET /cluster


def load(path: str) -> Spec:
    """This member's specification; raises RETRY where there is none."""
    try:
        return specification.load(path)
    except FileNotFoundError:
        raise Trouble(Exit.RETRY, "this is not a running member", f"{path} does not exist",
                      "run it inside a member's container: docker exec -it NODE spilo status\n"
                      "a container that just started writes it within a second; else its log says why: docker logs NODE"
                      ) from None
    except (OSError, ValueError, KeyError) as error:
        raise Trouble(Exit.RETRY, "what the boot wrote for the tools cannot be read", f"{path}: {error}",
                      "run it as the container's own user (docker exec without --user)") from None


def brief(error: object) -> str:
    """The part of urllib3's sentence that a person can use: the last text in quotes, or what follows the last colon."""
    text = re.sub(r" \(read timeout=[^)]*\)", "", str(error))
    quoted = re.findall(r"'([^'\n]{12,})'", text)
    return str(quoted[-1]) if quoted else text.rpartition(": ")[2].strip("'() ") or text


def silent(error: Unanswered, who: str) -> Trouble:
    """The Trouble for a Patroni that gives no answer."""
    return Trouble(Exit.RETRY, f"Patroni of {who} does not answer", brief(error),
                   "it starts, it stops, or etcd is out of reach: see `spilo status`, and `spilo logs` there")


def refused(status: int, answer: Any, what: str) -> Trouble:
    """The Trouble for an answer of Patroni that is not a success; `what` is what was asked for."""
    code, hint = {
        400: (Exit.USAGE, "the answer says what Patroni did not like"),
        401: (Exit.SETTINGS, "all members need the same CLUSTER_SECRET, RESTAPI_USERNAME and RESTAPI_PASSWORD"),
        403: (Exit.SETTINGS, "the restapi allow-list in SPILO_CONFIGURATION leaves this member out"),
        412: (Exit.REFUSED, "`spilo status` shows who streams, with which lag and tags"),
        502: (Exit.RETRY, "the cluster has no configuration yet, or etcd is out of reach: see `spilo status`"),
        503: (Exit.RETRY, "`spilo status` shows how things are now, `spilo logs` on that member why"),
    }.get(status, (Exit.RETRY, "see `spilo logs`"))
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return Trouble(code, f"Patroni refuses the {what}", f"{status} {text.strip()}", hint)


def get(api: Api, path: str, who: str, kind: type) -> Any:
    """The answer to GET `path`, which is of the JSON type `kind`; `who` names the member in a Trouble."""
    try:
        status, answer = api.call("GET", path)
    except Unanswered as error:
        raise silent(error, who) from None
    if status != 200 or not isinstance(answer, kind):
        raise refused(status, answer, f"question {path}")
    return answer


def act(api: Api, method: str, path: str, body: Any, *, who: str, what: str, seconds: float = 30.0) -> str:
    """Patroni's words after a successful request that changes something; raises Trouble for all others. `what` and
    `who` are the request and the member as a person calls them."""
    try:
        status, answer = api.call(method, path, body, seconds)
    except Unanswered as error:
        raise silent(error, who) from None
    if status not in (200, 202):
        raise refused(status, answer, what)
    return str(answer).strip()


def maybe(api: Api, path: str) -> dict[str, Any] | None:
    """The JSON object at `path`, None when there is no such answer."""
    try:
        status, answer = api.call("GET", path)
    except Unanswered:
        return None
    return answer if status in (200, 503) and isinstance(answer, dict) else None


def cluster(spec: Spec) -> dict[str, Any]:
    """Patroni's GET /cluster, from this member."""
    answer: dict[str, Any] = get(Api(spec), "/cluster", "this member", dict)
    return answer


def leader(answer: dict[str, Any]) -> str | None:
    """The name of the member that holds the leader key, out of GET /cluster."""
    return next((str(one["name"]) for one in answer["members"] if one["role"] in LEADERS), None)


def base(url: str) -> str:
    """The root of a member's REST interface out of its api_url, which ends in /patroni."""
    return url.removesuffix("/patroni")


def api(spec: Spec, answer: dict[str, Any], name: str) -> Api:
    """The REST interface of the member `name` of GET /cluster; raises USAGE if there is no such member."""
    for one in answer["members"]:
        if one["name"] == name:
            return Api(spec, base(one["api_url"]), LIVE)
    known = ", ".join(str(one["name"]) for one in answer["members"]) or "none"
    raise Trouble(Exit.USAGE, f"there is no member {name}", f"members are: {known}", "name one of them")


def live(spec: Spec, urls: dict[str, str]) -> dict[str, dict[str, Any] | None]:
    """What each member itself says now (GET /patroni), by name, None where it does not answer; all asked at once."""
    def one(url: str) -> dict[str, Any] | None:
        return maybe(Api(spec, base(url), LIVE), "/patroni")

    with ThreadPoolExecutor(max(1, len(urls))) as pool:
        return dict(zip(urls, pool.map(one, urls.values()), strict=True))


def urls(answer: Mapping[str, Any]) -> dict[str, str]:
    """api_url by member, out of GET /cluster."""
    return {str(one["name"]): str(one["api_url"]) for one in answer["members"]}
