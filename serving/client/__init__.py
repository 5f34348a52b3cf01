"""Clients of the service for a shop's backend, blocking and asynchronous."""

from serving.client.async_client import AsyncClient
from serving.client.client import Client
from serving.client.retries import (
    InvalidRequest,
    KeyRefused,
    Patience,
    ServiceError,
    ServiceUnavailable,
)

__all__ = [
    "AsyncClient",
    "Client",
    "InvalidRequest",
    "KeyRefused",
    "Patience",
    "ServiceError",
    "ServiceUnavailable",
]
