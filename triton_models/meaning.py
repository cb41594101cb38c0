"""What the intent head reads beside a text's letters: its embedding, for Chinese that of its words in English."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from triton_models.encoder import Encoder
from triton_models.glossary import FILE, Glossary
from triton_models.head import CHINESE, groups_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from triton_models.encoder import Embeddings


class MeaningEncoder:
    """Loads encoder and glossary of a folder. Not to be shared between threads."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._encoder = Encoder(folder, threads=threads)
        self._glossary = Glossary(folder / FILE)

    def encode(self, texts: Sequence[str]) -> tuple[Embeddings, Embeddings]:
        """Embeddings and meanings, FP32 [len(texts), 384] each. They differ for Chinese only."""
        chinese = np.flatnonzero(groups_of(texts) == CHINESE)
        glosses = [self._glossary.english(texts[int(row)]) for row in chinese]
        both = self._encoder.encode([*texts, *glosses])
        embeddings = both[: len(texts)]
        if not glosses:
            return embeddings, embeddings
        meanings = embeddings.copy()
        meanings[chinese] = both[len(texts) :]
        return embeddings, meanings

    def meanings(self, texts: Sequence[str]) -> Embeddings:
        return self.encode(texts)[1]
