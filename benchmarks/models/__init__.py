"""Trains, measures and packs the models that are shipped: ``make models``."""
