"""The cluster without being a node: events, orders and questions from workers, views, scripts and notebooks."""

from __future__ import annotations

from .emitter import Emitter, EmitterBroadcast
from .sync import SyncEmitter, SyncEmitterBroadcast

__all__ = ["Emitter", "EmitterBroadcast", "SyncEmitter", "SyncEmitterBroadcast"]
