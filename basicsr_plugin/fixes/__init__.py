"""Fixes of BasicSR 1.4.2, one function each, by the part of BasicSR that they change; `compat` applies them."""
