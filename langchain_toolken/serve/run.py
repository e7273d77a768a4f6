"""Run the server."""

from __future__ import annotations

import ipaddress
import secrets

import uvicorn
from fastapi import FastAPI

from langchain_toolken.serve.guards import LOOPBACK

_GRACE = 5  # seconds that running answers have when the server is stopped


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK


def token_for(host: str, given: str | None) -> str | None:
    """Return the token that clients of a server on `host` have to give: `given`, or a new one where others reach it."""
    return given or (None if is_loopback(host) else secrets.token_urlsafe(24))


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve until the process is told to stop."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=_GRACE,
        server_header=False,
        ws="none",
    )
