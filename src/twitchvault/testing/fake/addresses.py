"""What `FakeTwitch` and its remote control have in common: addresses, and `async with`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self


class Addresses:
    """A double that has addresses while it runs."""

    _url = ""

    @property
    def url(self) -> str:
        """The server's root, without a slash at the end; RuntimeError while it does not run."""
        if not self._url:
            raise RuntimeError("the double is not running: 'async with' it, or 'start' it, first")
        return self._url

    @property
    def id_url(self) -> str:
        """What to pass as `id_url`."""
        return f"{self.url}/oauth2/"

    @property
    def api_url(self) -> str:
        """What to pass as `api_url`."""
        return f"{self.url}/helix/"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin; a no-op when it has begun."""
        raise NotImplementedError

    async def close(self) -> None:
        """End; idempotent."""
        raise NotImplementedError
