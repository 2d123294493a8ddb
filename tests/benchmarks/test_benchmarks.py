"""What the benchmarks count and calculate; their runs are `make toy`'s and `make parity`'s."""

import itertools
import json

import pytest

from benchmarks import cases, interconnect, machine, operations, rows, tables, timing, works
from fss_jax import methods
from fss_jax.reports import model_summary


def test_calls_are_timed_in_turn_after_a_warm_up():
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    found = timing.in_turn(calls, repeats=4, warm_up=3)
    assert order == ["a", "b"] * 7
    assert [len(t.seconds) for t in found.values()] == [4, 4]


def test_a_row_over_its_budget_still_has_three_rounds(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    found = timing.in_turn({"slow": lambda: None}, repeats=50, budget=0.5)
    assert len(found["slow"].seconds) == 3


def test_ratios_of_medians_of_the_best_and_of_each_round():
    slow, fast = timing.Timing((2.0, 4.0, 9.0)), timing.Timing((1.0, 2.0, 3.0))
    found = timing.ratio(slow, fast)
    assert found == {"of_medians": 2.0, "of_best": 2.0, "of_cpu": None, "rounds": [2.0, 3.0]}
    assert slow.facts()["quartiles_s"] == (3.0, 6.5)


def test_a_switch_is_compared_by_the_time_of_an_episode():
    """Eight steps of two episodes in 4 s, where one step of two takes 1 s, are twice as fast."""
    scan = works.Work(None, None, 0.0, episodes=16, images=0)
    usual = works.Work(None, None, 0.0, episodes=2, images=0)
    found = works.beside_usual(scan, timing.Timing((4.0,) * 3), usual, timing.Timing((1.0,) * 3))
    assert found["usual_s_per_episode"] == 0.5
    assert found["speedup_of_switch"]["of_medians"] == 2.0


# performance.md: billions of MACs of the support and of one query.
COUNTED = {
    ("oslsm/release", 1): (15.474, 207.3),
    ("oslsm/paper", 1): (15.474, 180.9),
    ("oslsm/release", 5): (5 * 15.474, 207.3),
    ("relation/release", 5): (5 * 15.376, 15.376 + 12.373),
}


@pytest.mark.slow
@pytest.mark.parametrize("name, shots", list(COUNTED))
def test_an_episode_costs_what_performance_md_counts(name, shots):
    config = cases.get_config(name, shots=shots)
    episode = model_summary.episode_shapes(
        shots=shots, queries=1, support_size=config.support_size, query_size=config.query_size
    )
    model = methods.build_from(config)
    halves = model_summary.macs_of_halves(
        model, model_summary.variable_shapes(model, episode), episode
    )
    for found, expected in zip(halves, COUNTED[name, shots], strict=True):
        assert found / 1e9 == pytest.approx(expected, rel=2e-3)


def test_a_case_can_be_made_small_and_an_unknown_one_is_named():
    config = cases.get_config("relation/release", width=0.25, size=64, dtype="bfloat16")
    assert (config.support_size, config.query_size, config.canvas) == (64, 64, 64)
    assert (config.shots, config.model.width, config.dtype) == (5, 0.25, "bfloat16")
    assert config.model.batch_norm == "running"
    oslsm = cases.get_config("oslsm/release", shots=1, size=96)
    assert (oslsm.support_size, oslsm.query_size) == (224, 96)  # its classifier is made for 224
    assert cases.get_config("oslsm/release").query_size == 500
    changed = cases.get_config("panet/vgg16", changes={"batch": 3, "model.align": 0.5})
    assert (changed.batch, changed.model.align) == (3, 0.5)
    with pytest.raises(ValueError, match="did you mean 'oslsm/"):
        cases.get_config("oslsm/relaese")
    with pytest.raises(ValueError, match="unknown setting 'bach': did you mean 'batch'"):
        cases.get_config("oslsm/release", changes={"bach": 3})


def test_a_row_says_what_it_is_and_comes_back_from_its_file():
    row = rows.Row(
        "oslsm/release", "train", 1, 8, "bfloat16", changes=(("model.blocks", ((1, 8),)),)
    )
    assert rows.from_facts(json.loads(json.dumps(row.facts())) | {"median_s": 1.0}) == row
    assert row.rate == "bfloat16" and "model.blocks" in str(row)
    assert rows.Row("a/b", "infer", precision="tensorfloat32").rate == "tensorfloat32"


def test_an_all_reduce_moves_twice_the_gradient_less_each_device_s_share():
    assert interconnect.all_reduce_seconds(1e9, 1) == 0
    inside = interconnect.all_reduce_seconds(9e9, 2)
    assert inside == pytest.approx(9e9 / interconnect.NVLINK + 2 * interconnect.LATENCY)
    between = interconnect.all_reduce_seconds(1e9, 16)
    assert between == pytest.approx(
        2 * 15 / 16 * 1e9 / interconnect.NETWORK + 30 * interconnect.LATENCY
    )


@pytest.mark.slow
def test_efficiency_falls_with_devices_and_rises_with_the_batch():
    small, large = (interconnect.calculate("relation/release", batch) for batch in (1, 8))
    assert [row["devices"] for row in small] == list(interconnect.COUNTS)
    assert small[0]["efficiency"] == 1
    assert all(a["efficiency"] > b["efficiency"] for a, b in itertools.pairwise(small))
    assert all(a["efficiency"] >= b["efficiency"] for a, b in zip(large, small, strict=True))
    assert small[0]["gradient_bytes"] == 4 * 32_833_025  # performance.md's parameters


@pytest.mark.parametrize(
    "name, origin, kind",
    [
        ("fusion.1", "jit(step)/jvp(OSLSM)/conv1_1/conv_general_dilated", "convolutions, forward"),
        (
            "conv.2",
            "jit(step)/transpose(jvp(OSLSM))/conv_general_dilated",
            "convolutions, backward",
        ),
        ("dot", "jit(step)/transpose(jvp(OSLSM))/fc6/dot_general", "products, backward"),
        ("copy.3", "jit(step)/jvp(OSLSM)/conv_general_dilated", "transposes and copies"),
        ("fusion", "jit(step)/optimizer/mul", "optimizer"),
        ("dot.7", "jit(step)/episode/vmap/dot_general", "gather and warp"),
        ("fusion.9", "jit(step)/jvp(OSLSM)/max", "elementwise, pooling, normalization, forward"),
    ],
)
def test_operations_are_counted_by_where_they_come_from(name, origin, kind):
    assert operations.kind(name, origin) == kind


def test_a_table_is_saved_with_its_command_device_and_date(tmp_path):
    facts = machine.facts()
    text = tables.save(tmp_path / "x", facts, "Title", tables.markdown(["a", "b"], [["1", "2"]]))
    assert (tmp_path / "x.md").read_text() == text
    assert "| a | b |\n| --- | --- |\n| 1 | 2 |" in text
    assert facts["date"] in text and facts["command"] in text and "load average" in text
    assert facts["instructions"] in text
    assert (tmp_path / "x.json").is_file()
