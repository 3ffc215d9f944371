"""A cache that is not what was asked for (R6), or is unfinished, is refused by name."""

import re
import shutil

import pytest

from legorec.lm.state_cache import CacheError, HiddenStateCache
from tests.lm.state_cache.test_identity import CHANGES
from tests.support.state_caches import build, identity, of_items, states, writer


def refusal(root, verify="digest", **changes):
    with pytest.raises(CacheError) as caught:
        HiddenStateCache.open(root, identity(**changes), verify=verify)
    return str(caught.value)


@pytest.mark.parametrize("name", CHANGES)
def test_r6_a_change_of_any_field_is_refused_and_named(root, name):
    HiddenStateCache.open(root, identity())
    message = refusal(root, **{name: CHANGES[name]})
    assert f"`{name}`" in message and ("cache run" in message or "write it with the same command" in message)
    assert {each for each in CHANGES if f"`{each}`" in message} == {name}
    if name != "depth":
        assert "the cache at depth 3 is of another content" in message


def test_r6_a_folder_under_the_name_of_another_identity(root, folder):
    other = identity(checkpoint="x" * 32)
    shutil.copytree(folder, root / other.folder_name)
    message = refusal(root, checkpoint="x" * 32)
    assert f"{other.folder_name}: this cache is of another content: `checkpoint` is 'ccccc" in message
    assert "'xxxxx" in message


def test_both_values_are_shown_where_they_differ(root):
    message = refusal(root, template="title: {title:30} body: {body:200}", checkpoint="c" * 31 + "d")
    assert "`template` is '..: {body:100}' in the cache, '..: {body:200}' was asked for" in message
    assert "`checkpoint` is '..ccccccccc' in the cache, '..ccccccccd' was asked for" in message


def test_depths_that_are_there_are_listed(root):
    build(root, depth=1, dtype="fp16")
    build(root, depth=5, tokenizer="x" * 32)
    begun = writer(root, depth=7)
    begun.write(0, of_items(states(), begun.shards[0]))
    (root / "depth-9-other").mkdir()
    (root / "depth-9-other" / "identity.json").write_text("{")
    listed = re.escape(
        "1 (fp16), 3 (bf16), 5 (bf16, other `tokenizer`), 7 (bf16, unfinished); write it with the"
    )
    assert re.search(f"no cache at `depth` 4; there are: {listed}", refusal(root, depth=4))


def test_the_nearest_cache_of_a_depth_is_named_first(root):
    build(root, checkpoint="x" * 32, tokenizer="x" * 32)
    message = refusal(root, tokenizer="y" * 32)
    assert re.search(r"content: `tokenizer` is [^;]*; or `checkpoint` is [^;]*`tokenizer` is", message)


def test_no_cache_at_all(tmp_path):
    for root in (tmp_path, tmp_path / "nowhere"):
        assert f"{root}: there is no cache of hidden states; write it with the same command" in refusal(root)


def test_an_unfinished_cache(tmp_path):
    begun = writer(tmp_path)
    for index in (0, 2):
        begun.write(index, of_items(states(), begun.shards[index]))
    expected = f"unfinished (2 of {len(begun.shards)} shards); start the cache run again, it goes on"
    assert expected in refusal(tmp_path)
