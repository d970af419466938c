"""How the installation is doing."""

from typing import Annotated

import strawberry

from domain.kernel.ctx import Ctx
from domain.runtime import ports, service
from graph.rules import PUBLIC, about, query
from graph.scalars import BigInt

Info = strawberry.Info[Ctx, None]


@strawberry.type(description="Memory of the process's control group, in bytes; null where it does not tell.")
class Memory:
    current_bytes: BigInt | None
    limit_bytes: BigInt | None


@strawberry.type(description="Processor time of the process's control group.")
class Cpu:
    usage_usec: BigInt
    periods: BigInt
    throttled_periods: BigInt
    throttled_usec: BigInt


@strawberry.type(description="The file system of the data folder, in bytes.")
class Disk:
    total_bytes: BigInt
    used_bytes: BigInt
    available_bytes: BigInt


@strawberry.type(description="Whether the database answers.")
class DatabaseHealth:
    reachable: bool


@strawberry.type(description="How the installation is doing. The details are there when they were asked for.")
class Health:
    details: strawberry.Private[service.Health | None]

    @strawberry.field(description="`ok`: this process answers.")
    def status(self) -> str:
        return "ok"

    @strawberry.field
    def memory(self) -> Memory | None:
        return _memory(self.details.memory) if self.details else None

    @strawberry.field
    def cpu(self) -> Cpu | None:
        return self.details.cpu if self.details else None  # type: ignore[return-value]

    @strawberry.field
    def disk(self) -> Disk | None:
        return self.details.disk if self.details else None  # type: ignore[return-value]

    @strawberry.field
    def database(self) -> DatabaseHealth | None:
        return DatabaseHealth(reachable=self.details.database_reachable) if self.details else None


def _memory(memory: ports.Memory) -> Memory:
    return memory  # type: ignore[return-value]


@strawberry.type(description="A part of the installation.")
class Component:
    state: str = strawberry.field(description="Online, Offline, Starting, Stopping or Error")
    version: str | None = None
    port: int | None = None


@strawberry.type(description="The parts of the installation.")
class Status:
    runtime: Component
    postgres: Component
    forge: Component


@strawberry.type
class RuntimeQuery:
    @query(access=PUBLIC)
    async def health(
        self, info: Info, full: Annotated[bool, about("Look at the machine and the database, too.")] = False
    ) -> Health:
        """Whether this process answers, and with `full` how it is doing."""
        return Health(details=await service.health(info.context) if full else None)

    @query()
    async def status(self, info: Info) -> Status:
        """The parts of the installation, and whether they are there."""
        status = await service.status(info.context)
        return Status(
            runtime=Component(state="Online", version=status.version),
            postgres=Component(state="Online" if status.database_online else "Offline"),
            forge=Component(state="Offline"),
        )
