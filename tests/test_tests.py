"""A test is found from what it tests: files mirror modules, or lie in a folder with a purpose named here."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Folders of what belongs to no single module; CONTRIBUTING says what each is for.
CROSSING = ("support", "contracts", "runs", "faults", "docs", "code", "benchmarks")
# Every public brick goes through the contracts; a file of its own holds its formula.
BRICKS = {"sources", "item_encoders", "joins", "user_encoders", "user_plugins", "predictors", "objectives"}
# Modules that have no file of tests, and where they are held.
ELSEWHERE = {
    "item_lists": "metrics/test_listed",
    "metrics/names": "metrics/test_report",
    "metrics/pooled": "metrics/test_metrics",
    "metrics/ranked": "metrics/test_metrics",
    "nn/graphs": "recipes/test_graph",
    "program/graph": "recipes/test_graph",
    "__main__": "program/test_program",
    "program/completion": "program/test_program",
    "program/data": "program/test_program",
    "program/doctor": "program/test_program",
    "program/found": "program/test_program",
    "program/listing": "program/test_program",
    "program/predict": "program/test_program",
    "program/save": "program/test_program",
    "data/writing/items_alone": "recipes/outputs/test_bundle",
    "recipes/outputs/bundle_settings": "recipes/outputs/test_bundle",
    "recipes/outputs/model_card": "recipes/outputs/test_bundle",
    "program/validate": "program/test_program",
    "program/worker": "test_worker",
    "abilities": "recipes/inputs/test_store_data and docs/test_add_a_brick",
    "compose/problems": "compose/test_compose",
    "compose/saved": "recipes/test_load_elsewhere",
    "compose/stages": "settings/test_stages",
    "data/interactions": "data/test_store and data/test_filters",
    "data/latest": "recipes/test_predict and test_export",
    "data/layout": "data/test_store and faults/test_full_disk",
    "data/passes": "data/test_clicks and recipes/test_train_outside",
    "data/raw/command": "process/test_mind and its neighbours",
    "data/raw/table_files": "data/raw/test_readers and test_quoting",
    "data/raw/movielens": "process/test_movielens and test_tallrec",
    "data/raw/dev_list": "process/test_mind and process/test_ebnerd",
    "data/held_out": "scorers/test_retrieval",
    "data/list_facts": "metrics/test_listed",
    "data/raw/unitok_depot": "process/test_unitok",
    "data/raw/unitok_export": "process/test_unitok_export",
    "data/raw/unitok_fields": "process/test_unitok",
    "data/raw/user_tables": "process/test_add_users",
    "data/table": "data/test_store and recipes/test_load",
    "data/writing/columns": "data/writing/test_writer",
    "data/writing/progress": "process/test_synthetic",
    "data/writing/split_parts": "data/writing/test_writer",
    "data/writing/spelling": "data/writing/test_missing",
    "data/writing/tables": "data/writing/test_writer",
    "engine/log": "test_worker",
    "engine/rank": "scorers/test_clicks",
    "engine/run_folder": "test_worker",
    "engine/task": "recipes/test_train_outside",
    "engine/together": "lm/test_spread",
    "engine/weights": "recipes/test_load",
    "files/digest": "data/test_store and files/test_disk",
    "files/sealed": "faults/test_flipped_bits",
    "files/temporary": "files/test_whole and lm/state_cache/test_writing_in_place",
    "lm/build_cache": "recipes/test_cache and faults/test_memory_in_caching",
    "lm/cache_plan": "recipes/test_cache",
    "lm/drawn": "lm/test_cut_check",
    "lm/head": "lm/test_answering",
    "lm/item_encoding": "lm/test_sentence_folder and process/test_embed",
    "lm/item_states": "recipes/test_cache and faults/test_memory_in_caching",
    "lm/layer_work": "lm/test_tables",
    "lm/layout": "lm/test_cut_check",
    "lm/model_types": "lm/test_cut, which runs over it",
    "lm/streamed": "lm/test_build_streamed",
    "lm/stored": "lm/test_cut, which runs over models with experts, and lm/test_pretrained",
    "lm/padded_rows": "lm/test_cut and lm/test_attention",
    "lm/token_rows": "lm/test_two_towers",
    "lm/untrained": "lm/test_answering",
    "nn/device": "test_recommender",
    "nn/sizes": "contracts",
    "nn/text_view": "contracts",
    "process/fetch_ml100k": "process/test_fetch_model",
    "prompts/checks": "prompts/test_prompt",
    "prompts/history": "prompts/test_prompt",
    "prompts/learning": "lm/test_answering and recipes/test_prompted",
    "prompts/pieces": "prompts/test_prompt",
    "prompts/spelled": "recipes/test_asked",
    "prompts/stream": "recipes/test_prompted",
    "prompts/vocabulary": "prompts/test_prompt",
    "recipes/inputs/item_texts": "recipes/test_adapted and recipes/test_aligned",
    "recipes/outputs/judged": "recipes/test_adapted and test_worker",
    "settings/aligned": "recipes/test_aligned",
    "recipes/inputs/build_items": "test_item_parts and runs/test_joined",
    "recipes/runs": "docs/test_python_page and settings/test_in_python",
    "recipes/outputs/opening": "test_worker and recipes/test_find_lr",
    "scorers/impression_rows": "scorers/test_clicks and scorers/test_yes_no",
    "recipes/inputs/build_model": "contracts/test_grid",
    "recipes/inputs/candidates": "runs/test_full_catalogue",
    "recipes/inputs/digests": "recipes/test_load",
    "recipes/inputs/lazy_generator": "recipes/test_generate",
    "recipes/inputs/said_texts": "runs/test_calrec_retrieval",
    "recipes/inputs/made_prompts": "recipes/test_prompted and prompts/test_prompt",
    "recipes/inputs/list_facts": "runs/test_list_metrics",
    "recipes/inputs/new_items": "recipes/test_load",
    "recipes/inputs/token_table": "recipes/test_size",
    "recipes/inputs/trained_towers": "recipes/test_load",
    "recipes/outputs/figures": "recipes/test_latency",
    "recipes/outputs/generation": "recipes/test_generate",
    "recipes/outputs/item_table": "recipes/test_export and test_latency",
    "recipes/outputs/measure": "test_worker and faults/test_resume",
    "recipes/outputs/metric_table": "metrics/test_report",
    "recipes/outputs/session": "test_worker",
    "recipes/outputs/step_memory": "recipes/test_size",
    "recipes/run": "test_worker and runs",
    "recipes/tower": "test_worker and runs",
    "texts/decoding": "texts/test_local",
    "texts/dialects": "texts/test_endpoint",
    "texts/local_model": "texts/test_local",
    "texts/posting": "texts/test_endpoint",
    "texts/prompt_tokens": "texts/test_local",
    "texts/wire": "texts/test_endpoint",
    "registry/__main__": "docs/test_catalogue_page",
    "registry/bricks": "registry/test_registry",
    "registry/classes": "registry/test_registry",
    "registry/code": "metrics/test_outside",
    "registry/docstrings": "docs/test_catalogue_page",
    "registry/listing": "docs/test_catalogue_page",
    "registry/modules": "registry/test_registry",
    "registry/outside": "recipes/test_load_outside",
    "scorers/asked": "recipes/test_asked",
    "scorers/by_history": "scorers/test_clicks",
    "scorers/corpus_scores": "scorers/test_retrieval",
    "scorers/paging": "scorers/test_clicks",
    "scorers/top_items": "recipes/test_predict",
    "settings/asked": "recipes/test_asked",
    "settings/calrec": "recipes/test_calrec",
    "settings/exp_layer": "settings/test_settings",
    "settings/families": "settings/test_modes",
    "settings/generate": "recipes/test_generate",
    "settings/measured": "runs/test_list_metrics and runs/test_outside_metric",
    "settings/paths": "recipes/test_load_elsewhere",
    "settings/reading": "settings/test_settings",
    "settings/retrieval": "runs/test_calrec_retrieval",
    "settings/schema": "settings/test_settings",
    "settings/scheme_file": "process/test_enrich",
    "settings/values": "settings/test_settings",
    "texts/from_tokens": "lm/test_generating",
    "texts/log_lines": "texts/test_answer_log",
    "texts/lookup": "texts/test_asking",
    "texts/records": "texts/test_answer_log",
    "texts/scheme": "texts/test_schemes",
    "texts/training_histories": "texts/test_schemes",
    "lm/prefix_cache": "lm/test_shared_prefix",
    "recipes/inputs/chat": "recipes/test_prompted_checkpoint",
    "recipes/inputs/served": "recipes/test_predict and test_prompted_served",
    "recipes/outputs/prompt_text": "recipes/test_print_prompt",
    "recipes/outputs/recommended": "recipes/test_load and test_prompted_served",
    "recipes/tower_served": "recipes/test_predict and test_latency",
    "recipes/trained_prompts": "recipes/test_prompted_served",
    "data/layer": "data/raw/test_next_command",
    "data/number_scale": "data/writing/test_like",
    "data/raw/iso_times": "data/raw/test_times",
    "data/writing/vocabularies": "data/writing/test_like",
    "program/serve": "service/test_service",
    "recipes/inputs/asked_histories": "recipes/test_recommending_many",
    "recipes/inputs/new_vectors": "recipes/test_known_items",
    "recipes/inputs/row_ids": "recipes/inputs/test_starting",
    "recipes/inputs/shown_items": "recipes/test_recommending_many",
    "recipes/outputs/added_items": "recipes/test_known_items",
    "recipes/outputs/recommendations": "recipes/test_recommending_many",
    "recipes/ranked_histories": "recipes/test_recommending_many",
    "service/answers": "service/test_service",
    "service/gathering": "service/test_service",
    "service/http": "service/test_service",
    "service/requests": "service/test_service",
    "settings/init_from": "recipes/inputs/test_starting",
    "recipes/trained_recommender": "recipes/test_load",
    "scorers/answer_pages": "scorers/test_yes_no",
    "scorers/top_answers": "recipes/test_prompted_served",
}


@cache
def modules() -> set[str]:
    """Every module, by the path of its tests: ``data/store`` of legorec, ``process/mind``, ``worker``."""
    library = [file.relative_to(ROOT / "legorec") for file in (ROOT / "legorec").rglob("*.py")]
    scripts = [file.relative_to(ROOT) for file in [*(ROOT / "process").glob("*.py"), ROOT / "worker.py"]]
    return {file.with_suffix("").as_posix() for file in [*library, *scripts]}


@cache
def subjects() -> set[str]:
    """What a file may be named after: modules (``_penalty`` is ``penalty``) and packages as a whole."""
    packages = {Path(name).parent for name in modules() if name.endswith("/__init__")}
    return {named(name) for name in modules()} | {(package / package.name).as_posix() for package in packages}


def named(module: str) -> str:
    """The module without the underscore of what is private."""
    folder, _, name = module.rpartition("/")
    return f"{folder}/{name.lstrip('_')}".lstrip("/")


def files() -> list[Path]:
    """The test files that should mirror something."""
    every = [file.relative_to(ROOT / "tests") for file in sorted((ROOT / "tests").rglob("test_*.py"))]
    return [file for file in every if file.parts[0] not in CROSSING and file.name != Path(__file__).name]


def mirrored(file: Path) -> str | None:
    """What ``test_store_damaged.py`` is about: the longest name that it begins with, ``store``."""
    words = file.stem.removeprefix("test_").split("_")
    for length in range(len(words), 0, -1):
        subject = (file.parent / "_".join(words[:length])).as_posix()
        if subject in subjects():
            return subject
    return None


def test_every_file_is_named_after_what_it_tests():
    lost = [file.as_posix() for file in files() if mirrored(file) is None]
    assert not lost, f"no module is called so; rename or move to one of {CROSSING}: {lost}"


def test_every_module_has_a_file_or_is_held_elsewhere():
    found = {mirrored(file) for file in files()}
    bare = {name for name in modules() if named(name) not in found and not name.endswith("__init__")}
    bare = {name for name in bare if name.split("/")[0] not in BRICKS}
    assert sorted(bare - set(ELSEWHERE)) == [], "write tests, or say in ELSEWHERE what holds it"
    assert sorted(set(ELSEWHERE) - bare) == [], "is gone, or has a file: take it out of ELSEWHERE"


def test_every_crossing_folder_is_there_and_contributing_tells_of_it():
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(CROSSING)
    assert all((ROOT / "tests" / folder / "__init__.py").exists() for folder in CROSSING)


def test_support_holds_no_test_and_every_folder_is_a_package():
    assert not list((ROOT / "tests" / "support").rglob("test_*.py"))
    folders = {file.parent for file in (ROOT / "tests").rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []
