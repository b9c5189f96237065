"""A worker of a web server, as a process of its own; see `test_login_workers`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI

from tests.environment import REDIRECT
from twitchvault import App
from twitchvault.integrations.login import PendingLogins, starlette_routes

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator


def serve(listening: socket.socket, arguments: dict[str, Any]) -> None:
    """Serve the login pages until SIGTERM."""
    vault = App(**arguments)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with vault:
            yield

    pages = starlette_routes(PendingLogins(vault, REDIRECT), {"chat:read"})
    application = FastAPI(routes=pages, lifespan=lifespan)
    config = uvicorn.Config(application, log_level="warning", ws="none")
    uvicorn.Server(config).run([listening])
