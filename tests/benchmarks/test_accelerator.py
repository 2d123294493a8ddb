"""The measurement on accelerators: its plan, that a failing row is a line, and what travels."""

import argparse
import json

import numpy as np
import pytest

from benchmarks.accelerator import __main__ as accelerator
from benchmarks.accelerator import carry, forms, modes, parts, plan, report, training, worker
from benchmarks.rows import Row
from fss_jax import configs, methods
from fss_jax.configs import base
from fss_jax.methods.backbones import vit
from fss_jax.training import checks
from fss_jax.weights import exported

FACTS = {
    "device": "1 x a device", "versions": {"jax": "1"}, "date": "today", "cpus": 1,
    "load_average": 0.0, "matrix_rate": dict(plan.H100), "memory_bandwidth": 3e12,
    "device_bytes": 2**36,
}  # fmt: skip
SPEED = {
    "median_s": 1.0, "best_s": 1.0, "quartiles_s": [1.0, 1.0], "episodes_per_second": 1.0,
    "images_per_second": 1.0, "compile_seconds": 1.0,
}  # fmt: skip


def test_the_plan_has_the_papers_networks_first_and_every_row_has_a_mode():
    wanted = list(plan.rows())
    assert [row.case for row in wanted[:6]] == ["oslsm/release"] * 3 + ["relation/release"] * 3
    assert {row.mode for row in wanted} <= set(modes.MODES)
    assert {row.mode for row in wanted} <= set(plan.COMPILING)
    assert len(set(wanted)) == len(wanted)
    methods = {row.case.partition("/")[0] for row in wanted}
    assert {"panet", "canet", "guided", "siamese", "nearest", "logistic", "finetune"} <= methods
    asked = {(row.shots, row.batch, row.rate) for row in wanted if row.case == "oslsm/release"}
    kinds = ("bfloat16", "tensorfloat32", "float32")
    assert {(1, batch, kind) for batch in (1, 8, 32, 64) for kind in kinds} <= asked
    assert {(5, batch, "bfloat16") for batch in (1, 8, 32, 64)} <= asked
    assert {row.mode for row in plan.toy_rows()} >= {"infer", "label", "exhaustive", "profile"}


@pytest.mark.slow
def test_the_plan_keeps_to_its_seconds_and_says_what_is_left():
    wanted = list(plan.rows())[:2]
    first = plan.seconds(wanted[0])
    budget = plan.START + plan.CLOSING + first + 1
    lines = plan.table(wanted, budget)
    assert [line.split()[0] for line in lines] == ["call", "1", "Call", "2", "Call"]
    assert "1 rows, 1 left" in lines[2] and "1 rows, 0 left" in lines[4]
    assert "No call of 20 s has time" in plan.table(wanted, 20.0)[1]
    # performance.md: 222.7 GMAC an episode of OSLSM, 1 MAC = 2 FLOP
    assert plan.bound(wanted[0]) == pytest.approx(8 * 2 * 222.7e9 / 790e12, rel=2e-3)


def test_a_call_takes_the_rows_that_still_fit_and_the_next_one_the_others():
    wanted = list(plan.rows())[:25]  # of two methods: each is traced to be counted
    planned, never = plan.calls(wanted, 540.0)
    assert not never and sorted(map(str, wanted)) == sorted(str(r) for c in planned for _, r in c)
    for taken in planned:
        starts = [now for now, _ in taken]
        assert starts == sorted(starts) and starts[0] == plan.START
        assert starts[-1] + plan.seconds(taken[-1][1]) <= 540.0 - plan.CLOSING
    assert [row for _, row in planned[0]][:6] == wanted[:6]


def test_rows_are_chosen_by_what_describes_them():
    def chosen(*words):
        return accelerator.chosen(accelerator.flags().parse_args(words))

    assert {row.switch for row in chosen("--only", "scan,shard_map")} == {"scan", "shard_map"}
    (both,) = chosen("--only", "8 devices,scan", "--only", "shard_map", "--only", "oslsm/release")
    assert (both.case, both.devices, both.switch) == ("oslsm/release", 8, "shard_map")
    with pytest.raises(ValueError, match="no row is described by trian; expected some of"):
        chosen("--only", "trian")
    small = chosen("--toy", "--all")
    assert {row.switch for row in small} == {row.switch for row in plan.rows()}
    assert {row.case for row in small} == {row.case for row in plan.rows()}
    assert len(set(small)) == len(small) and max(row.batch for row in small) == 2


def test_small_rows_keep_to_what_a_backbone_takes():
    for row in plan.shrunk(plan.rows()):
        backbone = configs.get(row.case).model.get("backbone", "") if "/" in row.case else ""
        if backbone in vit.VARIANTS:
            assert row.width == 1 and row.size % vit.VARIANTS[backbone]().patch == 0


class Stub:
    """A worker whose answers are told."""

    script: list[dict]

    def __init__(self, given, xla_flags=""):
        self.xla_flags, self.alive = xla_flags, True

    def answer(self, seconds):
        return FACTS

    def ask(self, row, seconds):
        found = Stub.script.pop(0)
        self.alive = found is not None
        return found or {"failed": "the process ended with -9: Killed"}

    def stop(self):
        self.alive = False


@pytest.fixture
def run(tmp_path, monkeypatch):
    """(rows, answers, budget) -> the result, files beside; a batch of 3 seems to take long."""
    monkeypatch.setattr(accelerator, "Worker", Stub)
    monkeypatch.setattr(plan, "seconds", lambda row, *_: 1e6 if row.batch == 3 else 10.0)

    def run(rows, answers, budget=500.0):
        Stub.script = list(answers)
        given = accelerator.flags().parse_args(
            ["--budget", str(budget), "--out", str(tmp_path / "speed")]
        )
        return accelerator.run(rows, given, accelerator.time.monotonic())

    return run


ROWS = [Row("a/b", "infer", batch=batch) for batch in (1, 2, 3)]


def test_a_row_that_kills_its_process_is_a_line_and_the_others_go_on(run, tmp_path):
    result = run(ROWS, [SPEED, None, SPEED], budget=1e9)
    assert ["failed" in row for row in result["rows"]] == [False, True, False]
    text = (tmp_path / "speed.md").read_text()
    assert "the process ended with -9: Killed" in text and "every row of the plan was tried" in text


def test_a_second_call_goes_on_with_what_failed_or_was_left_out(run, tmp_path):
    result = run(ROWS, [SPEED, {"failed": "MemoryError: no room"}])
    assert ["failed" in row for row in result["rows"]] == [False, True]
    assert len(result["left_out"]) == 1 and "batch 3" in result["left_out"][0]
    again = run(ROWS, [SPEED] * 2, budget=1e9)
    assert not any("failed" in row for row in again["rows"]) and len(again["rows"]) == 3
    assert json.loads((tmp_path / "speed.json").read_text())["left_out"] == []


def test_rows_for_more_devices_than_there_are_are_left_out(run):
    result = run([Row("a/b", "train", devices=8)], [])
    assert result["left_out"] == ["a/b, train, batch 1, float32, 8 devices: 1 devices are here"]


def test_whatever_fails_in_a_row_is_one_line():
    setting = modes.Setting(dict(plan.H100), 1, 1.0)
    found = worker.answer(Row("no/such", "infer").facts(), setting)
    assert found["failed"].startswith("ValueError: no config 'no/such'")
    assert "\n" not in found["failed"]
    failed = Row("x", "torch infer", 1, 1).facts() | {"failed": "ModuleNotFoundError: torch"}
    profile = Row("x", "profile", 1, 1).facts() | {"failed": "OSError: full"}
    result = FACTS | {"rows": [failed, profile], "left_out": [], "budget_s": 1.0}
    assert "ModuleNotFoundError: torch" in "\n".join(report.table(result))


@pytest.mark.parametrize("name", forms.FORMS)
def test_forms_of_a_layer_agree(name):
    """Those that take the same arrays; zero channels and another layout are other arrays."""
    found = forms.FORMS[name](2, 8, "float32")
    (first, arrays), *others = found.values()
    one = np.asarray(first(*arrays))
    for run, same in others:
        if all(a.shape == b.shape for a, b in zip(arrays, same, strict=True)):
            np.testing.assert_allclose(run(*same), one, rtol=1e-4, atol=1e-3)


def test_parameters_travel_in_parts_and_come_back_as_one_file(tmp_path):
    rng = np.random.default_rng(0)
    params = {"conv": {"kernel": rng.standard_normal((3, 3, 64, 128)).astype(np.float32)},
              "scale": np.float32(2.0) * np.ones(5, np.float32)}  # fmt: skip
    variables = {"params": params, "hash": {"index": np.arange(7, dtype=np.int32)}}
    most = 100 * 1024
    paths = parts.split(variables, tmp_path / "model", most, preprocessing="unit")
    assert len(paths) > 1 and all(path.stat().st_size <= most for path in paths)
    parts.join(tmp_path / "model", tmp_path / "model.safetensors")
    back = exported.load(tmp_path / "model.safetensors")
    assert back.preprocessing == "unit"
    kernel = back.leaves["params/conv/kernel"]
    np.testing.assert_array_equal(kernel, params["conv"]["kernel"].astype(np.float16))
    np.testing.assert_array_equal(back.leaves["hash/index"], variables["hash"]["index"])
    paths[1].unlink()
    with pytest.raises(ValueError, match="parts of"):
        parts.join(tmp_path / "model", tmp_path / "other.safetensors")


def test_every_package_that_travels_is_one_that_ci_pins():
    assert set(map(str.lower, carry.PACKAGES)) <= set(carry.pinned())


@pytest.mark.parametrize("toy", [False, True])
@pytest.mark.parametrize("name", training.TRAININGS)
def test_the_trainings_are_configs_that_may_train(name, toy, tmp_path):
    given = argparse.Namespace(
        toy=toy, work=tmp_path, vgg16=tmp_path / "none", earlier=None, ship=name
    )
    config = training.get_config(name, given)
    assert set(config) == set(base.get_config())
    checks.check(config)
    methods.build_from(config)


def test_a_training_goes_on_from_parameters_that_travelled(tmp_path):
    journal = [{"step": step, "loss": 1.0} for step in (9_000, 21_000, 21_100)]
    known = {"shipped_step": 21_000, "trainings": {"relation_release": {"curve": journal}}}
    (tmp_path / "out.json").write_text(json.dumps(known))
    given = argparse.Namespace(toy=False, work=tmp_path, vgg16=tmp_path / "none",
                               earlier=tmp_path / "out", ship="relation_release")  # fmt: skip
    usual = training.get_config("relation_paper", given)
    config = training.get_config("relation_release", given)
    assert usual.init == "" and config.init == f"fss_jax:{tmp_path}/earlier.safetensors"
    assert config.lr == usual.lr / 4 and config.steps == usual.steps - 21_000  # halved twice
    assert training.earlier(given) == {"steps": 21_000, "curve": journal[:2]}
    checks.check(config)
    (tmp_path / "out.json").write_text(json.dumps({"trainings": {}}))
    with pytest.raises(ValueError, match="has no parameters of relation_release"):
        training.earlier(given)
