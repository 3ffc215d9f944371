"""Contrastive losses over pairs of vectors, exact over processes and in bounded memory, usable alone."""

from legorec.objectives.contrast.chunks import in_chunks
from legorec.objectives.contrast.gathering import Gathering
from legorec.objectives.contrast.info_nce import Direction, Similarity, info_nce

__all__ = ["Direction", "Gathering", "Similarity", "in_chunks", "info_nce"]
