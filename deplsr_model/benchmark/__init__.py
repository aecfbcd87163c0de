"""Compares models of super-resolution on test sets; the command is :mod:`deplsr_model.commands.benchmark`."""
