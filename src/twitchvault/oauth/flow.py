"""What the two flows have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from twitchvault.app import App

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Flow"]


class Flow(App):
    """An app by which users can sign in."""

    def __await__(self) -> Generator[None, None, Self]:
        """For `flow = await DeviceCodeFlow.from_app(app)`: the flow itself, at once."""
        return self
        yield
