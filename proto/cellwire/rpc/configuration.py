"""Our limits as grpclib takes them: a configuration, completed once and not for each channel."""

from __future__ import annotations

import functools

from grpclib.config import Configuration

from cellwire.rpc.limits import MessageLimits


class _Completed(Configuration):
    """Grpclib completes a configuration for each channel, by way of all its fields: here it is done once."""

    def __for_client__(self) -> Configuration:
        return _for_client(self)


@functools.lru_cache
def _for_client(own: _Completed) -> Configuration:
    return super(_Completed, own).__for_client__()


@functools.lru_cache
def configuration(limits: MessageLimits, name: str = "") -> Configuration:
    """These limits as grpclib takes them. `name` is looked for in the peer's certificate in place of the host."""
    return _Completed(
        _keepalive_time=limits.ping_after,
        _keepalive_timeout=limits.ping_wait,
        _keepalive_permit_without_calls=True,
        _http2_max_pings_without_data=0,
        _http2_min_sent_ping_interval_without_data=limits.ping_after or 1.0,
        http2_connection_window_size=limits.connection_window,
        http2_stream_window_size=limits.stream_window,
        ssl_target_name_override=name or None,
    )
