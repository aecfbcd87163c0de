"""The `basicsr` command, discovery of plug-ins, and fixes of BasicSR 1.4.2; independent of any single plug-in."""

from __future__ import annotations

__version__ = '0.2.0'
