"""The ranking pass over clicks in one call."""

from legorec.engine import rank as ranking_pass
from legorec.scorers.clicks import ClickScorer


def rank(model, data, *, fast=True, batch_size=256, item_page_size=1024, **options):
    """The ranking of a split by a model, through a ``ClickScorer``."""
    scorer = ClickScorer(model, data, fast=fast, batch_size=batch_size, item_page_size=item_page_size)
    return ranking_pass.rank(scorer, **options)
