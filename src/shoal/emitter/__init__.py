"""The cluster without being a node: events, orders and questions from workers, views, scripts and notebooks."""

from __future__ import annotations

from .emitter import Emitter, EmitterBroadcast

__all__ = ["Emitter", "EmitterBroadcast"]
