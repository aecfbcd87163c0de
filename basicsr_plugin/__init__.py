"""The `basicsr` command, plug-in discovery and mends for BasicSR 1.4.2; knows nothing of any single plug-in."""

from __future__ import annotations

__version__ = '0.1.0'
