"""Measurements of the packages in this repository; none of the packages imports this one."""

from __future__ import annotations

from basicsr_plugin.compat import apply_fixes

apply_fixes()  # before anything of BasicSR is imported
