"""A flow in a notebook's kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_client.manager import start_new_async_kernel

from tests.programs import PATIENCE

from .place import ELSEWHERE, PROGRAMS

if TYPE_CHECKING:
    from .place import Place

IN_A_THREAD = """
import asyncio
await asyncio.to_thread(asyncio.run, app.get_user_by_id("1001").get_user())
"""


async def test_cells_share_a_loop(place: Place) -> None:
    """What one cell opens the next one uses; a loop in a thread is told what it is."""
    manager, kernel = await start_new_async_kernel(
        startup_timeout=PATIENCE, cwd=str(place.folder), env=place.settings
    )
    try:
        assert await run(kernel, PROGRAMS["first_cell.py"]) == ""
        assert await run(kernel, PROGRAMS["second_cell.py"]) == "Alice\n"
        assert await run(kernel, IN_A_THREAD) == ELSEWHERE
        assert await run(kernel, PROGRAMS["last_cell.py"]) == ""
    finally:
        kernel.stop_channels()
        await manager.shutdown_kernel(now=True)


async def run(kernel: Any, code: str) -> str:  # noqa: ANN401 - it has no types
    """Run a cell; what it printed, or its error."""
    parts: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        content = message["content"]
        parts.extend(content[name] for name in ("text", "evalue") if name in content)

    await kernel.execute_interactive(code, timeout=PATIENCE, output_hook=collect)
    return "".join(parts)
