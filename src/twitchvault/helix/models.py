"""What Helix answers, as far as this library reads it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["User"]


class User(BaseModel):
    """A Twitch user, from `GET /helix/users`.

    `id` never changes, `login` and `display_name` can. `email` is there only for oneself and with
    the scope user:read:email. Fields that Twitch leaves out are empty.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True
    )

    id: str
    login: str
    display_name: str = ""
    type: str = ""
    broadcaster_type: str = ""
    description: str = ""
    profile_image_url: str = ""
    offline_image_url: str = ""
    created_at: str = ""
    email: str | None = Field(default=None, repr=False)
