"""Language models trained on the texts of items: adapted to them, and aligned to what another model knows.

The stages of CELA before and after its recommenders (arXiv 2405.10596): ``pretraining`` on the items' texts
alone, and ``alignment`` of the texts to the frozen fields of a click model. A batch is some items.
"""
