"""What was measured, what failed, and what was left out, as Markdown."""

from collections.abc import Mapping

from benchmarks import machine, tables, traces


def table(result: Mapping) -> list[str]:
    """All parts of a result."""
    rows = result["rows"]
    by_kind = {"speed": [], "torch": [], "forms": [], "profile": []}
    for row in rows:
        kind = "torch" if row["mode"].startswith("torch ") else row["mode"]
        by_kind[kind if kind in by_kind else "speed"].append(row)
    lines = [*device(result), ""]
    if by_kind["speed"]:
        lines += ["## Methods", "", *tables.episodes({**result, "rows": by_kind["speed"]}), ""]
    if switched := [row for row in by_kind["speed"] if "speedup_of_switch" in row]:
        lines += ["## In turn with the usual step", "", *switches(switched), ""]
    if by_kind["torch"]:
        lines += ["## Beside PyTorch", "", *beside_torch(by_kind["torch"]), ""]
    if by_kind["forms"]:
        lines += ["## Forms of a layer", "", *forms(by_kind["forms"]), ""]
    for row in by_kind["profile"]:
        lines += [f"## Profile: {row['case']}, batch {row['batch']}, {row['dtype']}", ""]
        lines += [row["failed"]] if "failed" in row else traces.table(row)
        lines += [""]
    lines += ["## Left out", ""]
    left = result["left_out"]
    if left:
        lines += [
            f"Of {result['budget_s']:g} seconds, {len(left)} rows. The same command goes on with those "
            "that wait for time.",
            "",
        ]
        lines += [f"- {row}" for row in left]
    else:
        lines += ["Nothing: every row of the plan was tried."]
    return lines


def device(result: Mapping) -> list[str]:
    """What the device reached in this run."""
    rates = [
        f"| matrix product, {k} | {v / 1e12:.4g} TFLOP/s |"
        for k, v in result["matrix_rate"].items()
    ]
    return [
        "| the device | measured |",
        "| --- | --- |",
        *rates,
        f"| memory, read and written | {result['memory_bandwidth'] / 1e9:.4g} GB/s |",
        f"| memory | {machine.gibibytes(result['device_bytes'])} GiB |",
    ]


def switches(rows: list[dict]) -> list[str]:
    """What each switch of a training step gains."""
    lines = []
    for row in rows:
        gain, own = row["speedup_of_switch"], 1 / row["episodes_per_second"]
        low, high = gain["rounds"]
        lines.append([
            row["case"], row["switch"], str(row["devices"]), str(row["batch"]),
            f"{1e3 * row['usual_s_per_episode']:.3g}", f"{1e3 * own:.3g}",
            f"{gain['of_medians']:.3f} ({low:.3f} to {high:.3f})",
            machine.gibibytes(row["temporary_bytes"] - row["usual_temporary_bytes"]),
        ])  # fmt: skip
    return [
        "Usual is one step a call by `jax.pmap`, its state donated, and waited for. Above 1, the "
        "switch is faster; in brackets the range over the rounds.",
        "",
        *tables.markdown(
            ["case", "switch", "devices", "batch each", "usual, ms an episode", "with it, ms an episode",
             "usual / with it", "temporary memory more, GiB"], lines,
        ),
    ]  # fmt: skip


def forms(rows: list[dict]) -> list[str]:
    """Milliseconds of each form."""
    lines = []
    for row in rows:
        if "failed" in row:
            lines.append([row["case"], row["dtype"], row["failed"], ""])
            continue
        for name, times in row["forms"].items():
            low, high = (1e3 * value for value in times["quartiles_s"])
            told = f"{1e3 * times['median_s']:.3g} ({low:.3g} to {high:.3g})"
            lines.append([row["case"], f"{row['dtype']}, batch {row['batch']}", name, told])
    return tables.markdown(["layer", "of", "form", "ms (quartiles)"], lines)


def beside_torch(rows: list[dict]) -> list[str]:
    """Ours and PyTorch's; whatever is said of all rows is that of the last one measured."""
    said = [row for row in rows if "times" in row][-1:] or rows[-1:]
    images = max(row["images"] for row in rows)
    return tables.beside_torch({**said[0], "images": images, "rows": rows})
