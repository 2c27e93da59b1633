"""Configuration files that ask for something else than meant (codes of the list of faults)."""

import json

import pytest

PLAIN = """\
data:
  counts: counts.fits
  psf: psf.fits
method:
  name: rl
iterations: 3
"""


@pytest.fixture
def configured(files):
    """Write run.yaml with some text replaced, beside good counts and PSF."""
    files.observation()

    def write(old="", new=""):
        assert old in PLAIN
        files.text("run.yaml", PLAIN.replace(old, new, 1) if old else PLAIN + new)

    return write


def test_Y01_unknown_key(skyfold, configured):
    configured("  name: rl\n", '  name: rl\n  smothing: {fwhm: "2 pix"}\n')
    says = ("run.yaml:6: unknown key 'smothing' in method", "Did you mean 'smoothing'?")
    skyfold.refuses(2, "run run.yaml -o out", says=says)


@pytest.mark.parametrize(
    ("old", "new", "place", "near"),
    [
        ("iterations: 3", "iteration: 3", "run.yaml:6: unknown key 'iteration'", "'iterations'"),
        ("  psf: psf.fits", "  pfs: psf.fits", "run.yaml:3: unknown key 'pfs'", "'psf'"),
        ("name: rl", "name: rll", "run.yaml:5", "'rl'"),
        ("", "stop: {delta_loglikelihood: 1}\n", "run.yaml:7", "'delta_log_likelihood'"),
        ("", "data2: {}\n", "run.yaml:7: unknown key 'data2'", "'data'"),
        ("name: rl", "acceleration: {maxmum: 3}", "run.yaml:5: unknown key 'maxmum'", "'maximum'"),
    ],
    ids=lambda text: f"Y01-{text.split()[0].strip(':')}" if text.startswith(("it", " ")) else None,
)
def test_unknown_names(skyfold, configured, old, new, place, near):
    configured(old, new)
    skyfold.refuses(2, "run run.yaml -o out", says=(place, f"Did you mean {near}?"))


def test_Y01_unknown_flag(skyfold, files):
    files.observation()
    says = ("unknown flag --exposur", "Did you mean '--exposure'?")
    skyfold.refuses(2, "run counts.fits --psf psf.fits --exposur x.fits", says=says)
    says = ("--set method.smoothin", "unknown key 'smoothin'", "Did you mean 'smoothing'?")
    skyfold.refuses(2, "run counts.fits --psf psf.fits --set method.smoothin=1", says=says)
    skyfold.refuses(2, "run counts.fits --psf psf.fits --set iterations", says=("KEY=VALUE",))


def test_Y02_key_of_another_release(skyfold, configured):
    configured("name: rl", "acceleration: {alpha_max: 7}")
    says = ("run.yaml:5", "alpha_max is the old name of maximum (value 7 used)")
    skyfold.accepts("check run.yaml", says=says)
    configured("name: rl", "acceleration: {alpha_max: 7, maximum: 8}")
    says = ("run.yaml:5", "alpha_max", "old name of 'maximum'", "keep one")
    skyfold.refuses(2, "run run.yaml -o out2", says=says)


def test_Y03_numbers_with_exponents(skyfold, configured, files):
    configured("", "stop: {delta_log_likelihood: 1e-4}\nseed: 1e2\n")
    skyfold.accepts("run run.yaml -o out")
    config = json.loads((files.folder / "out" / "manifest.json").read_text())["config"]
    assert config["stop"] == {"delta_log_likelihood": 1e-4}
    assert config["seed"] == 100


def test_Y04_duplicate_key(skyfold, configured):
    configured("", "seed: 1\niterations: 5\n")
    says = ("run.yaml:8", "'iterations' appears twice, first in line 6")
    skyfold.refuses(2, "run run.yaml -o out", says=says)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  name: rl", "\tname: rl", ("run.yaml:5:1", "a tab", "\tname: rl", "^", "spaces")),
        ("  name: rl", "   name: rl\n  seed: 1", ("run.yaml:6:3", "  seed: 1", "indentation")),
        ("  psf: psf.fits", "  psf: a: b", ("run.yaml:3:9", "  psf: a: b", "^", "quotes")),
        ("name: rl", "name: [rl", ("run.yaml:5", "bracket is not closed")),
        ("data:", "data", ("run.yaml:2:9", "colon missing")),
    ],
    ids=["Y05-tab", "Y05-nesting", "Y05-colon", "Y05-bracket", "Y05-no-colon"],
)
def test_broken_yaml(skyfold, configured, old, new, says):
    configured(old, new)
    skyfold.refuses(2, "run run.yaml -o out", says=says)


def test_Y05_values_where_keys_are_expected(skyfold, files):
    for text, says in (("- a\n- b\n", "keys with values"), ("", "empty"), ("42\n", "keys with")):
        files.text("run.yaml", text)
        skyfold.refuses(2, "run run.yaml -o out", says=("run.yaml", says))


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!binary", "!mine"])
def test_Y06_tags_that_run_code(skyfold, configured, files, tag):
    configured("", f'seed: {tag} ["touch harmed"]\n')
    what = "tags that run code" if "python" in tag else tag
    skyfold.refuses(2, "run run.yaml -o out", says=("run.yaml:7", what))
    assert not (files.folder / "harmed").exists()


def test_Y07_alias_bomb(skyfold, files):
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    files.text("run.yaml", "\n".join(levels) + "\n")
    skyfold.refuses(2, "run run.yaml -o out", says=("run.yaml", "more than 10 000", "aliases"))


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ("output: no", None),
        ("output: false", ("expected text", 'got false (write "false", in quotes)')),
        ("checkpoint: 12:30", ('"10 min"', '"12:30"')),
        ("seed: yes", ("expected", '"yes"')),
        ("seed: '3'", ("expected", '"3"', "write 3")),
        ("seed: true", ("got true",)),
        ("iterations: 2.5", ("got 2.5",)),
    ],
    ids=lambda value: f"Y08-{value.replace(' ', '')}" if isinstance(value, str) else None,
)
def test_strict_types(skyfold, configured, files, new, says):
    """An unquoted no is text, as in YAML 1.2; a time of day is no number."""
    configured("iterations: 3", new if "iterations" in new else f"iterations: 3\n{new}")
    if says is None:
        skyfold.accepts("run run.yaml")
        assert (files.folder / "no" / "result.fits").exists()
    else:
        line = 6 if "iterations" in new else 7
        skyfold.refuses(2, "run run.yaml", says=(f"run.yaml:{line}", new.split(":")[0], *says))


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ("iterations: -5", ("iterations", "at least 0", "-5")),
        ("seed: -1", ("seed", "at least 0", "-1")),
        ("method: {smoothing: {fwhm: 0 pix}}", ("method.smoothing.fwhm", "greater than 0")),
        ("method: {smoothing: {fwhm: -1 pix}}", ("method.smoothing.fwhm", "greater than 0")),
        ("method: {acceleration: {maximum: .nan}}", ("method.acceleration.maximum", "NaN")),
        ("method: {acceleration: {maximum: 0.5}}", ("method.acceleration.maximum", "at least 1")),
        ("method: {acceleration: {maximum: .inf}}", ("method.acceleration.maximum", "Infinity")),
        ("method: {damping: 0}", ("method.damping", "greater than 0")),
        ("method: {floor: -1}", ("method.floor", "at least 0")),
        ("stop: {delta_log_likelihood: -1}", ("stop.delta_log_likelihood", "-1")),
        ("stop: {wall_time: 0 s}", ("stop.wall_time", "greater than 0")),
        ("checkpoint: 0 s", ("checkpoint", "greater than 0")),
        ("method: {name: [rl]}", ("method.name: expected a name",)),
        ("format: 2", ("format", "2")),
    ],
    ids=lambda value: f"Y09-{value}" if isinstance(value, str) else None,
)
def test_out_of_range(skyfold, files, new, says):
    files.text("run.yaml", f"data: {{counts: counts.fits, psf: psf.fits}}\n{new}\n")
    files.observation()
    skyfold.refuses(2, "run run.yaml -o out", says=("run.yaml:2", *says))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--mask-invert", ("--mask-invert", "--mask")),
        ("--fit-background", ("--fit-background", "--background")),
        ("--align reproject", ("--align reproject", "--exposure")),
        ("--psf-keep --psf-resample", ("--psf-keep", "--psf-resample")),
        ("--psf 'gauss:2 pix'", ("--psf is given twice",)),
        ("--seed 1 --seed 2", ("--seed is given twice",)),
        ("--output other", ("--output is given twice",)),
        ("--stop wall_time='1 s' --stop wall_time='2 s'", ("--stop wall_time is given twice",)),
        ("--set seed=1 --set seed=2", ("--set seed is given twice",)),
        ("--hyper 1 0.02 1", ("0.02: not a flag; a list is written with commas",)),
        ("--method lira --hyper (1,0.02,1)", ("hyper: expected a list of 3", "write [1,0.02,1]")),
        ("--background bg.fits --background 3", ("--background is given twice", "a name, as in")),
        ("--background a=bg.fits --background 3", ("--background and --background.a contradict",)),
        ("counts.fits", ("counts.fits: not a flag",)),
        ("--boundary same --margin 3", ("margin", "boundary")),
        ("--dry-run --overwrite -q --json", ("--json",)),
    ],
    ids=lambda value: f"Y10-{value}" if isinstance(value, str) else None,
)
def test_contradictions(skyfold, files, flags, says):
    files.observation()
    skyfold.refuses(2, f"run counts.fits --psf psf.fits -o out {flags}", says=says)


def test_Y10_a_method_in_place_of_another_takes_its_options_along(skyfold, configured):
    configured("name: rl", "prior: {tsv: 0.1}")
    says = ("run.yaml:4: --method lira replaces method map and its options: prior",)
    skyfold.accepts("run run.yaml --method lira --iterations auto --dry-run", says=says)
    kept = skyfold.accepts("run run.yaml --method map --dry-run")
    assert not kept.err


def test_lists_without_brackets(skyfold, files):
    files.observation()
    line = "run counts.fits --psf psf.fits --method lira --hyper 1,0.02,1 --burn 3 --draws 5 -o out"
    skyfold.accepts(f"{line} --chains 1")
    config = json.loads((files.folder / "out" / "manifest.json").read_text())["config"]
    assert config["method"]["hyper"] == [1, 0.02, 1]


def test_Y10_the_same_counts_twice(skyfold, files):
    files.observation()
    says = ("counts.fits is given twice", "count double")
    skyfold.refuses(2, "run counts.fits counts.fits --psf psf.fits", says=says)


def test_Y10_options_of_a_psf_image_for_a_psf_in_words(skyfold, files):
    files.observation()
    line = "run counts.fits --psf 'gauss:2 pix' --psf-norm keep -o out"
    skyfold.refuses(2, line, says=("--psf-norm", "gauss:2 pix"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data: []", "no data"),
        ("data:", "run.yaml:1: data: expected a list"),
        ("data: [3]", "run.yaml:1: data: expected a list"),
        ("data: {}", "run.yaml:1: data: 'counts' is missing"),
        ("data: {counts: 3, psf: psf.fits}", "run.yaml:1: data.counts: expected a file name"),
        ("data: {demo: galaxy, sed: 1}", "run.yaml:1: unknown key 'sed' in data. Did you mean"),
        ('data: {counts: "a\\0", psf: psf.fits}', "cannot be the name of a file"),
        ("data: {counts: counts.fits, instrument: [image]}", "data.instrument: expected a name"),
        ("data: {demo: galaxy, seed: x}", "run.yaml:1: data.seed: expected a whole number"),
    ],
)
def test_data_sections_that_are_none(skyfold, files, text, says):
    files.observation()
    files.text("run.yaml", f"{text}\n")
    skyfold.refuses(2, "run run.yaml -o out", says=(says,))


def test_Y10_configuration_and_files(skyfold, configured):
    configured()
    skyfold.refuses(2, "run run.yaml counts.fits", says=("run.yaml", "counts.fits", "leave out"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("run", "give a file of counts"),
        ("run missing.fits", "missing.fits"),
        ("frobnicate", "frobnicate"),
        ("run counts.fits", "--psf"),
        ("run counts.fits --psf", "psf"),
        ("run counts.fits --psf gauss:2", "unit"),
        ("run counts.fits --psf psf.fits --method none", "no method named 'none'"),
        ("run counts.fits --psf psf.fits --instrument none", "no instrument named 'none'"),
        ("run counts.fits --psf psf.fits --iterations x", "--iterations"),
        ("demo none", "no demo named 'none'"),
        ("demo galaxy --iterations -1", "iterations"),
        ("resume nowhere", "nowhere holds no run"),
        ("report nowhere", "nowhere holds no run"),
        ("config explain method.smothing", "smoothing"),
        ("plugins info none", "none"),
        ("plugins new 9lives", "9lives"),
        ("data get none", "no data set named 'none'"),
    ],
    ids=lambda text: text,
)
def test_usage(skyfold, files, line, says):
    files.observation()
    code = 7 if "missing" in line else 2
    skyfold.refuses(code, line, says=(says,))
