"""What happens to a photo, as data.

``recipes.draw`` draws a ``records.Record`` of ``steps`` (built-in draws: ``sampling``). ``apply.apply`` degrades one
image with it, ``packing.pack`` and ``apply_batch.apply_batch`` a batch; both use the table of ``operators``.
``captions.captions`` and ``captions.levels`` describe it by the table of ``types``.
"""
