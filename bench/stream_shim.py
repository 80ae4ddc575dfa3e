"""500 MB through exec and through port-forward by way of the shim and a joined cell, beside containerd, in turn."""

from __future__ import annotations

import asyncio

from bench._shim import all_with_shim
from bench.stream import compare


async def main() -> None:
    async with all_with_shim() as (ours, theirs):
        ratio = await compare((ours, *theirs))
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
