from __future__ import annotations

import open_clip
import pytest


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError('no network\nand a second line')

    monkeypatch.setattr(open_clip, 'download_pretrained', refuse)
