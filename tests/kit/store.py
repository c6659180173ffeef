"""An object store as a container, on the networks of a test and, for rclone, on a volume of its own."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from tests.kit import engine
from tests.kit.eventually import eventually
from tests.kit.faultproxy import FaultProxy
from tests.kit.node import VOLUME, Container
from tests.kit.s3 import Endpoint, Key, answers, moto_command, moto_environment, moto_key, rclone_command, rclone_environment
from tests.kit.world import Network, World

PORT = 8333


class Store(Container, Endpoint):
    """`kind` is rclone (its objects survive everything but the volume) or moto (they do not survive a stop).

    It runs from the test image. `url` is what members are given; `bucket`, `client` and `environment` are those of
    s3.Endpoint. `with World() as world: Store(world, "store", places=[(network, network.address(30))]).up()`
    """

    def __init__(self, world: World, short: str, *, places: Sequence[tuple[Network, str]], kind: str = "rclone") -> None:
        self.kind = kind
        key = Key(f"AKIA{secrets.token_hex(8).upper()}", secrets.token_hex(20))
        Endpoint.__init__(self, f"http://{places[0][1]}:{PORT}", key)
        runner = engine.own_container()
        image = str(engine.inspect(runner)["Image"]) if runner else "spilo-test"
        rclone = kind == "rclone"
        Container.__init__(
            self, world, short, image=image, places=places, options=["--no-healthcheck"],
            command=rclone_command("0.0.0.0", PORT, VOLUME) if rclone else moto_command("0.0.0.0", PORT, "python"),
            env=rclone_environment([key]) if rclone else moto_environment(),
            mounts=[f"{world.volume(short)}:{VOLUME}"] if rclone else [])

    def up(self, within: float = 30) -> Store:
        """Start it and wait until it serves, and serves only those whom it knows."""
        self.start()
        eventually(f"{self.short} serves", lambda: answers(PORT, self.address()), within)
        if self.kind == "moto":
            self.key = moto_key(self.url)
        return self

    def variables(self, bucket: str) -> dict[str, str]:
        """The settings of a member that archives here."""
        return {"WAL_S3_BUCKET": bucket, "AWS_ENDPOINT": self.url, "AWS_REGION": self.environment("")["AWS_REGION"], **self.key.variables()}

    def proxy(self) -> FaultProxy:
        """A proxy in front of it, in the process of the test, that members reach in the store's first network."""
        network = self.places[0][0]
        return FaultProxy(self, host=network.address(250 if engine.own_container() else 1))
