"""The controller: declared pods in, cells out. One asyncio daemon."""
