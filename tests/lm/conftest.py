"""Tiny checkpoints, made once a session."""

import pytest

from tests.lm.tiny import tiny


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """``checkpoint("llama", num_hidden_layers=2)``: a checkpoint that no test may change."""
    made = {}

    def make(model_type, **changes):
        key = (model_type, repr(sorted(changes.items())))
        if key not in made:
            made[key] = tiny(model_type, tmp_path_factory.mktemp("tiny") / model_type, **changes)
        return made[key]

    return make
