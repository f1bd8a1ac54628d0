"""Every adapter's command is one that the official script takes: by the option lists, and by a checkout's own parser."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import EvalkitError
from evalkit.generator import GeneratorSetup, configured_method
from evalkit.methods.official import NAMES, OF_THE_PAPER, get_system
from evalkit.methods.official.layout import Layout, clean_prompt
from evalkit.methods.official.option_list import FOLDER, OptionError, check, option_list, parser_of
from evalkit.methods.official.own_parser import own_parser, parse_by_checkout
from evalkit.methods.official.place import read_place
from evalkit.methods.official.system import Place
from evalkit.methods.official.words import changed, fill, script_words
from tests.evalkit.evalkit_bench import ROOT
from tests.evalkit.fake_checkouts import Fake, make_fake, make_inputs

CONFIGURED = os.environ.get("EVALKIT_SETTINGS", str(ROOT / "evalkit.toml"))
LISTS = Path(os.environ.get("BASELINE_CLI_DIR", ROOT.parent / "shared/design/baseline_cli"))


def place_of(fake: Fake, **more: Any) -> Place:
    found = read_place(fake.system, fake.setup(*(f"{name}={value}" for name, value in more.items())))
    assert found is not None
    return found


def words_of(fake: Fake, tmp_path: Path, **more: Any) -> list[str]:
    """What the script would be given for one landscape sample of 10 s."""
    place = place_of(fake, **more)
    layout = Layout(fake.system, fake.system.entry(place.entry), place, 42, tmp_path / "scratch")
    laid = layout.lay(0, make_inputs(tmp_path / "in", seconds=10.0, size=(720, 400)))
    return script_words(fake.system.entry(place.entry), place, layout.write([laid]))


CASES = [
    (name, entry, gpus)
    for name in NAMES
    for entry in get_system(name).entries
    for gpus in sorted({get_system(name).needs.least_gpus, get_system(name).needs.most_gpus})
    if not (name == "live_avatar_official" and gpus != (1 if entry == "one_gpu" else 5))
]


@pytest.mark.parametrize(("name", "entry", "gpus"), CASES)
def test_every_command_parses_and_gives_what_the_script_needs(name: str, entry: str, gpus: int, tmp_path: Path) -> None:
    fake = make_fake(name, tmp_path / "home")
    words = words_of(fake, tmp_path, entry=entry, gpus=gpus)
    check(fake.system.options, fake.system.entry(entry).script, words)
    assert not [word for word in words if "{" in word]


DOCUMENTED = [
    (name, entry["entry_script"], index)
    for name in OF_THE_PAPER
    for index, entry in enumerate(option_list(get_system(name).options)["entries"])
    if "sample_argv" in entry
]


@pytest.mark.parametrize(("name", "script", "index"), DOCUMENTED)
def test_every_command_says_what_the_documented_one_says(name: str, script: str, index: int, tmp_path: Path) -> None:
    """Options of the documented line whose values are constants have the same value here."""
    fake = make_fake(name, tmp_path / "home")
    entry = next(key for key, one in fake.system.entries.items() if one.script == script)
    sample = option_list(fake.system.options)["entries"][index]["sample_argv"]
    given = parser_of(fake.system.options, script).parse_args(sample)
    words = words_of(fake, tmp_path, entry=entry, gpus=fake.system.needs.most_gpus)
    ours = parser_of(fake.system.options, script).parse_args(words)
    for key, value in vars(given).items():
        is_free = "{" in str(value) or key in ("seed", "base_seed", "max_frame_num", "hparams")
        if value is not None and not is_free:
            assert getattr(ours, key) == value, key


def test_omniavatars_values_are_the_documented_ones(tmp_path: Path) -> None:
    words = words_of(make_fake("omniavatar", tmp_path / "home"), tmp_path, gpus=8)
    (documented,) = [word for word in option_list("omniavatar")["entries"][0]["sample_argv"] if word.startswith("--hp=")]
    assert documented in words, "--hp is an abbreviation that the parser takes"


def test_a_missing_option_is_found_though_the_parser_does_not_insist() -> None:
    with pytest.raises(OptionError, match="--seed is missing: the script needs it"):
        check("stableavatar", "inference.py", [
            "--pretrained_model_name_or_path", "x", "--transformer_path", "x", "--pretrained_wav2vec_path", "x",
            "--config_path", "x", "--output_dir", "x", "--validation_reference_path", "x",
            "--validation_driven_audio_path", "x", "--sample_steps", "50",
        ])  # fmt: skip


def test_unknown_options_and_wrong_values_are_refused() -> None:
    with pytest.raises(OptionError, match="unrecognized arguments: --prompt"):
        check("ditto", "inference.py", ["--audio_path", "a", "--source_path", "i", "--output_path", "o", "--prompt", "p"])
    with pytest.raises(OptionError, match="invalid int value"):
        parser_of("wan_s2v", "generate.py").parse_args(["--base_seed", "seven"])


@pytest.mark.skipif(not LISTS.is_dir(), reason=f"no folder of option lists at BASELINE_CLI_DIR ({LISTS})")
@pytest.mark.parametrize("name", sorted({get_system(name).options for name in NAMES}))
def test_the_shipped_option_lists_are_those_read_from_the_sources(name: str) -> None:
    source = json.loads((LISTS / f"{name}.json").read_text())
    ours = option_list(name)
    assert ours["commit"] == source["commit"]
    assert ours["effective_required"] == source.get("effective_required", [])
    entries = {one["entry_script"]: one["options"] for one in ours["entries"]}
    for entry in source["entries"]:
        assert entries[entry["entry_script"]] == entry["options"]


def as_source(name: str, script: str) -> str:
    """A script that builds its parser as projects do, with names that only the project knows."""
    entry = next(one for one in option_list(name)["entries"] if one["entry_script"] == script)
    lines = ["import argparse", "import nowhere", "def _parse_args():"]
    lines.append("    parser = argparse.ArgumentParser(description=D)")
    for option in entry["options"]:
        more = [f"dest={option['dest']!r}", f"required={bool(option.get('required'))}"]
        if option["action"] == "store_true":
            more.append("action='store_true'")
        else:
            more += [f"type={option['type']}", "default=CONFIG.value"]
            more += [f"nargs={option['nargs']!r}"] if option.get("nargs") else []
            more += [f"choices={option['choices']!r}"] if option.get("choices") else []
        lines.append(f"    parser.add_argument({', '.join(map(repr, option['flags']))}, {', '.join(more)})")
    return "\n".join([*lines, "    return parser.parse_args()"])


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_a_checkouts_own_parser_is_read_from_its_source(name: str, tmp_path: Path) -> None:
    fake = make_fake(name, tmp_path / "home")
    entry = next(iter(fake.system.entries.values()))
    source = tmp_path / "source.py"
    source.write_text(as_source(fake.system.options, entry.script))
    external = option_list(fake.system.options).get("external_options", {}).get("options", [])
    words = words_of(fake, tmp_path, gpus=fake.system.needs.most_gpus)
    parsed = parse_by_checkout(source, words, external)
    ours = check(fake.system.options, entry.script, words)
    given = {word.lstrip("-").partition("=")[0].replace("-", "_") for word in words if word.startswith("--")} - {"hp"}
    for key in given:
        assert str(getattr(parsed, key)) == str(getattr(ours, key)), key
    with pytest.raises(OptionError, match="unrecognized arguments"):
        parse_by_checkout(source, [*words, "--no_such_option"], external)


def test_a_file_without_a_parser_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("print('hello')\n")
    with pytest.raises(OptionError, match="makes no argparse parser"):
        own_parser(tmp_path / "x.py")


@pytest.mark.parametrize("name", NAMES)
def test_configured_checkouts_take_our_command_by_their_own_parser(name: str, tmp_path: Path) -> None:
    """Opt-in: runs for every system that evalkit.toml (or the file named by EVALKIT_SETTINGS) names."""
    if not Path(CONFIGURED).is_file():
        pytest.skip(f"no settings at {CONFIGURED}: no checkout to ask")
    from evalkit.methods.official.readiness import own_parser_problem
    from evalkit.methods.official.words import example_words

    system = get_system(name)
    place = read_place(system, GeneratorSetup(settings=CONFIGURED))
    if place is None:
        pytest.skip(f"{name} is not set up in {CONFIGURED}")
    assert own_parser_problem(system, place, example_words(system.entry(place.entry), place)) == ""


# ------------------------------------------------------------------------------------------------- words and settings


def test_fillings_are_not_looked_into_again() -> None:
    assert fill("--prompt={prompt}", {"prompt": "a {seed} b"}) == "--prompt=a {seed} b"
    with pytest.raises(EvalkitError, match=r"\{nothing\} .* has no filling; known: seed"):
        fill("{nothing}", {"seed": "1"})


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"--steps": "9"}, ["--base", "a", "b", "--steps", "9", "--flag", "--hp=x=1"]),
        ({"--flag": False}, ["--base", "a", "b", "--steps", "50", "--hp=x=1"]),
        ({"--base": False}, ["--steps", "50", "--flag", "--hp=x=1"]),
        ({"--fp8": True}, ["--base", "a", "b", "--steps", "50", "--flag", "--hp=x=1", "--fp8"]),
        ({"--hp": "x=2"}, ["--base", "a", "b", "--steps", "50", "--flag", "--hp", "x=2"]),
    ],
)
def test_settings_replace_add_and_drop_options(options: dict[str, str | bool], wanted: list[str]) -> None:
    assert changed(["--base", "a", "b", "--steps", "50", "--flag", "--hp=x=1"], options) == wanted


def test_prompts_are_one_line_without_what_a_system_cannot_take() -> None:
    assert clean_prompt(" a\nman  @@@@ x/y ", {"@@": "@", "/": " "}) == "a man @ x y"


def test_eight_gpus_of_stableavatar_are_four_by_two(tmp_path: Path) -> None:
    words = words_of(make_fake("stableavatar", tmp_path / "home"), tmp_path, gpus=8)
    assert words[words.index("--ulysses_degree") + 1] == "4"
    assert words[words.index("--ring_degree") + 1] == "2"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("gpus=9",), "takes 1 to 8"),
        (("entry=ful",), "did you mean 'full'"),
        (("chekout=x",), "did you mean 'checkout'"),
    ],
)
def test_wrong_settings_name_their_fix(more: tuple[str, ...], message: str, tmp_path: Path) -> None:
    fake = make_fake("wan_s2v", tmp_path)
    with pytest.raises(EvalkitError, match=message):
        read_place(fake.system, fake.setup(*more))


def test_settings_come_from_a_file_whose_paths_start_at_it(tmp_path: Path) -> None:
    fake = make_fake("ditto", tmp_path)
    (tmp_path / "evalkit.toml").write_text(
        '[systems.ditto]\ncheckout = "checkout"\nweights = "weights/ditto"\npython = "./python"\nentry = "pytorch"\n'
        '[systems.ditto.options]\n"--cfg_pkl" = "other.pkl"\n'
    )
    setup = GeneratorSetup(settings=str(tmp_path / "evalkit.toml"))
    place = read_place(fake.system, setup)
    assert place is not None
    assert place.checkout == fake.checkout
    method = configured_method("ditto", setup)
    assert method.problem("nano") == ""
    identity = method.identity("nano")
    assert identity["entry"] == "pytorch"
    assert str(tmp_path) not in json.dumps(identity), "records travel; the place where they were made does not"


def test_identity_follows_weights_and_options_but_not_the_place(tmp_path: Path) -> None:
    one, other = make_fake("wan_s2v", tmp_path / "one"), make_fake("wan_s2v", tmp_path / "other")
    first = configured_method("wan_s2v", one.setup()).identity("nano")
    assert configured_method("wan_s2v", other.setup()).identity("nano") == first
    (other.weights / "Wan2.1_VAE.pth").write_text("other weights")
    changed_weights = configured_method("wan_s2v", other.setup()).identity("nano")
    assert changed_weights["weights"] != first["weights"]
    assert configured_method("wan_s2v", one.setup("gpus=8")).identity("nano") != first


def test_readiness_names_the_first_missing_thing_and_its_command(tmp_path: Path) -> None:
    method = configured_method("hallo3", GeneratorSetup())
    assert "python -m evalkit doctor table2 --methods hallo3" in method.problem("nano")
    fake = make_fake("hallo3", tmp_path)
    (fake.checkout / "hallo3/sample_video.py").unlink()
    problem = configured_method("hallo3", fake.setup()).problem("nano")
    assert "git clone https://github.com/fudan-generative-vision/hallo3" in problem
    fake = make_fake("hallo3", tmp_path / "again")
    (fake.checkout / "pretrained_models/hallo3/latest").rmdir()
    problem = configured_method("hallo3", fake.setup()).problem("nano")
    assert "hf download fudan-generative-ai/hallo3" in problem
    assert "lacks hallo3/latest" in problem


def test_every_list_that_ships_belongs_to_a_system() -> None:
    used = {get_system(name).options for name in NAMES}
    assert {file.stem for file in FOLDER.glob("*.json")} == used
